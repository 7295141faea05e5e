"""What the user has dropped: the leaves of the graph. Finds them below the key files' roots and takes their digests.

The inputs are read where they lie; nothing is copied here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fringeflow.graph.model import Unit
from fringeflow.keys.locate import find_input, find_mask
from fringeflow.keys.model import Project, Roots
from fringeflow.manifest import Artefact

Drops = Mapping[str, Artefact]


def names(units: Iterable[Unit]) -> list[str]:
    """Return the names of all dropped inputs that `units` read or welcome, each once."""
    return sorted({leaf for unit in units if unit.leaves or unit.welcome for leaf in (*unit.leaves, *unit.welcome)})


def roots_for(name: str, roots: Roots) -> tuple[tuple[Path, ...], str]:
    """Return where the dropped input `name` is looked for, and its path below those folders."""
    prefix, _, relative = name.partition("/")
    folders = {
        "incoming": roots.ms,
        "cleanmask": roots.cleanmask,
        "singledish": roots.singledish,
        "vfield": roots.vfield,
    }
    return folders[prefix], relative


def scan(project: Project, wanted: Iterable[str], cache: Path | None) -> Iterator[Artefact]:
    """Yield an artefact for each of the `wanted` inputs that is there, its key the URI of the file or folder.

    Raises
    ------
    KeysError
        A clean mask is there more than once.
    """
    from fringeflow.store.digests import tree_digest  # not before: it loads the store's client

    for name in wanted:
        folders, relative = roots_for(name, project.roots)
        masked = name.startswith("cleanmask/")
        path = find_mask(project, relative) if masked else find_input(folders, relative)
        if path is not None:
            yield Artefact(
                name=name,
                kind="directory" if path.is_dir() else "file",
                key=path.absolute().as_uri(),
                size=size_of(path),
                sha256=tree_digest(path, cache),
            )


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
