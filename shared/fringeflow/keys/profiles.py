"""Named sets of choices: what fringeflow does by itself, and what the reference does where ours is a correction.

A profile is a set of overrides for all targets; the project's own override key goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping

from fringeflow.keys.model import Project

PROFILES: Mapping[str, Mapping[str, str]] = {
    "standard": {},
    "reference": {"round_beam": "reference", "kelvin": "constant"},
}


def with_profile(project: Project, name: str) -> Project:
    """Return `project` with the choices of the profile `name`.

    Raises
    ------
    KeyError
        If there is no such profile.
    """
    everywhere = {**PROFILES[name], **project.overrides.get("all", {})}
    if not everywhere:
        return project
    return project.model_copy(update={"overrides": {**project.overrides, "all": everywhere}})
