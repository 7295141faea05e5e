"""The options that derived products have in the derived key and the moment key, with the type each must have.

They are the names of the derived stage's own parameters; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from fringeflow.keys.parameters import nearest
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.values import (
    Check,
    between,
    either,
    flag,
    not_negative,
    nothing,
    number,
    one_of,
    positive,
    refusal,
    velocity_text,
    whole,
)


def _velocity(value: Any) -> Any:
    """Return a velocity width as it was written: a number of km/s, or a text with its unit."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise refusal("a velocity width such as '50km/s'", value)
    velocity_text(str(value))
    return value


def _count(value: Any) -> int:
    return whole(not_negative(value))


def _least_one(value: Any) -> int:
    return whole(positive(value))


def _or_none(check: Check) -> Check:
    return either(check, nothing)


_SHARE = between(0, 1, inclusive=True)
_FLAT = {"window": _velocity}

PRODUCT_OPTIONS: Mapping[str, Mapping[str, Check]] = MappingProxyType(
    {
        "convolve_kw": {
            "tol": between(0, 1),
            "nan_treatment": one_of("interpolate", "fill"),
            "spec_smooth": _or_none(_velocity),
            "pixels_per_beam": _or_none(between(3, 1000)),
        },
        "noise_kw": {
            "box": _or_none(_least_one),
            "substride": _or_none(_least_one),
            "spec_box": _least_one,
            "bandpass_smooth_window": _or_none(_count),
            "bandpass_smooth_order": _count,
            "iterations": _least_one,
            "nThresh": _count,
            **dict.fromkeys(("do_map", "do_spec", "oversample_boundary", "use_fft"), flag),
            "signal_rounds": _count,
            "trend": _or_none(flag),
        },
        "strictmask_kw": {
            "hi_thresh": number,
            "lo_thresh": _or_none(number),
            **dict.fromkeys(("hi_nchan", "lo_nchan"), _least_one),
            **dict.fromkeys(("min_pix", "min_area"), _or_none(_count)),
            "min_beams": _or_none(not_negative),
            **dict.fromkeys(("grow_xy", "grow_v"), _count),
            "coverage_thresh": _SHARE,
            "low_coverage_thresh": _or_none(_SHARE),
            "prune": one_of("core", "final"),
            "connectivity": lambda value: whole(between(1, 3, inclusive=True)(value)),
            "invert": flag,
        },
        "broadmask_kw": {
            "recipe": one_of("anyscale", "somescales"),
            "fraction_of_scales": between(0, 1),
            **dict.fromkeys(("grow_xy", "grow_v"), _count),
        },
        "flatstrictmask_kw": _FLAT,
        "flatbroadmask_kw": _FLAT,
        "shuffle_kw": {"kernel": one_of("fourier", "linear", "sinc")},
    }
)
"""Parameter of the derived key -> its options."""

_LIMITS = {"include_limits": flag, "line_width": _velocity}
_TRUSTED = {"min_snr": _or_none(not_negative)}
_RESPONSE = {"subtract_response": flag}
_WINDOW = {"window": _or_none(_velocity)}

MOMENT_OPTIONS: Mapping[str, Mapping[str, Check]] = MappingProxyType(
    {
        "mom0": _LIMITS,
        "mom0flat": _LIMITS,
        "mom1": _TRUSTED,
        "mom2": {**_TRUSTED, **_RESPONSE},
        "ew": _RESPONSE,
        "tpeak": {**_WINDOW, "masked": flag},
        "vpeak": _WINDOW,
        "vquad": {**_WINDOW, "maxshift": _or_none(positive)},
        "mom1wprior": {"vfield_reject_thresh": _velocity, "mom0_thresh": number},
    }
)
"""Algorithm -> what `kwargs` of the moment key may hold."""

MAP_ARGUMENTS: Mapping[str, Collection[str]] = MappingProxyType(
    {
        "mom1wprior": (
            *("strict_mom1", "strict_emom1", "broad_mom1", "broad_emom1", "broad_mom0", "broad_emom0"),
            "vfield_prior",
        )
    }
)
"""Algorithm -> the maps it takes, by `maps_to_pass` or `other_exts`; the others take none."""


def check_options(
    given: Mapping[str, Any], known: Mapping[str, Check], place: Place, what: str, findings: Findings
) -> dict[str, Any]:
    """Return the options that exist and have values of the right type, noting the others."""
    found = {}
    for name, value in given.items():
        if name not in known:
            remedy = nearest(name, known) if known else "remove it: there are no options"
            findings.error(place, f"{what} has no option {name!r}", remedy)
            continue
        try:
            found[name] = known[name](value)
        except ValueError as error:
            findings.error(place, f"{name} of {what}: {error}", "correct the value")
    return found
