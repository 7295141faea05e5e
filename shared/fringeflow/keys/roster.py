"""The targets of a project, brought together from all key files that name them; names that fit nowhere are noted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fringeflow.keys import readers_data, readers_targets
from fringeflow.keys.master import Master
from fringeflow.keys.model import Measurement, Target
from fringeflow.keys.parameters import resembling
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.readers_targets import Definition, Window
from fringeflow.keys.tables import Placed, is_known

_REMEDY = "define them in the target_key, or remove the lines"


@dataclass(frozen=True)
class _Tables:
    """What the key files about targets and data say, each by target."""

    defined: Mapping[str, Placed[Definition]]
    mosaics: Mapping[str, Mapping[str, Place]]
    directories: Mapping[str, Placed[str]]
    distances: Mapping[str, Placed[float]]
    windows: Mapping[str, Placed[Window]]
    measurements: Mapping[tuple[str, str, str, str], Placed[Measurement]]
    singledish: readers_data.Files
    cleanmask: readers_data.Files


def read_roster(master: Master, products: Collection[str], findings: Findings) -> dict[str, Target]:
    """Return the targets by name, sorted; what is read of undefined targets or products is noted and left out."""
    tables = _Tables(
        defined=readers_targets.read_targets(master, findings),
        mosaics=readers_targets.read_mosaics(master, findings),
        directories=readers_targets.read_directories(master, findings),
        distances=readers_targets.read_distances(master, findings),
        windows=readers_targets.read_windows(master, findings),
        measurements=readers_data.read_measurements(master, findings),
        singledish=readers_data.read_singledish(master, findings),
        cleanmask=readers_data.read_cleanmasks(master, findings),
    )
    if not tables.defined:
        findings.error(
            master.place("target_key"), "no target is defined", "add a line: target ra dec vsys vwidth", fatal=True
        )
    mosaics = _known_mosaics(tables, findings)
    parent = {part: mosaic for mosaic, parts in mosaics.items() for part in parts}
    _note_strangers(tables, products, findings)
    _note_ignored(tables, parent, findings)
    return {name: _target(name, tables, mosaics, parent, products) for name in sorted(tables.defined)}


def _target(
    name: str,
    tables: _Tables,
    mosaics: Mapping[str, tuple[str, ...]],
    parent: Mapping[str, str],
    products: Collection[str],
) -> Target:
    definition = tables.defined[name].value
    whole = parent.get(name, name)  # distance and window are those of the mosaic, so that all parts agree
    distance, window = tables.distances.get(whole), tables.windows.get(whole)
    directory = tables.directories.get(name)
    return Target(
        name=name,
        ra=definition.ra,
        dec=definition.dec,
        vsys_kms=definition.vsys_kms,
        vwidth_kms=definition.vwidth_kms,
        directory=directory.value if directory else name,
        distance_mpc=distance.value if distance else None,
        window=window.value.width if window else None,
        vfield_file=window.value.vfield_file if window else None,
        mosaic_parent=parent.get(name),
        mosaic_parts=mosaics.get(name, ()),
        measurements=tuple(item.value for key, item in tables.measurements.items() if key[0] == name),
        singledish=_of(name, tables.singledish, products),
        cleanmask=_of(name, tables.cleanmask, (*products, "all")),
    )


def _of(name: str, files: readers_data.Files, products: Collection[str]) -> dict[str, str]:
    return {product: file.value for (target, product), file in files.items() if target == name and product in products}


def _known_mosaics(tables: _Tables, findings: Findings) -> dict[str, tuple[str, ...]]:
    """Return the parts of each mosaic whose names are all defined; a part of two mosaics belongs to the last."""
    owner = {part: mosaic for mosaic, parts in tables.mosaics.items() for part in parts}
    found: dict[str, tuple[str, ...]] = {}
    for mosaic, parts in tables.mosaics.items():
        first = next(iter(parts.values()))
        if not is_known(mosaic, tables.defined, first, "mosaic target", findings):
            continue
        kept = []
        for part, place in parts.items():
            if part in tables.mosaics:
                findings.error(place, f"{part} is a mosaic itself", "list its parts as parts of this mosaic")
            elif is_known(part, tables.defined, place, f"part of {mosaic}:", findings) and owner[part] == mosaic:
                kept.append(part)
        if kept:
            found[mosaic] = tuple(kept)
    return found


def _note_strangers(tables: _Tables, products: Collection[str], findings: Findings) -> None:
    strangers = _Strangers(tables.defined, findings)
    for (target, *_), item in tables.measurements.items():
        strangers.look_at(target, item.place, "measurement set")
    for name, files, wild in (("singledish", tables.singledish, ()), ("cleanmask", tables.cleanmask, ("all",))):
        for (target, product), file in files.items():
            strangers.look_at(target, file.place, f"{name} file")
            is_known(product, (*products, *wild), file.place, "product", findings)
    by_target: tuple[tuple[str, Mapping[str, Placed[Any]]], ...] = (
        ("directory", tables.directories),
        ("distance", tables.distances),
        ("window", tables.windows),
    )
    for what, table in by_target:
        for target, entry in table.items():
            strangers.look_at(target, entry.place, what)
    strangers.note()


class _Strangers:
    """Lines about what is not a target: each whose name resembles a target's is noted, the others of a file together.

    Key files of whole surveys serve for few targets, too.
    """

    def __init__(self, defined: Collection[str], findings: Findings) -> None:
        self._defined, self._findings = defined, findings
        self._others: dict[tuple[str, Path], dict[str, Place]] = {}

    def look_at(self, target: str, place: Place, what: str) -> None:
        if target in self._defined:
            return
        meant = resembling(target, self._defined)
        if meant:
            text = f"{what} of {target}, which is not a target: not used"
            self._findings.warning(place, text, f"perhaps {' or '.join(meant)} is meant")
        else:
            self._others.setdefault((what, place.file), {}).setdefault(target, place)

    def note(self) -> None:
        for (what, _), found in self._others.items():
            several = "which is not a target" if len(found) == 1 else "which are not targets"
            (first, place), *rest = found.items()
            others = "".join(f", {target} (line {at.line})" for target, at in rest)
            self._findings.warning(place, f"{what} of {first}{others}, {several}: not used", _REMEDY)


def _note_ignored(tables: _Tables, parent: Mapping[str, str], findings: Findings) -> None:
    by_target: tuple[tuple[str, Mapping[str, Placed[Any]]], ...] = (
        ("distance", tables.distances),
        ("window", tables.windows),
    )
    for what, table in by_target:
        for part in parent.keys() & table.keys():
            text = f"the {what} of {part} is not used: that of its mosaic {parent[part]} counts"
            findings.warning(table[part].place, text, f"give it for {parent[part]} and remove the line")
