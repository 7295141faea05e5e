"""A release: its folders, checksums and tables, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table, validate

from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.graph.model import UnitId
from fringeflow.keys.model import Project
from fringeflow.manifest import Artefact, Manifest
from fringeflow.release import obscore
from fringeflow.release.assemble import assemble, compare
from fringeflow.store.objects import Store, StoreSettings, open_store
from tests import toy

NAMES = {
    "t_c_p_pbcorr_trimmed_k.fits": "postprocess",
    "t_c_p_trimmed_pb.fits": "postprocess",
    "t_c_p_5as_noise.fits": "derived",
    "t_c_p_strictmask.fits": "derived",
    "t_c_p_strict_mom0.fits": "derived",
    "t_c_p_5as_coverage2d.fits": "derived",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return open_store(StoreSettings(url=(tmp_path / "store").as_uri()))


def image(path: Path, **cards: object) -> Path:
    hdu = fits.PrimaryHDU(np.zeros((20, 30), np.float32))
    hdu.header.update(
        CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CRVAL1=0.001, CRVAL2=5.0, CRPIX1=15.5, CRPIX2=10.5, CDELT1=-1 / 3600,
        CDELT2=1 / 3600, CUNIT1="deg", CUNIT2="deg", BMAJ=4 / 3600, BMIN=1 / 3600, BPA=0.0, BUNIT="K km s-1",
        TELESCOP="VLA", RESTFRQ=1.420405752e9, **cards,
    )  # fmt: skip
    hdu.writeto(path)
    return path


def put(store: Store, folder: Path, name: str, source: Path | None = None) -> Manifest:
    data = (source or image(folder / name)).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    unit = UnitId(NAMES[name], "t", "c", "p", name.removesuffix(".fits"))
    store.put_bytes(f"artefacts/{name}", data)
    artefact = Artefact(name=name, kind="file", key=f"artefacts/{name}", size=len(data), sha256=digest)
    started = "2026-01-01T00:00:00+00:00"
    return Manifest(
        unit=unit, work_key="k", revision=1, recipe={"a": 1}, outputs=(artefact,), started=started, seconds=1.0
    )


@pytest.fixture
def manifests(store: Store, tmp_path: Path) -> list[Manifest]:
    return [put(store, tmp_path, name) for name in NAMES]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return toy.project(tmp_path, "t")


def test_a_release_holds_the_products_by_kind_and_its_checksums_hold(
    project: Project, manifests: list[Manifest], store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "dr1"
    released = assemble(project, manifests, ["derived/t/c/p/late"], store, folder, collection="survey")
    assert {item.path for item in released.items} == {
        "t/cubes/t_c_p_pbcorr_trimmed_k.fits",
        "t/pb/t_c_p_trimmed_pb.fits",
        "t/noise/t_c_p_5as_noise.fits",
        "t/masks/t_c_p_strictmask.fits",
        "t/maps/t_c_p_strict_mom0.fits",
        "t/coverage/t_c_p_5as_coverage2d.fits",
    }
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    listing = json.loads((folder / "manifest.json").read_text())
    assert listing["missing"] == ["derived/t/c/p/late"]
    assert listing["files"][0]["recipe"] == {"a": 1}
    assert "derived/t/c/p/late" in (folder / "README.txt").read_text()


def test_a_compressed_release_holds_the_same_values_and_cards_and_its_checksums_hold(
    project: Project, manifests: list[Manifest], store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "dr1"
    values = np.random.default_rng(3).normal(size=(4, 20, 30)).astype(np.float32)
    values[1, :5] = np.nan
    header = fits.getheader(tmp_path / "t_c_p_pbcorr_trimmed_k.fits")
    header.update(CTYPE3="VRAD", CUNIT3="m/s", CRVAL3=1e6, CRPIX3=1.0, CDELT3=-2500.0)
    fits.writeto(tmp_path / "cube.fits", values, header)
    mask = (values > 0).astype(np.uint8)
    fits.writeto(tmp_path / "mask.fits", mask, header)
    cubes = [
        put(store, tmp_path, name, tmp_path / source)
        for name, source in (("t_c_p_pbcorr_trimmed_k.fits", "cube.fits"), ("t_c_p_strictmask.fits", "mask.fits"))
    ]
    released = assemble(project, [*manifests[2:3], *cubes], [], store, folder, compress=True)
    assert {Path(item.path).suffixes[-2:] == [".fits", ".fz"] for item in released.items} == {True}
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    for path, truth in (("cubes/t_c_p_pbcorr_trimmed_k", values), ("masks/t_c_p_strictmask", mask)):
        with fits.open(folder / "t" / f"{path}.fits.fz", checksum=True) as file:
            np.testing.assert_array_equal(file[1].data, truth)
            assert file[1].data.dtype.kind == truth.dtype.kind
            assert {name: file[1].header[name] for name in ("BMAJ", "CRVAL3", "CTYPE3", "BUNIT")} == {
                name: header[name] for name in ("BMAJ", "CRVAL3", "CTYPE3", "BUNIT")
            }
    table = parse_single_table(folder / "obscore.xml").to_table()
    assert set(table["dataproduct_type"]) == {"cube", "image"}
    listing = json.loads((folder / "manifest.json").read_text())["files"]
    assert {row["uncompressed_sha256"] for row in listing} == {
        item.outputs[0].sha256 for item in (manifests[2], *cubes)
    }


def test_the_obscore_table_is_a_valid_votable_with_the_right_figures(
    project: Project, manifests: list[Manifest], store: Store, tmp_path: Path
) -> None:
    assemble(project, manifests, [], store, tmp_path / "dr1", collection="survey")
    path = tmp_path / "dr1" / "obscore.xml"
    report = tmp_path / "report"
    with report.open("w") as out:
        assert validate(path, output=out), report.read_text()
    rows = {row["access_url"]: row for row in parse_single_table(path).to_table()}
    assert len(rows) == len(NAMES)
    row = rows["t/maps/t_c_p_strict_mom0.fits"]
    assert row["dataproduct_type"] == "image"
    assert row["calib_level"] == 3
    assert row["s_resolution"] == pytest.approx(2.0)
    assert row["s_pixel_scale"] == pytest.approx(1.0)
    assert row["s_dec"] == pytest.approx(5.0)
    assert row["s_ra"] == pytest.approx(0.001, abs=1e-6)
    assert (row["s_xel1"], row["s_xel2"]) == (30, 20)
    assert row["em_min"] == pytest.approx(0.21106114, rel=1e-6)
    assert row["facility_name"] == "VLA"
    ras = [float(word) for word in row["s_region"].split()[2::2]]
    assert min(ras) < 1 < 359 < max(ras)  # the field lies across 0 h


@pytest.mark.parametrize(
    ("cards", "low", "high"),
    [
        ({"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 1e9, "CDELT3": 1e6}, 0.9995e9, 1.0035e9),
        ({"CTYPE3": "VRAD", "CUNIT3": "m/s", "CRVAL3": 1e5, "CDELT3": -1e4, "RESTFRQ": 1.42e9}, None, None),
    ],
)
def test_wavelengths_of_a_cube(tmp_path: Path, cards: dict[str, object], low: float | None, high: float | None) -> None:
    hdu = fits.PrimaryHDU(np.zeros((4, 5, 6), np.float32))
    hdu.header.update(CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CDELT1=-1e-3, CDELT2=1e-3, CRPIX3=1.0, **cards)
    hdu.writeto(tmp_path / "cube.fits")
    row = obscore.row(tmp_path / "cube.fits", collection="c", obs_id="i", url="u", target="t", subtype="cube", level=2)
    if low is None:  # radio velocities from 105 down to 65 km/s
        low, high = (1.42e9 * (1 - v / 299792.458) for v in (105.0, 65.0))
    assert row["em_min"] == pytest.approx(299792458.0 / high)
    assert row["em_max"] == pytest.approx(299792458.0 / low)
    assert (row["dataproduct_type"], row["em_xel"]) == ("cube", 4)


def test_a_release_is_never_changed_and_never_half_there(
    project: Project, manifests: list[Manifest], store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "dr1"
    assemble(project, manifests, [], store, folder)
    with pytest.raises(DataError, match="never changed"):
        assemble(project, manifests, [], store, folder)
    path = store.local_path(manifests[-1].outputs[0].key)
    assert path is not None
    path.unlink()
    path.write_bytes(b"something else")
    with pytest.raises(CorruptInputError, match="--force"):
        assemble(project, manifests, [], store, tmp_path / "dr2")
    assert not list(tmp_path.glob("*dr2*"))
    with pytest.raises(MissingInputError, match="nothing is made"):
        assemble(project, [], [], store, tmp_path / "dr3")


def test_a_release_is_compared_with_the_one_before(
    project: Project, manifests: list[Manifest], store: Store, tmp_path: Path
) -> None:
    assemble(project, manifests[1:], [], store, tmp_path / "dr1")
    assemble(project, manifests[:-1], [], store, tmp_path / "dr2")
    assert dict(compare(tmp_path / "dr2", tmp_path / "dr1")) == {
        "t/cubes/t_c_p_pbcorr_trimmed_k.fits": "new",
        "t/coverage/t_c_p_5as_coverage2d.fits": "gone",
    }
