"""The product tree's index: lines are added, the last of a file counts, and only what was laid out is taken away."""

from __future__ import annotations

from pathlib import Path

from fringeflow.graph.model import Unit, UnitId
from fringeflow.layout import INDEX, ProductTree
from fringeflow.manifest import Artefact, Manifest
from fringeflow.store.objects import Store, StoreSettings, open_store
from tests import toy


def test_lines_are_added_and_the_last_one_counts(tmp_path: Path) -> None:
    tree, store = _tree(tmp_path)

    tree.place(_made(store, tmp_path, "a", "one"))
    tree.place(_made(store, tmp_path, "b", "one"))
    tree.place(_made(store, tmp_path, "a", "two"))
    tree.place(_made(store, tmp_path, "a", "two"))

    lines = (tree.folder / INDEX).read_text().splitlines()
    assert len(lines) == 3
    assert {name: row["work_key"] for name, row in tree.index().items()} == {
        "derived/t/a.fits": "two",
        "derived/t/b.fits": "one",
    }
    assert (tree.folder / "derived/t/a.fits").read_text() == "two"


def test_a_line_cut_short_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    tree, store = _tree(tmp_path)
    tree.place(_made(store, tmp_path, "a", "one"))
    with (tree.folder / INDEX).open("a") as file:
        file.write('{"derived/t/b.fits": {"un')

    tree, store = _tree(tmp_path)
    tree.place(_made(store, tmp_path, "c", "one"))

    assert set(tree.index()) == {"derived/t/a.fits", "derived/t/c.fits"}


def test_only_what_was_laid_out_and_has_no_unit_any_more_is_taken_away(tmp_path: Path) -> None:
    tree, store = _tree(tmp_path)
    tree.place(_made(store, tmp_path, "a", "one"))
    tree.place(_made(store, tmp_path, "b", "one"))
    mine = tree.folder / "derived/t/mine.fits"
    mine.write_text("mine")

    removed = tree.prune([Unit(UnitId("derived", "t", "c", "p", "a"), 1, {}, outputs=("a.fits",))])

    assert removed == [tree.folder / "derived/t/b.fits"]
    assert [path.name for path in sorted((tree.folder / "derived/t").iterdir())] == ["a.fits", "mine.fits"]
    assert set(tree.index()) == {"derived/t/a.fits"}
    tree.place(_made(store, tmp_path, "b", "one"))
    assert set(tree.index()) == {"derived/t/a.fits", "derived/t/b.fits"}


def _tree(folder: Path) -> tuple[ProductTree, Store]:
    store = open_store(StoreSettings.of_folder(folder / "store"))
    return ProductTree(folder / "products", toy.project(folder, "t"), store), store


def _made(store: Store, folder: Path, step: str, content: str) -> Manifest:
    """Return the manifest of a unit whose only product has this content."""
    path = folder / f"{step}.{content}"
    path.write_text(content)
    stored = store.put_file(path, f"artefacts/{step}/{content}")
    artefact = Artefact(name=f"{step}.fits", kind="file", key=stored.key, size=stored.size, sha256=stored.sha256)
    unit = UnitId("derived", "t", "c", "p", step)
    return Manifest(
        unit=unit, work_key=content, revision=1, recipe={}, outputs=(artefact,), started="2026-01-01", seconds=1.0
    )
