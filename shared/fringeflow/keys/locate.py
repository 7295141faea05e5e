"""Where the user's own files lie: of several roots the first that has the file counts. Nothing is opened.

Of a clean mask there may only be one: which of two masks is meant cannot be seen in what is made with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fringeflow.keys.model import Project
from fringeflow.keys.problems import KeysError, Problem

ARCHIVES = (".tar", ".tar.zst", ".tar.gz")
"""A measurement set may lie under its root packed as one of these."""


def find_input(roots: Iterable[Path], relative: str) -> Path | None:
    """Return the file, folder or archive that `relative` names below the first of `roots` that has it, else None."""
    return next(_found(roots, relative), None)


def find_mask(project: Project, relative: str) -> Path | None:
    """Return the clean mask that `relative` names, else None.

    Raises
    ------
    KeysError
        Several roots have one.
    """
    found = _different(_found(project.roots.cleanmask, relative))
    if len(found) > 1:
        keyword, source = next((word, at) for word, at, path in _inputs(project) if (word, path) == (_MASKS, relative))
        raise KeysError(list(_look_for(project, keyword, source, relative)))
    return found[0] if found else None


def check_data(project: Project, *, lenient: bool = False) -> list[Problem]:
    """Return what is wrong with the inputs the keys name: not on disk, or there more than once.

    Absence is no error: data may arrive later. That a clean mask is there twice is one, unless `lenient`.
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
            problems += _look_for(project, keyword, source, relative, lenient=lenient)
    return problems


_MASKS = "cleanmask_root"
_WHAT = {
    "ms_root": "measurement set",
    "singledish_root": "single-dish file",
    _MASKS: "clean mask",
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


def _different(paths: Iterable[Path]) -> list[Path]:
    """Return `paths` without those that lead to a file that an earlier one leads to."""
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        told = path.stat()
        found.setdefault((told.st_dev, told.st_ino), path)
    return list(found.values())


def _inputs(project: Project) -> Iterator[tuple[str, str, str]]:
    """Yield (keyword of its roots, name in `Project.sources`, relative path) of every input."""
    for name, target in project.targets.items():
        for item in target.measurements:
            source = f"targets.{name}.measurements.{item.project}.{item.array_tag}.{item.obsnum}"
            yield "ms_root", source, item.path
        for product, file in target.singledish.items():
            yield "singledish_root", f"targets.{name}.singledish.{product}", file
        for product, file in target.cleanmask.items():
            yield _MASKS, f"targets.{name}.cleanmask.{product}", file
        if target.vfield_file and not target.mosaic_parent:
            yield "vfield_root", f"targets.{name}.window", target.vfield_file


def _look_for(
    project: Project, keyword: str, source: str, relative: str, *, lenient: bool = False
) -> Iterator[Problem]:
    roots = _roots(project)[keyword]
    paths = [str(path) for path in _different(_found(roots, relative))]
    file, _, line = project.sources.get(source, ("",))[-1].rpartition(":")
    path, number = (Path(file), int(line)) if file else (project.master_key, None)
    what = f"{_WHAT[keyword]} {relative}"
    if not paths:
        where = f"below {' or '.join(map(str, roots))}" if roots else f"there: the master key has no {keyword}"
        yield _warning(path, f"{what} is not {where}", "put it there, or correct the path", number)
    elif len(paths) > 1 and keyword == _MASKS and not lenient:
        text = f"{what} is there {len(paths)} times, and which is meant is not said: {', '.join(paths)}"
        remedy = f"keep one, or take a {keyword} out of the master key"
        yield Problem(severity="error", file=path, line=number, text=text, remedy=remedy)
    elif len(paths) > 1:
        text = f"{what} is there {len(paths)} times: {paths[0]} is used, not {', '.join(paths[1:])}"
        yield _warning(path, text, "keep one", number)


def _warning(file: Path, text: str, remedy: str, line: int | None = None) -> Problem:
    return Problem(severity="warning", file=file, line=line, text=text, remedy=remedy)
