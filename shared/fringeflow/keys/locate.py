"""Where the user's own files lie: one rule for all roots, the first that has the file counts. Nothing is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fringeflow.keys.model import Project
from fringeflow.keys.problems import Problem

ARCHIVES = (".tar", ".tar.zst", ".tar.gz")
"""A measurement set may lie under its root packed as one of these."""


def find_input(roots: Iterable[Path], relative: str) -> Path | None:
    """Return the file, folder or archive that `relative` names below the first of `roots` that has it, else None."""
    return next(_found(roots, relative), None)


def check_data(project: Project) -> list[Problem]:
    """Return a warning for every input the keys name that is not on disk, or is there more than once.

    Absence is no error: data may arrive later.
    """
    problems = [
        _warning(project.master_key, f"{keyword} {root} does not exist", "create it, or correct the master key")
        for keyword, roots in _roots(project).items()
        for root in roots
        if not root.is_dir()
    ]
    seen: set[tuple[str, str]] = set()
    for keyword, source, relative in _inputs(project):
        if (keyword, relative) not in seen:
            seen.add((keyword, relative))
            problems += _look_for(project, keyword, source, relative)
    return problems


_WHAT = {
    "ms_root": "measurement set",
    "singledish_root": "single-dish file",
    "cleanmask_root": "clean mask",
    "vfield_root": "velocity field",
}


def _roots(project: Project) -> dict[str, tuple[Path, ...]]:
    roots = project.roots
    return dict(zip(_WHAT, (roots.ms, roots.singledish, roots.cleanmask, roots.vfield), strict=True))


def _found(roots: Iterable[Path], relative: str) -> Iterator[Path]:
    for root in roots:
        path = root / relative
        if path.parent.is_dir():
            candidates = (path, *(path.with_name(path.name + ending) for ending in ARCHIVES))
            yield from (candidate for candidate in candidates if candidate.exists())


def _inputs(project: Project) -> Iterator[tuple[str, str, str]]:
    """Yield (keyword of its roots, name in `Project.sources`, relative path) of every input."""
    for name, target in project.targets.items():
        for item in target.measurements:
            source = f"targets.{name}.measurements.{item.project}.{item.array_tag}.{item.obsnum}"
            yield "ms_root", source, item.path
        for product, file in target.singledish.items():
            yield "singledish_root", f"targets.{name}.singledish.{product}", file
        for product, file in target.cleanmask.items():
            yield "cleanmask_root", f"targets.{name}.cleanmask.{product}", file
        if target.vfield_file and not target.mosaic_parent:
            yield "vfield_root", f"targets.{name}.window", target.vfield_file


def _look_for(project: Project, keyword: str, source: str, relative: str) -> Iterator[Problem]:
    roots = _roots(project)[keyword]
    paths = [str(path) for path in _found(roots, relative)]
    file, _, line = project.sources.get(source, ("",))[-1].rpartition(":")
    path, number = (Path(file), int(line)) if file else (project.master_key, None)
    what = f"{_WHAT[keyword]} {relative}"
    if not paths:
        where = f"below {' or '.join(map(str, roots))}" if roots else f"there: the master key has no {keyword}"
        yield _warning(path, f"{what} is not {where}", "put it there, or correct the path", number)
    elif len(paths) > 1:
        text = f"{what} is there {len(paths)} times: {paths[0]} is used, not {', '.join(paths[1:])}"
        yield _warning(path, text, "keep one", number)


def _warning(file: Path, text: str, remedy: str, line: int | None = None) -> Problem:
    return Problem(severity="warning", file=file, line=line, text=text, remedy=remedy)
