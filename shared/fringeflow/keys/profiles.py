"""Named sets of choices: what fringeflow does by itself, and what the reference does where ours is a correction.

A profile never goes before what the project's own keys say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fringeflow.frozen import Frozen
from fringeflow.keys.model import Derived, Project


class Profile(Frozen):
    """Overrides for all targets, and options of derived products for all configs and products."""

    overrides: Mapping[str, str] = {}
    derived: Mapping[str, Mapping[str, Any]] = {}


PROFILES: Mapping[str, Profile] = {
    "standard": Profile(),
    "reference": Profile(
        overrides={
            "staging_corrections_off": "['S5','S15']",
            "mask_noise": "cube",
            "scale_rounding": "down",
            "scale_threshold": "biased",
            "multiscale_threshold_margin": "1.0",
            "round_beam": "reference",
            "kelvin": "constant",
            "feather_rounds": "1",
            "feather_before_mosaic": "True",
        },
        derived={"noise_kw": {"signal_rounds": 0}},
    ),
}


def with_profile(project: Project, name: str) -> Project:
    """Return `project` with the choices of the profile `name`.

    Raises
    ------
    KeyError
        If there is no such profile.
    """
    profile = PROFILES[name]
    everywhere = {**profile.overrides, **project.overrides.get("all", {})}
    derived = {
        config: {product: _with_options(settings, profile) for product, settings in products.items()}
        for config, products in project.derived.items()
    }
    overrides = {**project.overrides, "all": everywhere} if everywhere else project.overrides
    return project.model_copy(update={"overrides": overrides, "derived": derived})


def _with_options(settings: Derived, profile: Profile) -> Derived:
    kwargs = {kind: {**options, **settings.kwargs.get(kind, {})} for kind, options in profile.derived.items()}
    return settings.model_copy(update={"kwargs": {**settings.kwargs, **kwargs}})
