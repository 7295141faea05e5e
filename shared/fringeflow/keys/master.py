"""The master key: where the user's files lie and which key files there are (keys specification, section 3)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fringeflow.errors import DataError
from fringeflow.keys.model import Roots
from fringeflow.keys.parameters import nearest
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.syntax import Row, column_rows, comma_rows, read_text

OUTPUT_ROOTS = ("imaging_root", "postprocess_root", "derived_root", "release_root")
"""Known, for existing projects have them; where products are put is said when a run is started."""
INPUT_ROOTS = ("ms_root", "singledish_root", "cleanmask_root", "vfield_root")


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of key file is laid out, and how much it is needed."""

    columns: tuple[str, ...]
    optional: int = 0
    commas: bool = False
    needed: bool = False
    may_be_absent: bool = False
    what: str = "line"


LAYOUTS: Mapping[str, Layout] = {
    "line_key": Layout(("tag", "frequency_ghz", "family", "padding_kms"), optional=1, what="line"),
    "casaversion_key": Layout(("version", "path_to_casa"), what="CASA version"),
    "alma_download_key": Layout(("target", "product", "config", "dict"), what="download restriction"),
    "ms_key": Layout(
        ("target", "project", "science_field", "array_tag", "obsnum", "ms_path"),
        may_be_absent=True,
        what="measurement set",
    ),
    "cleanmask_key": Layout(("target", "product", "file"), what="clean mask"),
    "singledish_key": Layout(("target", "product", "file"), what="single-dish file"),
    "config_key": Layout(("type", "name", "dict"), needed=True, what="definition"),
    "target_key": Layout(("target", "ra", "dec", "vsys", "vwidth", "dict"), optional=1, needed=True, what="target"),
    "linmos_key": Layout(("mosaic_target", "part_target"), may_be_absent=True, what="mosaic part"),
    "dir_key": Layout(("target", "directory"), may_be_absent=True, what="directory"),
    "imaging_key": Layout(("config", "product", "stage", "recipe_file"), what="recipe"),
    "derived_key": Layout(("config", "product", "parameter", "value"), what="derived setting"),
    "override_key": Layout(("key", "parameter", "value"), what="override"),
    "distance_key": Layout(("target", "distance_mpc", "error_mpc"), optional=1, commas=True, what="distance"),
    "window_key": Layout(("target", "window_kms", "vfield_file"), optional=1, commas=True, what="velocity window"),
    "moment_key": Layout(("moment", "parameter", "value"), what="moment parameter"),
}
"""Every kind of key file a master key may name."""


@dataclass(frozen=True)
class Master:
    """A master key that has been read."""

    path: Path
    roots: Roots
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def place(self, kind: str) -> Place:
        """Return where something that is missing from the files of `kind` belongs."""
        return Place(self.files[kind][0] if self.files.get(kind) else self.path)

    def rows(self, kind: str, findings: Findings) -> Iterator[Row]:
        """Yield the rows of all files of `kind`, in order, as if they were one file."""
        layout = LAYOUTS[kind]
        read = comma_rows if layout.commas else column_rows
        for file in self.files.get(kind, ()):
            try:
                text = read_text(file, findings)
            except DataError as error:
                findings.error(Place(file), error.message, error.remedy or "")
                continue
            yield from read(text, file, findings, layout.columns, optional=layout.optional, what=layout.what)


def read_master(path: Path, findings: Findings, *, lenient: bool = False) -> Master:
    """Read a master key; relative folders start at its own folder (in lenient mode at the working directory)."""
    path = path.expanduser().absolute()
    base = Path.cwd() if lenient else path.parent
    folders: dict[str, list[tuple[Place, Path]]] = {}
    named: dict[str, list[tuple[Place, str]]] = {}
    try:
        text = read_text(path, findings)
    except DataError as error:
        findings.error(Place(path), error.message, error.remedy or "give the path of a master key", fatal=True)
        text = ""
    for row in column_rows(text, path, findings, ("keyword", "value"), what="entry"):
        keyword, value = row.cells
        if keyword in LAYOUTS:
            named.setdefault(keyword, []).append((row.place, value))
        elif keyword in (*OUTPUT_ROOTS, *INPUT_ROOTS, "key_dir"):
            folders.setdefault(keyword, []).append((row.place, expanded(value, base, row.place, findings)))
        else:
            remedy = nearest(keyword, (*LAYOUTS, *OUTPUT_ROOTS, *INPUT_ROOTS, "key_dir"))
            findings.error(row.place, f"unknown keyword {keyword!r}", remedy)
    for keyword in ("key_dir", *OUTPUT_ROOTS):
        for place, _ in folders.get(keyword, [])[1:]:
            findings.warning(place, f"{keyword} is given more than once: the last one counts", "keep one")
    roots = Roots(
        key_dir=_key_dir(path, folders.get("key_dir", []), findings),
        ms=_paths(folders, "ms_root"),
        singledish=_paths(folders, "singledish_root"),
        cleanmask=_paths(folders, "cleanmask_root"),
        vfield=_paths(folders, "vfield_root"),
    )
    for keyword, entries in folders.items():
        findings.came_from(f"roots.{keyword}", *(place for place, _ in entries))
    return Master(path, roots, _key_files(path, roots.key_dir, named, findings) if text else {})


def expanded(text: str, base: Path, place: Place, findings: Findings) -> Path:
    """Return a path as an absolute one: ``~`` and ``$VAR`` are expanded, relative paths start at `base`."""
    written = os.path.expandvars(text)
    if "$" in written:
        findings.error(place, f"no such environment variable in {text!r}", "set it, or write the path out")
    try:
        path = Path(written).expanduser()
    except RuntimeError:
        findings.error(place, f"no such home folder in {text!r}", "write the path out")
        path = Path(written)
    return Path(os.path.normpath(base / path))


def _key_dir(path: Path, entries: list[tuple[Place, Path]], findings: Findings) -> Path:
    if not entries:
        return path.parent
    place, found = entries[-1]
    if found.is_dir():
        return found
    findings.warning(
        place,
        f"key_dir {found} does not exist: the key files are read from {path.parent}",
        "leave key_dir out where the key files lie beside the master key",
    )
    return path.parent


def _paths(folders: Mapping[str, list[tuple[Place, Path]]], keyword: str) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(found for _, found in folders.get(keyword, [])))


def _key_files(
    path: Path, key_dir: Path, named: Mapping[str, list[tuple[Place, str]]], findings: Findings
) -> dict[str, tuple[Path, ...]]:
    files: dict[str, tuple[Path, ...]] = {}
    for kind, layout in LAYOUTS.items():
        if layout.needed and kind not in named:
            findings.error(Place(path), f"no {kind}", f"add a line: {kind} FILE", fatal=True)
        found: list[Path] = []
        for place, name in named.get(kind, []):
            file = expanded(name, key_dir, place, findings)
            if file in found:
                findings.warning(place, f"{name} is listed twice as {kind}: it is read once", "remove the line")
            elif file.is_file():
                found.append(file)
            else:
                note = findings.warning if layout.may_be_absent else findings.error
                note(place, f"the {kind} {file} does not exist", "create it, correct its name, or remove the line")
        files[kind] = tuple(found)
    return files
