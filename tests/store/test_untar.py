"""Archives made by others: what plain tar makes is taken, what is damaged or would write elsewhere is refused."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.errors import CorruptInputError
from fringeflow.graph.model import Unit, UnitId
from fringeflow.jobs.inputs import Fetcher
from fringeflow.jobs.request import TaskUnit
from fringeflow.manifest import Artefact, Input
from fringeflow.store.base import Store
from fringeflow.store.untar import SUFFIXES, untar

PACK = {
    ".tar": bytes,
    ".tar.gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".tgz": gzip.compress,
    ".tar.zst": zstandard.compress,
}


def blocks(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def tar_of(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return plain.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, aim: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, aim
    return made


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A measurement set with two names for one file."""
    folder = tmp_path / "drop" / "galaxy.ms"
    (folder / "SPECTRAL_WINDOW").mkdir(parents=True)
    (folder / "table.dat").write_bytes(b"rows")
    (folder / "SPECTRAL_WINDOW" / "table.dat").write_bytes(os.urandom(300_000))
    os.link(folder / "table.dat", folder / "table.f1")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-C", "{above}", "galaxy.ms"],
        ["-C", "{here}", "."],
        ["-P", "{here}"],
        ["--format=ustar", "-C", "{above}", "galaxy.ms"],
        ["--format=pax", "-z", "-C", "{above}", "galaxy.ms"],
        ["--zstd", "-C", "{above}", "galaxy.ms"],
    ],
    ids=["folder", "no folder", "absolute", "ustar", "pax gz", "zstd"],
)
def test_a_job_gets_what_plain_tar_packed(table: Path, store: Store, tmp_path: Path, arguments: list[str]) -> None:
    suffix = ".tar.gz" if "-z" in arguments else ".tar.zst" if "--zstd" in arguments else ".tar"
    packed = tmp_path / f"packed{suffix}"
    places = [item.format(above=table.parent, here=table) for item in arguments]
    if subprocess.run(["tar", "-c", "-f", packed, *places], check=False).returncode:
        pytest.skip("this tar cannot do that")
    stored = store.put_file(packed, f"incoming/x/galaxy.ms{suffix}")
    drop = Artefact(name="incoming/x/galaxy.ms", kind="file", key=stored.key, size=stored.size, sha256=stored.sha256)
    assert contents(fetched(store, drop, tmp_path)) == contents(table)


def fetched(store: Store, drop: Artefact, folder: Path) -> Path:
    unit = Unit(
        id=UnitId(stage="staging", target="t", config="c", product="p"),
        revision=1,
        recipe={},
        leaves=(drop.name,),
        outputs=("t.ms",),
        fact="visibilities.staged",
    )
    task = TaskUnit(unit, "0" * 64, inputs=(Input(source=drop.name, artefacts=(drop,)),))
    return Fetcher(store, folder / "scratch", folder / "digests").order(task).leaves[drop.name]


def test_a_job_gets_a_plain_file_as_it_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mask.fits").write_bytes(b"SIMPLE  =")
    stored = store.put_file(tmp_path / "mask.fits", "cleanmask/deep/mask.fits")
    drop = Artefact(name=stored.key, kind="file", key=stored.key, size=stored.size, sha256=stored.sha256)
    found = fetched(store, drop, tmp_path)
    assert (found.name, found.read_bytes()) == ("mask.fits", b"SIMPLE  =")
    with pytest.raises(CorruptInputError, match=r"mask\.fits.*damaged"):
        fetched(store, drop.model_copy(update={"sha256": "0" * 64}), tmp_path / "again")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../x")], "leads outside"),
        ([member("a/../../x")], "leads outside"),
        ([member("/../x")], "leads outside"),
        ([member("link", tarfile.SYMTYPE, "inside")], "neither file nor folder"),
        ([member("link", tarfile.SYMTYPE, "/etc"), member("link/x")], "neither file nor folder"),
        ([member("link", tarfile.LNKTYPE, "../../secret")], "leads outside"),
        ([member("link", tarfile.LNKTYPE, "/no/such")], "cannot be written"),
        ([member("pipe", tarfile.FIFOTYPE)], "neither file nor folder"),
        ([member("device", tarfile.CHRTYPE)], "neither file nor folder"),
        ([member("a"), member("a/b")], "cannot be written"),
        ([member("a/b"), member("a")], "cannot be written"),
        ([member("x" * 300)], "cannot be written"),
    ],
)
def test_what_does_not_belong_in_an_archive_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo], message: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(CorruptInputError, match=f"the drop cannot be unpacked: .*{message}"):
        untar(blocks(tar_of(*members)), tmp_path / "in", ".tar", "the drop")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "secret"]


def test_nothing_is_written_through_links_of_our_own_archives_either(tmp_path: Path) -> None:
    for folder in ("in/d", "in/e"):
        (tmp_path / folder).mkdir(parents=True)
    # each leads inside by its letters; through the first, the second leads outside
    chain = [member("d/up", tarfile.SYMTYPE, ".."), member("d/up/../../x")]
    untar(blocks(tar_of(*chain, content=b"x")), tmp_path / "in", ".tar", "ours", links=True)
    assert (tmp_path / "in" / "x").read_bytes() == b"x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    first, later = tar_of(member("a"), content=b"first"), tar_of(member("a"), content=b"later")
    untar(blocks(first[:1024] + later), tmp_path, ".tar", "the drop")
    assert (tmp_path / "a").read_bytes() == b"later"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_cut_between_two_members_is_corrupt(tmp_path: Path, suffix: str) -> None:
    data = PACK[suffix](tar_of(member("a"), content=b"x" * 512)[:1024])
    with pytest.raises(CorruptInputError, match="its end is missing"):
        untar(blocks(data), tmp_path, suffix, "the drop")


GOOD = tar_of(member("t/table.dat"), member("t/data"), content=bytes(range(256)) * 20)


@given(suffix=st.sampled_from(SUFFIXES), data=st.data())
def test_no_damage_does_anything_but_be_found_or_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    base = tmp_path_factory.mktemp("damage")
    (base / "in").mkdir()
    packed = bytearray(PACK[suffix](GOOD))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    del packed[data.draw(st.integers(1, 2 * len(packed))) :]
    with suppress(CorruptInputError):
        untar(blocks(bytes(packed)), base / "in", suffix, "the drop")
    assert [path.name for path in base.iterdir()] == ["in"]
