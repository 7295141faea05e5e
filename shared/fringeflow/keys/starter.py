"""A project to start with, from what measurement sets hold: targets, arrays, lines that are covered, usual maps.

Pure: what the sets hold comes as plain values, as the staging service describes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fringeflow.errors import DataError
from fringeflow.keys.lines import LIGHT_KMS, Line, LineTable
from fringeflow.keys.model import (
    IMAGING_STAGES,
    ContProduct,
    Derived,
    InterfConfig,
    LineProduct,
    Measurement,
    Moment,
    Project,
    Recipe,
    Roots,
    Target,
)

CONTINUUM = "cont"
_SCALES = (1.0, 2.5, 5.0, 10.0)  # in beams
_MARGIN = 1.001  # channels are wider or narrower by the observatory's motion
_MOMENTS = (
    *(("strict", algorithm) for algorithm in ("mom0", "mom1", "mom2", "ew")),
    *(("broad", algorithm) for algorithm in ("mom0", "mom1", "tpeak")),
)
_DERIVED: Mapping[str, Mapping[str, Any]] = {
    "noise_kw": {"spec_box": 5, "iterations": 3},
    "strictmask_kw": {"hi_thresh": 4.0, "hi_nchan": 2, "lo_thresh": 2.0, "lo_nchan": 2},
}
_CLEAN: Mapping[str, Any] = {
    "pblimit": 0.2,
    "weighting": "briggs",
    "robust": 0.5,
    "smallscalebias": 0.9,
    "gain": 0.1,
    "minpsffraction": 0.5,
    "maxpsffraction": 0.8,
}
_CUBE: Mapping[str, Any] = {"specmode": "cube", "deconvolver": "multiscale", "cyclefactor": 3.0}
_IMAGE: Mapping[str, Any] = {"specmode": "mfs", "deconvolver": "mtmfs", "nterms": 2, "cyclefactor": 1.0}


@dataclass(frozen=True)
class Velocity:
    """Where the lines of a target lie: LSRK, radio convention, km/s."""

    vsys_kms: float
    vwidth_kms: float
    distance_mpc: float | None = None


@dataclass(frozen=True)
class Described:
    """A measurement set and what it holds (see the staging service's `describe`)."""

    path: Path
    contents: Mapping[str, Any]

    def fields_of(self) -> dict[str, list[Mapping[str, Any]]]:
        """Return the fields by the names of the targets they belong to: those with the same name make a mosaic."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for field in self.contents["fields"]:
            found.setdefault(target_name(field["name"]), []).append(field)
        return found

    @property
    def array_tag(self) -> str:
        """The label of its array, from telescope and diameter of the dishes."""
        dish = float(self.contents["dish_m"])
        if dish <= 0:
            raise DataError(f"{self.path}: its antennas have no diameter", remedy="deliver a complete ANTENNA table")
        vla = "VLA" in self.contents["telescope"].upper() and round(dish) == 25
        return "vla" if vla else f"{round(dish)}m"

    def covering(self, line: Line, velocity: Velocity) -> list[Mapping[str, float]]:
        """Return the windows that hold all of a line."""
        half = velocity.vwidth_kms / 2
        low, high = line.range_ghz(velocity.vsys_kms - half, velocity.vsys_kms + half)
        return [item for item in self.contents["windows"] if item["low_ghz"] <= low and high <= item["high_ghz"]]


def target_name(field: str) -> str:
    """Return the name of a field as the name of a target: lower case, without what file names cannot hold."""
    name = re.sub(r"[^a-z0-9+.-]+", "_", field.lower()).strip("_.-")
    return f"field_{name}" if name in ("", "all", "all_line", "all_cont", "galaxy", "target", "name") else name


def starter(
    sets: Sequence[Described], velocities: Mapping[str, Velocity], known: LineTable, only: Sequence[str] = ()
) -> Project:
    """Return a project that images every covered line, and the continuum, of every target of `sets`.

    Parameters
    ----------
    velocities
        By target.
    known, only
        The line table, and names of its lines or families if not all covered lines are wanted.

    Raises
    ------
    DataError
        No line is covered, or two measurement sets cannot be told apart.
    """
    root = _common(item.path.absolute().parent for item in sets)
    chosen = known.expand(tuple(only)) if only else tuple(known.lines.values())
    products = {line.tag: _line_product(line, widths) for line, widths in _covered(sets, velocities, chosen)}
    if not products:
        raise DataError(f"no line is covered: {_coverage(sets)}", remedy=_no_line_remedy(chosen, velocities, only))
    conts = {CONTINUUM: ContProduct(name=CONTINUUM, lines_to_flag=tuple(products))}
    configs = {item.name: item for item in _configs(sets, min(line.restfreq_ghz for line in products.values()))}
    moments = {item.name: item for item in map(_moment, *zip(*_MOMENTS, strict=True))}
    maps = {name: tuple(moments) if name in products else () for name in (*products, *conts)}
    several = any(len(fields) > 1 for item in sets for fields in item.fields_of().values())
    gridder = {"gridder": "mosaic" if several else "standard"}
    return Project(
        master_key=root,
        roots=Roots(key_dir=root, ms=(root,)),
        targets=_targets(sets, velocities, root),
        interf_configs=dict(sorted(configs.items())),
        line_products=products,
        cont_products=conts,
        moments=moments,
        derived={
            config: {name: Derived(moments=names, kwargs=_DERIVED) for name, names in maps.items()}
            for config in configs
        },
        recipes={
            config: {name: _recipes({**(_CUBE if name in products else _IMAGE), **gridder, **_CLEAN}) for name in maps}
            for config in configs
        },
        line_frequencies_ghz={tag: line.restfreq_ghz for tag, line in known.lines.items()},
        line_families=known.families,
    )


def _common(folders: Iterator[Path]) -> Path:
    first, *others = folders
    return next(
        folder for folder in (first, *first.parents) if all(folder in (other, *other.parents) for other in others)
    )


def _covered(
    sets: Sequence[Described], velocities: Mapping[str, Velocity], lines: Sequence[Line]
) -> Iterator[tuple[Line, list[float]]]:
    """Yield the lines that some measurement set covers for one of its targets, with the widths of channels in km/s."""
    for line in lines:
        widths = [
            window["width_ghz"] / line.restfreq_ghz * LIGHT_KMS
            for item in sets
            for target in item.fields_of()
            for window in item.covering(line, velocities[target])
        ]
        if widths:
            yield line, widths


def _line_product(line: Line, widths_kms: Sequence[float]) -> LineProduct:
    """Return the product of a line, with channels that all windows can be averaged to."""
    return LineProduct(
        name=line.tag,
        line_tag=line.tag,
        restfreq_ghz=line.restfreq_ghz,
        channel_kms=_rounded_up(max(widths_kms) * _MARGIN, 3),
        lines_to_flag=(line.tag,),
    )


def _rounded_up(value: float, digits: int = 2) -> float:
    """Return a number of so many digits that is not smaller."""
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return round(math.ceil(value / step - 1e-9) * step, 12)


def _configs(sets: Sequence[Described], freq_ghz: float) -> Iterator[InterfConfig]:
    """Yield a config for each array, and one for ALMA's two arrays where both have observed."""
    baselines: dict[str, tuple[float, float]] = {}
    for item in sets:
        short, long = item.contents["baselines_m"]
        known = baselines.get(item.array_tag, (short, long))
        baselines[item.array_tag] = min(short, known[0]), max(long, known[1])
    together = [("12m+7m", ("12m", "7m"))] if {"12m", "7m"} <= baselines.keys() else []
    for name, tags in (*((tag, (tag,)) for tag in sorted(baselines)), *together):
        short, long = min(baselines[tag][0] for tag in tags), max(baselines[tag][1] for tag in tags)
        arcsec_m = math.degrees(LIGHT_KMS * 1e3 / (freq_ghz * 1e9)) * 3600
        beam, largest = arcsec_m / max(long, 1.0), 0.6 * arcsec_m / max(short, 1.0)
        scales = [_rounded_up(beam * scale) for scale in _SCALES if scale == 1.0 or beam * scale <= largest]
        yield InterfConfig(name=name, array_tags=tags, clean_scales_arcsec=(0.0, *scales))


def _targets(sets: Sequence[Described], velocities: Mapping[str, Velocity], root: Path) -> dict[str, Target]:
    directions: dict[str, list[Sequence[float]]] = {}
    measured: dict[str, list[Measurement]] = {}
    for item in sets:
        fields = item.fields_of()
        for name, own in fields.items():
            directions.setdefault(name, []).extend(field["direction"] for field in own)
            project = target_name(item.contents["project"]) if item.contents["project"].strip() else "project"
            same = [one for one in measured.get(name, []) if (one.project, one.array_tag) == (project, item.array_tag)]
            measured.setdefault(name, []).append(
                Measurement(
                    target=name,
                    project=project,
                    array_tag=item.array_tag,
                    obsnum=str(len(same) + 1),
                    field="all" if len(fields) == 1 else ",".join(str(field["id"]) for field in own),
                    path=item.path.absolute().relative_to(root).as_posix(),
                )
            )
    found = {}
    for name in sorted(measured):
        ra, dec = _sexagesimal(directions[name])
        velocity = velocities[name]
        found[name] = Target(
            name=name,
            ra=ra,
            dec=dec,
            vsys_kms=velocity.vsys_kms,
            vwidth_kms=velocity.vwidth_kms,
            distance_mpc=velocity.distance_mpc,
            directory=name,
            measurements=tuple(measured[name]),
        )
    return found


def _sexagesimal(directions: Sequence[Sequence[float]]) -> tuple[str, str]:
    """Return right ascension and declination of the mean of unit vectors, so that it is right at 0h and the poles."""
    x, y, z = (math.fsum(axis) for axis in zip(*directions, strict=True))
    seconds = round(math.degrees(math.atan2(y, x)) % 360 / 15 * 3600 * 1e4) % (24 * 3600 * 10**4)
    arcsec = round(abs(math.degrees(math.atan2(z, math.hypot(x, y)))) * 3600 * 1e3)
    hours, rest = divmod(seconds, 3600 * 10**4)
    degrees, left = divmod(arcsec, 3600 * 10**3)
    ra = f"{hours:02d}h{rest // 600000:02d}m{rest % 600000 / 1e4:07.4f}s"
    dec = f"{'-' if z < 0 else '+'}{degrees:02d}d{left // 60000:02d}m{left % 60000 / 1e3:06.3f}s"
    return ra, dec


def _moment(mask: str, algorithm: str) -> Moment:
    name = f"{mask}{algorithm}"
    return Moment(
        name=name,
        algorithm=algorithm,
        mask=f"{mask}mask",
        ext=f"_{mask}_{algorithm}",
        ext_error=f"_{mask}_e{algorithm}",
    )


def _recipes(parameters: Mapping[str, Any]) -> dict[str, Recipe]:
    return {stage: Recipe(files=(), parameters=parameters) for stage in IMAGING_STAGES}


def _coverage(sets: Sequence[Described]) -> str:
    return "; ".join(
        item.path.name + " has " + ", ".join(_said(window) for window in item.contents["windows"]) for item in sets
    )


def _no_line_remedy(lines: Sequence[Line], velocities: Mapping[str, Velocity], only: Sequence[str]) -> str:
    widths = ", ".join(f"{name} {item.vsys_kms:g} ± {item.vwidth_kms / 2:g} km/s" for name, item in velocities.items())
    wanted = f" of {', '.join(only)}" if only else f" of the {len(lines)} lines known"
    return f"none{wanted} lies in one window at {widths}: check the velocities, or make --vwidth smaller"


def _said(window: Mapping[str, float]) -> str:
    return f"{window['low_ghz']:.4f} to {window['high_ghz']:.4f} GHz"
