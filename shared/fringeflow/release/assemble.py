"""Puts the finished products of a project into a folder of their own that is handed on: a release.

    DEST/<target's directory>/{cubes,masks,maps,noise,pb,coverage}/<name>
    DEST/obscore.xml    DEST/manifest.json    DEST/SHA256SUMS    DEST/README.txt

It appears whole or not at all, and one that exists is never changed (singledish and release specification, R-01 to
R-04). What is in it follows from the manifests, not from names that might be there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fringeflow import fitsio
from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.keys.model import Project
from fringeflow.layout import link_or_copy, products
from fringeflow.manifest import Artefact, Manifest
from fringeflow.release import obscore
from fringeflow.store.base import Store

STAGES = ("postprocess", "derived")
SUMS, MANIFEST, TABLE = "SHA256SUMS", "manifest.json", "obscore.xml"
# ending of a file's name -> folder, and what the virtual observatory is told
_FOLDERS: Sequence[tuple[tuple[str, ...], str, str]] = (
    (("_trimmed_pb.fits",), "pb", "primary beam"),
    (("_coverage.fits", "_coverage2d.fits"), "coverage", "coverage"),
    (("_noise.fits",), "noise", "noise"),
    (("mask.fits",), "masks", "mask"),
    (("_shuffled.fits", "_pbcorr_trimmed_k.fits"), "cubes", "cube"),
)


@dataclass(frozen=True)
class Item:
    """One file of a release."""

    path: str
    manifest: Manifest
    artefact: Artefact
    subtype: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Release:
    """What was released, and what is missing of what the keys ask for."""

    folder: Path
    items: tuple[Item, ...]
    missing: tuple[str, ...]


def assemble(
    project: Project,
    manifests: Iterable[Manifest],
    missing: Sequence[str],
    store: Store,
    folder: Path,
    *,
    collection: str = "fringeflow",
    compress: bool = False,
) -> Release:
    """Make a release in `folder`, which must not exist.

    Parameters
    ----------
    manifests
        Of the units whose products are released; those of other stages than post-processing and derived are left out.
    missing
        Units that the keys ask for and that are not made: they are named in the release.
    collection
        Name of the collection in the ObsCore table.
    compress
        Write tile-compressed FITS (``.fits.fz``), without loss.

    Raises
    ------
    DataError
        The folder exists, or there is nothing to release.
    CorruptInputError
        A file in the store is not what was made.
    """
    if folder.exists():
        raise DataError(f"{folder} exists: a release is never changed", remedy="give a new folder")
    items = tuple(sorted(_items(project, manifests), key=lambda item: item.path))
    if not items:
        raise MissingInputError("nothing is made yet that could be released", remedy="`fringeflow status` says why")
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        items = tuple(_put(store, item, draft, compress=compress) for item in items)
        _describe(items, missing, draft, collection)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Release(folder, items, tuple(missing))


def compare(folder: Path, previous: Path) -> Iterator[tuple[str, str]]:
    """Yield path and what happened to it since an earlier release: ``new``, ``gone`` or ``changed``."""
    now, before = _sums(folder), _sums(previous)
    for path in sorted(now.keys() | before.keys()):
        if path not in before:
            yield path, "new"
        elif path not in now:
            yield path, "gone"
        elif now[path] != before[path]:
            yield path, "changed"


def _items(project: Project, manifests: Iterable[Manifest]) -> Iterator[Item]:
    for manifest in manifests:
        if manifest.unit.stage not in STAGES:
            continue
        target = project.targets[manifest.unit.target].directory
        for artefact in products(manifest):
            folder, subtype = _kind(artefact.name, manifest)
            path = f"{target}/{folder}/{artefact.name}"
            yield Item(path, manifest, artefact, subtype, artefact.sha256, artefact.size)


def _kind(name: str, manifest: Manifest) -> tuple[str, str]:
    for endings, folder, subtype in _FOLDERS:
        if name.endswith(endings):
            return folder, subtype
    is_cube = manifest.unit.stage == "postprocess" or manifest.unit.step.partition("@")[0] == "cube"
    return ("cubes", "cube") if is_cube else ("maps", "moment map")


def _put(store: Store, item: Item, folder: Path, *, compress: bool) -> Item:
    """Put a file into the release; return what it is there."""
    path = folder / item.path
    path.parent.mkdir(parents=True, exist_ok=True)
    _fetch(store, item, path)
    if not compress:
        return item
    packed = path.with_name(f"{path.name}.fz")
    fitsio.tile_compress(path, packed)
    path.unlink()
    return replace(item, path=f"{item.path}.fz", sha256=_digest(packed), size=packed.stat().st_size)


def _fetch(store: Store, item: Item, path: Path) -> None:
    source = store.local_path(item.artefact.key)
    if source is None:
        store.get_file(item.artefact.key, path, sha256=item.artefact.sha256)
        return
    link_or_copy(source, path)
    path.chmod(0o444)  # a link edited in place would change the store
    if _digest(path) != item.artefact.sha256:
        raise CorruptInputError(
            f"{item.artefact.key} is not what {item.manifest.unit} made",
            remedy=f"make it again: --force '{item.manifest.unit}'",
        )


def _describe(items: Sequence[Item], missing: Sequence[str], folder: Path, collection: str) -> None:
    rows = [
        obscore.row(
            folder / item.path,
            collection=collection,
            obs_id=str(item.manifest.unit),
            url=item.path,
            target=item.manifest.unit.target,
            subtype=item.subtype,
            level=3 if item.manifest.unit.stage == "derived" else 2,
        )
        for item in items
    ]
    obscore.write(rows, folder / TABLE)
    listing = {"collection": collection, "files": [_row(item) for item in items], "missing": list(missing)}
    (folder / MANIFEST).write_text(json.dumps(listing, indent=1))
    (folder / "README.txt").write_text(_readme(items, missing, collection))
    sums = [(item.sha256, item.path) for item in items]
    sums += [(_digest(folder / name), name) for name in (TABLE, MANIFEST, "README.txt")]
    (folder / SUMS).write_text("".join(f"{digest}  {path}\n" for digest, path in sums))


def _row(item: Item) -> Mapping[str, Any]:
    manifest = item.manifest
    return {
        "path": item.path,
        "sha256": item.sha256,
        "size": item.size,
        "uncompressed_sha256": item.artefact.sha256,
        "unit": str(manifest.unit),
        "work_key": manifest.work_key,
        "recipe": manifest.recipe,
        "facts": manifest.facts,
        "software": manifest.software,
        "made": manifest.started,
    }


def _readme(items: Sequence[Item], missing: Sequence[str], collection: str) -> str:
    targets = sorted({item.manifest.unit.target for item in items})
    lines = [
        f"{collection}: {len(items)} products of {len(targets)} targets ({', '.join(targets)}), made by fringeflow.",
        "",
        f"{TABLE} describes them in the terms of the virtual observatory (ObsCore 1.1).",
        f"{MANIFEST} says how each was made: parameters, inputs, software, figures.",
        f"`sha256sum --check {SUMS}` tells whether the files are whole.",
    ]
    if missing:
        lines += ["", f"{len(missing)} units that were asked for are not made:", *(f"  {unit}" for unit in missing)]
    return "\n".join(lines) + "\n"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.is_file():
        raise MissingInputError(f"{folder} is not a release: it has no {SUMS}")
    pairs = (line.split("  ", 1) for line in path.read_text().splitlines())
    own = (TABLE, MANIFEST, "README.txt")
    return {name: digest for digest, name in pairs if name not in own}
