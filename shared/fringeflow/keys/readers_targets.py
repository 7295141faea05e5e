"""The key files about targets: definitions, mosaics, directories, distances and windows (keys specification, 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fringeflow.keys.lines import LIGHT_KMS
from fringeflow.keys.master import Master
from fringeflow.keys.parameters import nearest
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.syntax import Row
from fringeflow.keys.tables import Placed, checked, is_name, number_in, put
from fringeflow.keys.values import mapping_of, number, positive, text, velocity_text

_CONVENTIONS = ("radio", "optical", "redshift")

_MINUTES = r"(?:\d+(?:\.\d*)?m(?:\d+(?:\.\d*)?s?)?)?"
_RA = re.compile(rf"\d+(?:\.\d*)?(?:h{_MINUTES}|d(?:eg)?)")
_DEC = re.compile(rf"[+-]?\d+(?:\.\d*)?(?:d{_MINUTES}|deg)")


@dataclass(frozen=True, slots=True)
class Definition:
    """One line of the target key; velocities are LSRK in the radio convention."""

    ra: str
    dec: str
    vsys_kms: float
    vwidth_kms: float


@dataclass(frozen=True, slots=True)
class Window:
    """One line of the window key."""

    width: str
    vfield_file: str | None


def read_targets(master: Master, findings: Findings) -> dict[str, Placed[Definition]]:
    """Return the target definitions by name."""
    found: dict[str, Placed[Definition]] = {}
    for row in master.rows("target_key", findings):
        name, ra, dec = row.cells[:3]
        vsys = number_in(row.cells[3], number, row.place, f"vsys of {name}", findings)
        vwidth = number_in(row.cells[4], positive, row.place, f"vwidth of {name}", findings)
        options = _conventions(row, findings) if len(row.cells) > 5 else {}
        if (
            is_name(name, row.place, "target", findings)
            and vsys is not None
            and vwidth is not None
            and options is not None
        ):
            _note_odd_position(name, ra, dec, row.place, findings)
            vsys, vwidth = _radio(vsys, vwidth, options.get("convention", "radio"))
            put(found, name, Definition(ra, dec, vsys, vwidth), row.place, f"target {name}", findings)
            findings.came_from(f"targets.{name}", row.place)
    return found


def _note_odd_position(name: str, ra: str, dec: str, place: Place, findings: Findings) -> None:
    """Note positions that CASA may read as others, or not at all: it takes -26:01:20 for hours."""
    if not (_RA.fullmatch(ra) and _DEC.fullmatch(dec)):
        text = f"the position of {name}, {ra} {dec}, is not written like 01h02m03.4s -05d06m07s: it may be misread"
        findings.warning(place, text, "write ra with h, m, s and dec with d, m, s, or both with deg")


def read_mosaics(master: Master, findings: Findings) -> dict[str, dict[str, Place]]:
    """Return the parts of every linear mosaic, in order, with where each was read."""
    found: dict[str, dict[str, Place]] = {}
    owner: dict[str, Placed[str]] = {}
    for row in master.rows("linmos_key", findings):
        mosaic, part = row.cells
        if part in found.get(mosaic, {}):
            earlier = found[mosaic][part]
            findings.warning(row.place, f"{part} is a part of {mosaic} already ({earlier})", "remove the line")
        elif mosaic == part:
            findings.error(row.place, f"{part} cannot be a part of itself", "name the mosaic first, then its part")
        else:
            found.setdefault(mosaic, {})[part] = row.place
            put(owner, part, mosaic, row.place, f"the mosaic of {part}", findings)
            findings.came_from(f"targets.{mosaic}.mosaic_parts", row.place, add=True)
    return found


def read_directories(master: Master, findings: Findings) -> dict[str, Placed[str]]:
    """Return the working directories by target."""
    found: dict[str, Placed[str]] = {}
    for row in master.rows("dir_key", findings):
        name, directory = row.cells
        if is_name(directory, row.place, "directory", findings):
            put(found, name, directory, row.place, f"the directory of {name}", findings)
            findings.came_from(f"targets.{name}.directory", row.place)
    return found


def read_distances(master: Master, findings: Findings) -> dict[str, Placed[float]]:
    """Return the distances in Mpc by target; a third column, the error of the distance, is checked and not used."""
    found: dict[str, Placed[float]] = {}
    for row in master.rows("distance_key", findings):
        name = row.cells[0]
        distance = number_in(row.cells[1], positive, row.place, f"distance of {name} in Mpc", findings)
        if len(row.cells) > 2 and row.cells[2]:
            number_in(row.cells[2], number, row.place, f"error of the distance of {name} in Mpc", findings)
        if distance is not None:
            put(found, name, distance, row.place, f"the distance of {name}", findings)
            findings.came_from(f"targets.{name}.distance_mpc", row.place)
    return found


def read_windows(master: Master, findings: Findings) -> dict[str, Placed[Window]]:
    """Return the velocity windows and velocity-field files by target."""
    found: dict[str, Placed[Window]] = {}
    for row in master.rows("window_key", findings):
        name, written = row.cells[:2]
        try:
            width = velocity_text(written)
        except ValueError as error:
            findings.error(row.place, f"window of {name}: {error}", "write a number of km/s")
            continue
        vfield = row.cells[2] if len(row.cells) > 2 and row.cells[2] else None
        put(found, name, Window(width, vfield), row.place, f"the velocity window of {name}", findings)
        findings.came_from(f"targets.{name}.window", row.place)
    return found


def _conventions(row: Row, findings: Findings) -> dict[str, Any] | None:
    what = f"velocity convention of {row.cells[0]}"
    options = checked(row.cells[5], mapping_of(text), row.place, what, findings)
    if options is None:
        return None
    for key in options:
        if key not in ("frame", "convention"):
            findings.error(row.place, f"{what}: unknown parameter {key!r}", nearest(key, ("frame", "convention")))
            return None
    if options.get("frame", "LSRK").upper() != "LSRK":
        findings.error(row.place, f"{what}: frame {options['frame']!r}", "give vsys and vwidth in the LSRK frame")
        return None
    if options.get("convention", "radio") not in _CONVENTIONS:
        findings.error(row.place, f"{what}: {options['convention']!r}", f"known: {', '.join(_CONVENTIONS)}")
        return None
    return dict(options)


def _radio(vsys: float, vwidth: float, convention: str) -> tuple[float, float]:
    """Return (vsys, vwidth) in km/s, radio, from km/s (or redshift for vsys; its width is optical km/s)."""
    if convention == "radio":
        return vsys, vwidth
    redshift = vsys if convention == "redshift" else vsys / LIGHT_KMS
    return LIGHT_KMS * (1 - 1 / (1 + redshift)), vwidth / (1 + redshift) ** 2
