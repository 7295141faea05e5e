"""Digests of trees, artefacts of units, and the ledger of manifests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.graph.model import UnitId
from fringeflow.manifest import Artefact, Manifest
from fringeflow.store.artefacts import clean_strays, fetch, upload
from fringeflow.store.digests import tree_digest
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store

UNIT = UnitId(stage="imaging", target="ngc5921", config="vla", product="hi21cm")
KEY = "ab" * 32


def manifest(outputs: tuple[Artefact, ...] = (), **changes: object) -> Manifest:
    content = {"unit": UNIT, "work_key": KEY, "revision": 1, "recipe": {"niter": 10}, "outputs": outputs}
    timing = {"started": "2026-11-22T12:00:00+00:00", "seconds": 1.5}
    return Manifest.model_validate({**content, **timing, **changes})


@pytest.fixture
def outputs(tmp_path: Path) -> dict[str, Path]:
    image = tmp_path / "work" / "cube.image"
    (image / "sub").mkdir(parents=True)
    (image / "table.dat").write_bytes(b"table")
    (image / "table.lock").write_bytes(b"rows")
    (image / "sub" / "data").write_bytes(os.urandom(100_000))
    fits = tmp_path / "work" / "cube.fits"
    fits.write_bytes(os.urandom(50_000))
    return {"cube.image": image, "cube.fits": fits}


class TestDigests:
    def test_names_and_contents_count(self, tmp_path: Path) -> None:
        tree = tmp_path / "tree"
        tree.mkdir()
        seen = {tree_digest(tree)}
        for change in (
            lambda: (tree / "a").write_bytes(b"1"),
            lambda: (tree / "a").write_bytes(b"2"),
            lambda: (tree / "a").rename(tree / "b"),
            lambda: (tree / "sub").mkdir(),
            lambda: (tree / "b").rename(tree / "sub" / "b"),
            lambda: (tree / "link").symlink_to("sub/b"),
        ):
            change()
            seen.add(tree_digest(tree))
        assert len(seen) == 7

    def test_locks_and_times_do_not(self, tmp_path: Path) -> None:
        (tmp_path / "table.dat").write_bytes(b"1")
        before = tree_digest(tmp_path)
        (tmp_path / "table.lock").write_bytes(b"opened")
        os.utime(tmp_path / "table.dat", (1, 1))
        assert tree_digest(tmp_path) == before
        assert tree_digest(tmp_path, ignored=frozenset()) != before

    def test_of_a_file_is_its_sha256(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"")
        assert tree_digest(tmp_path / "a") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    def test_are_remembered_until_something_changes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tree, cache = tmp_path / "tree", tmp_path / "cache"
        tree.mkdir()
        (tree / "a").write_bytes(b"1")
        reads: list[Path] = []
        from fringeflow.store import digests

        really = digests.read_blocks
        monkeypatch.setattr(digests, "read_blocks", lambda path: reads.append(path) or really(path))
        first = tree_digest(tree, cache)
        assert tree_digest(tree, cache) == first
        assert len(reads) == 1
        (tree / "a").write_bytes(b"2")
        assert tree_digest(tree, cache) not in (first, "")
        assert len(reads) == 2
        for note in cache.iterdir():
            note.write_text("{")
        assert tree_digest(tree, cache) == tree_digest(tree)

    def test_of_nothing_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(MissingInputError, match=r"absent\.ms"):
            tree_digest(tmp_path / "absent.ms", tmp_path / "cache")


class TestArtefacts:
    def test_come_back_as_they_were(self, store: Store, outputs: dict[str, Path], tmp_path: Path) -> None:
        made = {artefact.name: artefact for artefact in upload(store, UNIT, KEY, outputs)}
        assert made["cube.fits"].key == (f"artefacts/imaging/ngc5921/{KEY}/{made['cube.fits'].sha256[:16]}/cube.fits")
        assert made["cube.image"].key.endswith("/cube.image.tar.zst")
        assert [made[name].kind for name in ("cube.fits", "cube.image")] == ["file", "directory"]
        for name, artefact in made.items():
            assert store.size(artefact.key) == artefact.size
            path = fetch(store, artefact, tmp_path / "got")
            assert path == tmp_path / "got" / name
            assert tree_digest(path, ignored=frozenset()) == tree_digest(outputs[name], ignored=frozenset())

    def test_are_put_once(self, store: Store, outputs: dict[str, Path]) -> None:
        first = upload(store, UNIT, KEY, outputs)
        assert upload(store, UNIT, KEY, outputs) == first
        assert len(list(store.list())) == 2

    def test_own_files_are_linked_and_others_copied(
        self, folder_store: Store, outputs: dict[str, Path], tmp_path: Path
    ) -> None:
        theirs = tmp_path / "theirs.fits"
        theirs.write_bytes(b"the user's own")
        link = tmp_path / "work" / "link.fits"
        link.symlink_to(theirs)
        wanted = {"cube.fits": outputs["cube.fits"], "theirs.fits": theirs, "link.fits": link}
        for artefact in upload(folder_store, UNIT, KEY, wanted, own=tmp_path / "work"):
            path = folder_store.local_path(artefact.key)
            assert path
            assert path.samefile(wanted[artefact.name]) == (artefact.name == "cube.fits")

    def test_damage_is_found(self, store: Store, outputs: dict[str, Path], tmp_path: Path) -> None:
        for artefact in upload(store, UNIT, KEY, outputs):
            store.put_bytes(artefact.key, b"something else")
            with pytest.raises(CorruptInputError):
                fetch(store, artefact, tmp_path / "got")
        assert list((tmp_path / "got").iterdir()) == []

    def test_strays_of_a_killed_attempt_are_removed(self, store: Store, outputs: dict[str, Path]) -> None:
        made = upload(store, UNIT, KEY, outputs)
        other_unit = f"artefacts/imaging/ngc5921/{'cd' * 32}/0123456789abcdef/cube.fits"
        for key in (f"artefacts/imaging/ngc5921/{KEY}/0123456789abcdef/cube.fits", other_unit):
            store.put_bytes(key, b"x")
        assert clean_strays(store, manifest(made)) == 1
        assert {info.key for info in store.list()} == {other_unit, *(artefact.key for artefact in made)}

    def test_what_was_not_made_is_missing(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(MissingInputError, match=r"promised as cube\.fits"):
            upload(store, UNIT, KEY, {"cube.fits": tmp_path / "cube.fits"})


class TestLedger:
    def test_the_first_commit_stands(self, store: Store) -> None:
        first = Ledger(store).commit(manifest(facts={"noise": [1.0, 2.0]}))
        assert first == manifest(facts={"noise": [1.0, 2.0]})
        assert Ledger(store).commit(manifest(facts={"noise": [3.0]})) == first
        assert Ledger(store).get(UNIT, KEY) == first

    def test_what_was_not_made_is_not_remembered_as_such(self, store: Store) -> None:
        ledger = Ledger(store)
        assert ledger.get(UNIT, KEY) is None
        Ledger(store).commit(manifest())
        assert ledger.get(UNIT, KEY) == manifest()

    def test_what_was_made_is_remembered(self, store: Store) -> None:
        ledger = Ledger(store)
        ledger.commit(manifest())
        store.delete([manifest().path])
        assert ledger.get(UNIT, KEY) == manifest()
        assert Ledger(store).get(UNIT, KEY) is None

    def test_lists_below_a_prefix(self, store: Store) -> None:
        ledger = Ledger(store)
        others = [manifest(unit=UNIT.at("plan")), manifest(unit=UNIT._replace(target="ngc1"))]
        for item in (manifest(), *others):
            ledger.commit(item)
        assert {str(item.unit) for item in Ledger(store).all("imaging/ngc5921")} == {str(UNIT), f"{UNIT}/plan"}
        assert len(list(ledger.all())) == 3

    @pytest.mark.parametrize("content", [b"", b"{", b'{"unit": 1}', b"\xff"])
    def test_a_damaged_manifest_is_named(self, store: Store, content: bytes) -> None:
        store.put_bytes(manifest().path, content)
        with pytest.raises(CorruptInputError, match=f"{manifest().path}.*is not a manifest") as caught:
            Ledger(store).get(UNIT, KEY)
        assert "remove it" in str(caught.value)

    def test_members_of_a_later_version_are_passed_over(self, store: Store) -> None:
        later = {**manifest().model_dump(mode="json"), "mood": "good", "unit": {**UNIT._asdict(), "sub": 1}}
        store.put_bytes(manifest().path, json.dumps(later).encode())
        assert Ledger(store).get(UNIT, KEY) == manifest()

    def test_another_schema_is_refused_and_not_to_be_removed(self, store: Store) -> None:
        other = {**manifest().model_dump(mode="json"), "schema_version": 2}
        store.put_bytes(manifest().path, json.dumps(other).encode())
        with pytest.raises(DataError, match=f"{manifest().path}.*schema version 2.*reads version 1") as caught:
            Ledger(store).get(UNIT, KEY)
        assert "remove" not in str(caught.value)

    def test_few_are_kept_in_memory_and_all_are_found(self, store: Store) -> None:
        ledger = Ledger(store)
        made = [manifest(unit=UNIT.at(f"step{number}")) for number in range(510)]
        for item in made:
            ledger.commit(item)
        assert len(ledger._seen) <= 500
        assert [ledger.get(item.unit, KEY) for item in made[:3]] == made[:3]
        assert sorted(ledger.made("imaging/ngc5921")) == [("ngc5921", KEY)] * 510

    def test_a_manifest_in_the_wrong_place_is_named(self, store: Store) -> None:
        store.put_bytes(manifest().path, manifest(work_key="cd" * 32).model_dump_json().encode())
        with pytest.raises(CorruptInputError, match="of another unit"):
            Ledger(store).get(UNIT, KEY)
