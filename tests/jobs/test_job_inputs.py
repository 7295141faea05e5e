"""What a job brings to local disk before it works, and what it refuses."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fringeflow.errors import UnitFailedError
from fringeflow.graph.model import UnitId
from fringeflow.jobs.host import JobHost, JobRequest
from fringeflow.manifest import Artefact, Input
from fringeflow.store.artefacts import upload
from fringeflow.store.digests import tree_digest
from fringeflow.store.objects import Store

Order = Callable[..., JobRequest]


def table(folder: Path, content: str = "the rows") -> Path:
    folder.mkdir(parents=True)
    (folder / "table.dat").write_text(content)
    return folder


def in_place(path: Path) -> Input:
    kind = "directory" if path.is_dir() else "file"
    artefact = Artefact(name=path.name, kind=kind, key=path.as_uri(), size=1, sha256=tree_digest(path))
    return Input(source=f"incoming/{path.name}", artefacts=(artefact,))


def text_made(host: JobHost, store: Store, request: JobRequest) -> str:
    return store.get_bytes(host.start(request).result().results[0].outputs[0].key).decode()


def test_outputs_of_other_units_are_fetched(host: JobHost, store: Store, order: Order, tmp_path: Path) -> None:
    unit = UnitId(stage="imaging", target="t", config="c", product="p")
    image, fits = table(tmp_path / "a.image"), tmp_path / "a.fits"
    fits.write_text("fits")
    made = upload(store, unit, "cd" * 32, {"a.image": image, "a.fits": fits})
    text = text_made(host, store, order("work", inputs=(Input(source=str(unit), work_key="cd" * 32, artefacts=made),)))
    assert "{'imaging/t/c/p': ['a.fits', 'a.image']}" in text


def test_dropped_inputs_are_read_in_place(host: JobHost, store: Store, order: Order, tmp_path: Path) -> None:
    measurement_set = table(tmp_path / "drops with space" / "a.ms")
    assert "['the rows']" in text_made(host, store, order("work", inputs=(in_place(measurement_set),)))
    mask = tmp_path / "mask.fits"
    mask.write_text("the mask")
    assert "['the mask']" in text_made(host, store, order("work", inputs=(in_place(mask),)))
    assert measurement_set.is_dir()


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_dropped_archives_are_unpacked(host: JobHost, store: Store, order: Order, tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"a.ms{suffix}"
    with tarfile.open(archive, "w:gz" if suffix.endswith("gz") else "w") as tar:
        tar.add(table(tmp_path / "source" / "a.ms"), "a.ms")
    assert "['the rows']" in text_made(host, store, order("work", inputs=(in_place(archive),)))
    stored = store.put_file(archive, f"incoming/{archive.name}")
    dropped = Artefact(name=archive.name, kind="file", key=stored.key, size=stored.size, sha256=stored.sha256)
    inputs = (Input(source=f"incoming/{archive.name}", artefacts=(dropped,)),)
    assert "['the rows']" in text_made(host, store, order("work", inputs=inputs))


def failure_of(host: JobHost, request: JobRequest) -> UnitFailedError:
    with pytest.raises(UnitFailedError) as caught:
        host.start(request).result()
    assert caught.value.failure_kind == "data"
    return caught.value


def test_an_input_that_changed_is_refused(host: JobHost, order: Order, tmp_path: Path) -> None:
    measurement_set = table(tmp_path / "a.ms")
    before = in_place(measurement_set)
    (measurement_set / "table.dat").write_text("other rows")
    assert f"{measurement_set} is not what it was" in failure_of(host, order("work", inputs=(before,))).message


def test_a_missing_input_is_named(host: JobHost, order: Order, tmp_path: Path) -> None:
    gone = Artefact(name="a.ms", kind="directory", key=(tmp_path / "a.ms").as_uri(), size=1, sha256="0" * 64)
    inputs = (Input(source="incoming/a.ms", artefacts=(gone,)),)
    assert f"a.ms is not in {tmp_path}" in failure_of(host, order("work", inputs=inputs)).message


def test_a_corrupt_archive_is_named(host: JobHost, order: Order, tmp_path: Path) -> None:
    archive = tmp_path / "a.ms.tar"
    archive.write_bytes(b"no archive at all" * 100)
    error = failure_of(host, order("work", inputs=(in_place(archive),)))
    assert f"{archive} cannot be unpacked" in error.message
    assert error.remedy


def test_a_damaged_artefact_is_named(host: JobHost, store: Store, order: Order) -> None:
    key = "artefacts/imaging/t/x/y/a.fits"
    store.put_bytes(key, b"damaged")
    artefact = Artefact(name="a.fits", kind="file", key=key, size=5, sha256=hashlib.sha256(b"right").hexdigest())
    inputs = (Input(source="imaging/t/c/p", work_key="x", artefacts=(artefact,)),)
    assert "a.fits is damaged" in failure_of(host, order("work", inputs=inputs)).message
