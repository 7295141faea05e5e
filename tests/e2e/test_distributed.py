"""The same galaxy through workers on a broker and a bucket: the same pixels as in the run of one astronomer."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store, StoreSettings, open_store
from tests.broker import Broker
from tests.e2e.conftest import Finished
from tests.e2e.galaxy import KEYS, Galaxy, fringeflow
from tests.store.conftest import BUCKET, s3_endpoint  # noqa: F401 - a fixture

pytestmark = pytest.mark.xdist_group("e2e")

WITHIN_SECONDS = 250


@pytest.fixture
def bucket(
    broker: Broker,
    s3_endpoint: str,  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> StoreSettings:
    """A bucket, and an environment that names it and a broker."""
    store = StoreSettings(url=f"s3://{BUCKET}/{uuid.uuid4().hex}", endpoint=s3_endpoint, allow_http=True)
    settings = {
        "BUS__URL": broker.url,
        "BUS__PREFIX": f"t{uuid.uuid4().hex[:8]}.",
        "STORE__URL": store.url,
        "STORE__ENDPOINT": s3_endpoint,
        "STORE__ALLOW_HTTP": "true",
        "JOBS__SCRATCH": str(tmp_path / "scratch"),
        "POLL_SECONDS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"FRINGEFLOW_{name}", value)
    return store


@contextlib.contextmanager
def workers(folder: Path, *rosters: tuple[str, ...]) -> Iterator[list[Path]]:
    """Workers of the given stages; gives their logs."""
    logs = [folder / f"worker-{number}.log" for number in range(len(rosters))]
    running = []
    try:
        for path, stages in zip(logs, rosters, strict=True):
            command = [sys.executable, "-m", "fringeflow", "worker", *stages, "--jobs", "1"]
            with path.open("wb") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=log))
        yield logs
    finally:
        for worker in running:
            worker.terminate()
        for worker in running:
            worker.wait(60)


def pixels(store: Store) -> dict[str, bytes]:
    """The data of every FITS product by its path below ``artefacts``, without the part that is the work key."""
    return {
        f"{manifest.unit}/{output.name}": store.get_bytes(output.key)
        for manifest in Ledger(store).all()
        for output in manifest.outputs
        if output.name.endswith(".fits")
    }


def test_workers_on_a_broker_and_a_bucket_make_the_same_pixels(
    finished: Finished, bucket: StoreSettings, tmp_path: Path
) -> None:
    galaxy = finished.galaxy
    assert fringeflow("keys", "push", galaxy.master_key).returncode == 0
    assert fringeflow("put", galaxy.root / "data" / "disc.ms", "--keys", galaxy.master_key).returncode == 0
    embedded = open_store(StoreSettings.of_folder(finished.workdir / "store"))
    units = {str(manifest.unit) for manifest in Ledger(embedded).all()}
    store, end = open_store(bucket), time.monotonic() + WITHIN_SECONDS
    with workers(tmp_path, ("staging", "imaging"), ("postprocess", "derived")) as logs:
        while sum(1 for _ in store.list("manifests")) < len(units):
            said = "".join(path.read_text()[-4000:] for path in logs)
            assert time.monotonic() < end, said
            assert not list(store.list("dead")), said
            time.sleep(0.5)
    status = fringeflow("status", "--json")
    assert status.returncode == 0, status.stdout
    assert all(row["made"] == row["total"] for row in json.loads(status.stdout)["rows"])
    assert {str(manifest.unit) for manifest in Ledger(store).all()} == units
    ours, theirs = pixels(store), pixels(embedded)
    assert set(ours) == set(theirs)
    for name in ours:
        mine, other = (read(tmp_path / "one.fits", data[name]) for data in (ours, theirs))
        np.testing.assert_array_equal(mine, other, err_msg=name)
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []


def test_poisoned_inputs_are_named_and_the_others_are_made(
    galaxy: Galaxy, bucket: StoreSettings, tmp_path: Path
) -> None:
    """A torn archive, a measurement set that does not cover the line, and one without a row."""
    key = with_others(
        galaxy, tmp_path / "p", corrupt=("corrupt.ms", 1000), blind=("disc.ms", 9000), empty=("e.ms", 1000)
    )
    disc, empty = galaxy.root / "data" / "disc.ms", tmp_path / "e.ms"
    without_rows(disc, empty)
    assert fringeflow("keys", "push", key).returncode == 0
    store = open_store(bucket)
    with tarfile.open(tmp_path / "whole.tar", "w") as archive:
        archive.add(disc, "corrupt.ms")
    whole = (tmp_path / "whole.tar").read_bytes()
    store.put_bytes("incoming/corrupt.ms.tar", whole[: len(whole) // 3])
    assert fringeflow("put", disc, "--as", "disc.ms").returncode == 0
    assert fringeflow("put", empty, "--as", "e.ms").returncode == 0
    end = time.monotonic() + WITHIN_SECONDS
    with workers(tmp_path, ("staging",)) as logs:
        while sum(1 for folder in ("manifests", "dead") for _ in store.list(folder)) < 4:
            assert time.monotonic() < end, logs[0].read_text()[-4000:]
            time.sleep(0.5)
    assert [str(manifest.unit) for manifest in Ledger(store).all()] == ["staging/disc/12m/co21"]
    letters = {row["name"].split("/")[1]: row for row in json.loads(fringeflow("dead", "list", "--json").stdout)}
    assert {row["kind"] for row in letters.values()} == {"data"}
    assert all(row["remedy"] and "Traceback" not in row["message"] for row in letters.values()), letters
    assert "corrupt.ms.tar" in letters["corrupt"]["message"]
    assert "km/s" in letters["blind"]["message"]
    assert "e.ms" in letters["empty"]["message"]
    assert "row" in letters["empty"]["message"]


def with_others(galaxy: Galaxy, folder: Path, **others: tuple[str, int]) -> Path:
    """Return the master key of a project with further targets, each of a measurement set and a velocity."""
    own = KEYS["ms_key.txt"], KEYS["target_key.txt"]
    sets = "".join(f"{name}   p1   all   12m   1   {path}\n" for name, (path, _) in others.items())
    rows = "".join(f"{name}   12h00m00.0s   -30d00m00.0s   {kms}.0   70.0\n" for name, (_, kms) in others.items())
    return galaxy.copy_keys(folder, ms_key=(own[0], own[0] + sets), target_key=(own[1], own[1] + rows))


def without_rows(source: Path, path: Path) -> None:
    """Write a measurement set like `source` that has no visibilities."""
    from casatools import table

    main = table()
    main.open(str(source))
    none = main.query("ROWNUMBER() < 0")
    none.copy(str(path), deep=True, valuecopy=True).close()
    none.close()
    main.close()


def read(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    return np.asarray(fits.getdata(path))
