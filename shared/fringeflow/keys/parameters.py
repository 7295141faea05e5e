"""Every parameter that a recipe may set or an override may change, with the type it must have.

The tclean names and types are those of CASA 6.7; the loop's are of the imaging specification, sections 6.1 and 9.1, and
this pipeline's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from fringeflow.keys.syntax import literal
from fringeflow.keys.values import (
    Check,
    arcsec,
    between,
    corner,
    either,
    flag,
    list_of,
    not_negative,
    number,
    one_of,
    plain,
    positive,
    refusal,
    whole,
)


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise refusal("a text", value)
    return value


def _items(check: Check) -> Check:
    checked = list_of(check)
    return lambda value: list(checked(value))


def _count(value: Any) -> int:
    return whole(positive(value))


def _some_of(*words: str) -> Check:
    def checked(value: Any) -> tuple[str, ...]:
        given = (value,) if isinstance(value, str) else value
        if not isinstance(given, (list, tuple)) or not set(given) <= set(words):
            raise refusal(f"a list of some of {', '.join(words)}", value)
        return tuple(sorted(given))

    return checked


def _corners(value: Any) -> tuple[tuple[float, float], ...]:
    """Return the corners of an area of the sky: two opposite ones of a rectangle, or those of a polygon in order."""
    if not isinstance(value, (list, tuple)) or len(value) < 2:
        raise refusal("a list of two or more corners", value)
    return tuple(corner(item) for item in value)


def _named(check: Check, names: str) -> dict[str, Check]:
    return dict.fromkeys(names.split(), check)


TCLEAN: Mapping[str, Check] = MappingProxyType(
    {
        **_named(
            flag, "selectdata perchanweightdensity mosweight aterm psterm wbawp conjbeams usepointing restoration"
        ),
        **_named(flag, "pbcor interactive fullsummary dogrowprune verbose fastnoise restart calcres calcpsf parallel"),
        **_named(whole, "nchan facets wprojplanes nterms largestscale npixels niter cycleniter nmajor growiterations"),
        **_named(number, "computepastep rotatepastep pblimit smallscalebias fusedthreshold gain nsigma cyclefactor"),
        **_named(number, "minpsffraction maxpsffraction pbmask sidelobethreshold noisethreshold lownoisethreshold"),
        **_named(number, "negativethreshold smoothfactor minbeamfrac cutthreshold minpercentchange psfcutoff"),
        "robust": between(-2, 2, inclusive=True),
        **_named(_words, "datacolumn stokes projection outframe veltype vptable cfcache normtype outlierfile"),
        "specmode": one_of("mfs", "cube", "cubedata", "cubesource", "cont", "mvc"),
        "interpolation": one_of("nearest", "linear", "cubic"),
        "gridder": one_of(
            *("standard", "wproject", "widefield", "mosaic", "awproject", "awphpg", "awp2", "imagemosaic"),
            *("wprojectft", "mosaicft", "ftmosaic", "ft", "awprojectft", "gridft"),
        ),
        "deconvolver": one_of(
            *("hogbom", "clark", "multiscale", "mtmfs", "mem", "clarkstokes", "asp"), "clark_exp", "clarkstokes_exp"
        ),
        "weighting": one_of(*("natural", "uniform", "briggs", "briggsabs", "briggsbwtaper", "superuniform", "radial")),
        "usemask": one_of("user", "pb", "auto-multithresh"),
        "savemodel": one_of("none", "virtual", "modelcolumn"),
        **_named(either(_words, _items(_words)), "vis field spw timerange uvrange antenna scan intent imagename mask"),
        **_named(either(_words, _items(_words)), "restoringbeam uvtaper startmodel"),
        **_named(either(_words, whole), "observation phasecenter psfphasecenter"),
        **_named(either(_words, number), "reffreq start width noise threshold"),
        "restfreq": either(_words, number, _items(either(_words, number))),
        "imsize": either(whole, _items(whole)),
        "cell": either(_words, number, _items(either(_words, number))),
        **_named(_items(number), "scales pointingoffsetsigdev"),
    }
)
"""Parameters of tclean."""

NOT_TCLEAN = frozenset(("taskname", "chanchunks", "overwrite", "usedata", "sdimage", "sdpsf", "sdgain", "dishdia"))
"""What recipes saved by other versions and tasks of CASA hold and tclean does not take; left out with a warning."""

LOOP: Mapping[str, Check] = MappingProxyType(
    {
        **_named(
            positive, "multiscale_threshold_value singlescale_threshold_value convergence_fracflux mask_min_beams"
        ),
        **_named(positive, "singlescale_mask_high_snr singlescale_mask_low_snr oversamp mask_grow_beams"),
        **_named(positive, "convergence_totalflux convergence_fluxperniter convergence_noise_z_threshold"),
        **_named(positive, "prior_mask_high_snr prior_mask_low_snr"),
        "prior_mask_grow_beams": not_negative,
        "clean_scales_arcsec": _items(not_negative),
        "mask_seed_channels": _count,
        **_named(_count, "max_components max_cycles mask_min_channels block_pixels block_channels block_memory_mb"),
        **_named(flag, "singlescale_mask_absolute stop_at_negative force_square dynamic_sizing"),
        "pb_level": between(0, 1),
        "multiscale_threshold_margin": between(0.5, 1, inclusive=True),
        "singlescale_threshold_margin": between(0.5, 1, inclusive=True),
        "mask_noise": one_of("channel", "cube"),
        "scale_rounding": one_of("nearest", "down"),
        "scale_threshold": one_of("alike", "biased"),
        "joint_deconvolution": one_of("none", "residuals", "sdintimaging"),
        "joint_dish_weight": positive,
    }
)
"""Parameters of image size, channel blocks, masks and the clean loop."""

WITHOUT_EFFECT = frozenset(
    (
        *("niter_base", "niter_factor", "cycleniter_base", "cycleniter_factor", "min_loops", "max_loops"),
        *("max_total_niter", "use_absolute_delta", "remask_each_loop", "force_dirty_image"),
    )
)
"""Parameters of the reference's clean loop that this one does not have."""

DECIDED = frozenset(
    (
        *("niter", "nsigma", "threshold", "nmajor", "scales", "deconvolver", "largestscale", "fusedthreshold"),
        *("restoration", "restoringbeam", "pbcor", "calcres", "calcpsf", "restart", "fullsummary", "savemodel"),
        *("pbmask", "verbose", "fastnoise", "phasecenter", "restfreq", "selectdata"),
        *("vis", "imagename", "startmodel", "outlierfile", "parallel", "interactive", "mask"),
    )
)
"""Parameters of tclean that the pipeline decides, whatever a recipe or an override says."""

SIZES: Mapping[str, Check] = MappingProxyType(
    _named(
        arcsec,
        "cell deltara deltadec linearmosaic_deltara linearmosaic_deltadec force_beam_arcsec "
        "cleanmask_grow_arcsec prior_taper_arcsec",
    )
)
"""Sizes of pixels, images, linear mosaics and beams, in arcsec."""

FINISH: Mapping[str, Check] = MappingProxyType(
    {
        "round_beam": one_of("smallest", "reference"),
        "kelvin": one_of("channel", "constant"),
        **_named(positive, "feather_factor feather_dish_m"),
        **_named(flag, "feather_low_pass feather_apodize feather_before_mosaic cut_coarse_edges"),
        "feather_rounds": _count,
        "mosaic_missing_parts": one_of("refuse", "leave out"),
        "mosaic_without": _items(_words),
        "mosaic_least_response": between(0, 1),
    }
)
"""Parameters of post-processing."""

VISIBILITIES: Mapping[str, Check] = MappingProxyType(
    {
        "staging_corrections_off": _some_of("S1", "S2", "S5", "S6", "S12", "S15", "S18"),
        "staging_method": one_of("regrid_then_rebin", "rebin_then_regrid", "just_regrid", "just_rebin", "conserve"),
        "staging_grid": one_of("max", "exact"),
        "staging_weights": one_of("scatter", "native", "propagated"),
        "staging_weight_seconds": positive,
        "staging_contsub": one_of("prefer", "require", "none"),
        "staging_intent": _words,
        "staging_area": _corners,
        "staging_area_beams": not_negative,
        **_named(flag, "staging_cover_window staging_full_coverage"),
    }
)
"""Parameters of staging; `staging_corrections_off` are corrections of the reference not to make."""

OVERRIDABLE: Mapping[str, Check] = MappingProxyType({**TCLEAN, **LOOP, **SIZES, **FINISH, **VISIBILITIES})
"""Everything an override may name."""


def override_value(parameter: str, written: str) -> Any:
    """Return the value of an override as the type its parameter has; angles are in arcsec.

    Raises
    ------
    KeyError
        There is no such parameter.
    ValueError
        The text does not give a value of the right type.
    """
    check = OVERRIDABLE[parameter]
    try:
        value = plain(literal(written))
    except ValueError:
        value = written
    return check(value)


_SHOWN = 12
"""Of the names that are known so many are told."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a remedy that names what `name` may have been meant to be."""
    names = sorted(known)
    near = _near(name, names)
    if near:
        return f"perhaps {' or '.join(near)} is meant"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"known: {', '.join(names[:_SHOWN])}{more}"


def resembling(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of the `known` names that `name` may be a slip for.

    Names of which only the numbers differ, as in catalogues, are those of other things, but for zeros that lead.
    """
    near = _near(name, known)
    return [other for other in near if _letters(other) != _letters(name) or _plain(other) == _plain(name)]


def _near(name: str, known: Iterable[str]) -> list[str]:
    by_lower = {other.lower(): other for other in sorted(known)}
    return [by_lower[other] for other in get_close_matches(name.lower(), by_lower, n=3, cutoff=0.7)]


def _letters(name: str) -> str:
    return re.sub(r"\d+", "0", name.lower())


def _plain(name: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.lower())
