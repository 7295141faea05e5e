from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.errors import CorruptInputError, DataError
from fringeflow_derived import maps, masks, products, signalfree
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.kinds import KINDS
from fringeflow_derived.maps import Request
from fringeflow_derived.masks import StrictOptions
from fringeflow_derived.products import BroadOptions
from tests.derived.derived_support import beam_noise, galaxy, header, write

SHAPE = (20, 48, 40)
V_KMS = 100 + 2.5 * np.arange(SHAPE[0])


def observed(seed=1):
    data = beam_noise(np.random.default_rng(seed), SHAPE, 5.0) * 0.1 + galaxy(SHAPE, V_KMS, peak=2.0)
    data[:, :4] = np.nan
    data[7] = np.nan
    return data.astype(np.float32)


@pytest.fixture
def cube(tmp_path):
    return write(tmp_path / "cube.fits", observed(), header())


@pytest.fixture
def noise(cube, tmp_path):
    products.noise(cube, tmp_path / "noise.fits", tmp_path)
    return tmp_path / "noise.fits"


@pytest.fixture
def strict(cube, noise, tmp_path):
    products.strict_mask(cube, noise, tmp_path / "strict.fits", tmp_path)
    return tmp_path / "strict.fits"


def request_all(folder, options=None):
    return [
        Request(name, "m", folder / f"{name}.fits", folder / f"e{name}.fits", (options or {}).get(name, {}))
        for name in KINDS
    ]


def test_files_hold_what_the_array_functions_give(cube, noise, strict, tmp_path):
    with FitsCube(cube) as source:
        measured = signalfree.measure(observed(), source.pixels_per_beam)
        mask = masks.strict_mask(observed(), measured.model)
    assert np.array_equal(fits.getdata(noise), measured.model.rows(0, SHAPE[1]), equal_nan=True)
    assert np.array_equal(fits.getdata(strict) > 0, mask)
    assert fits.getheader(strict)["BITPIX"] == 8
    assert fits.getheader(strict)["BTYPE"] == "Mask"
    assert fits.getheader(strict)["BUNIT"].strip() == ""
    assert fits.getheader(noise)["BUNIT"] == "K"
    assert not list(tmp_path.glob(".mask*"))


def test_noise_is_there_wherever_the_cube_is(cube, noise):
    """W10: the reference has none in a ring of one pixel and beside blank channels."""
    assert np.isfinite(fits.getdata(noise))[np.isfinite(fits.getdata(cube))].all()


def test_maps_and_their_headers(cube, noise, strict, tmp_path):
    facts = maps.write(cube, noise, {"m": strict}, request_all(tmp_path))
    mom0, mom1 = fits.open(tmp_path / "mom0.fits")[0], fits.open(tmp_path / "mom1.fits")[0]
    assert mom0.data.shape == SHAPE[1:]
    assert [fits.getheader(tmp_path / f"{name}.fits")["BUNIT"] for name in KINDS] == [
        kind.bunit for kind in KINDS.values()
    ]
    assert fits.getheader(tmp_path / "emom1.fits")["BTYPE"] == "Moment1 Error"
    assert mom1.header["CHANWDTH"] == 2500
    assert "collapsing cube over VRAD" in str(mom1.header["COMMENT"])
    assert mom1.header["DATAMAX"] == pytest.approx(float(np.nanmax(mom1.data)))
    assert mom0.header["OBJECT"] == "TEST"
    assert "CTYPE3" not in mom0.header
    good = np.isfinite(mom1.data)
    x = np.arange(SHAPE[2]) - SHAPE[2] // 2
    truth = np.mean(V_KMS) + x + np.zeros(SHAPE[1:])
    pulls = (mom1.data - truth)[good] / fits.getdata(tmp_path / "emom1.fits")[good]
    assert abs(np.median(pulls)) < 1
    assert facts[1]["pixels"] == good.sum()
    assert np.isfinite(fits.getdata(tmp_path / "emom0.fits"))[np.isfinite(mom0.data)].all()


@pytest.mark.parametrize("case", ["descending", "frequency", "kms"])
def test_the_way_an_axis_is_written_does_not_matter(case, tmp_path):
    data, cards = observed(), header()
    changed = {
        "descending": (data[::-1], header(v0_kms=V_KMS[-1], dv_kms=-2.5)),
        "frequency": (data, header(axis="FREQ")),
        "kms": (data, header()),
    }[case]
    if case == "kms":
        changed[1].update({"CRVAL3": V_KMS[0], "CDELT3": 2.5, "CUNIT3": "km/s"})
    found = []
    for name, (values, head) in {"plain": (data, cards), "other": changed}.items():
        folder = tmp_path / name
        folder.mkdir()
        cube = write(folder / "cube.fits", values, head)
        noise = write(folder / "noise.fits", np.full(SHAPE, 0.1), head)
        products.strict_mask(cube, noise, folder / "strict.fits", folder)
        maps.write(cube, noise, {"m": folder / "strict.fits"}, request_all(folder))
        found.append([fits.getdata(folder / f"{e}{kind}.fits") for kind in KINDS for e in ("", "e")])
    for first, second in zip(*found, strict=True):
        assert second == pytest.approx(first, rel=1e-4, abs=1e-4, nan_ok=True)


def test_jansky_per_beam_are_taken_to_kelvin(cube, noise, strict, tmp_path):
    maps.write(cube, noise, {"m": strict}, request_all(tmp_path))
    before = fits.getdata(tmp_path / "mom0.fits")
    factor = header()["JYTOK"]
    for path in (cube, noise):
        write(path, fits.getdata(path) / factor, header(unit="Jy/beam"))
    maps.write(cube, noise, {"m": strict}, request_all(tmp_path))
    assert fits.getdata(tmp_path / "mom0.fits") == pytest.approx(before, rel=1e-5, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("channels", [1, 2, 4, 10, 15, 16])
def test_few_channels(channels, tmp_path):
    """W7: the reference aborts for 15 channels or fewer."""
    data = beam_noise(np.random.default_rng(channels), (channels, 40, 40), 5.0)
    data[:, 10:20, 10:20] += 20
    cube = write(tmp_path / "cube.fits", data, header())
    products.noise(cube, tmp_path / "noise.fits", tmp_path)
    facts = products.strict_mask(cube, tmp_path / "noise.fits", tmp_path / "strict.fits", tmp_path)
    assert (facts["voxels"] >= 100 * channels) == (channels > 1)
    maps.write(cube, tmp_path / "noise.fits", {"m": tmp_path / "strict.fits"}, request_all(tmp_path))
    values = fits.getdata(tmp_path / "mom0.fits")
    assert np.isfinite(values).all()
    assert (values[15, 15] > 0) == (channels > 1)


def test_a_blank_cube_and_an_empty_mask(tmp_path):
    cube = write(tmp_path / "cube.fits", np.full(SHAPE, np.nan), header())
    products.noise(cube, tmp_path / "noise.fits", tmp_path)
    assert products.strict_mask(cube, tmp_path / "noise.fits", tmp_path / "strict.fits", tmp_path)["voxels"] == 0
    facts = maps.write(cube, tmp_path / "noise.fits", {"m": tmp_path / "strict.fits"}, request_all(tmp_path))
    assert all(fact["pixels"] == 0 for fact in facts)
    assert "DATAMAX" not in fits.getheader(tmp_path / "mom1.fits")


@pytest.mark.parametrize("card", ["BUNIT", "BMAJ", "CDELT3", "CRVAL3"])
def test_a_missing_card_is_named(card, strict, noise, tmp_path):
    cards = header()
    del cards[card]
    cube = write(tmp_path / "bad.fits", observed(), cards)
    if card in ("BUNIT", "BMAJ"):
        with pytest.raises(DataError, match=rf"bad\.fits.*{card}"):
            products.noise(cube, tmp_path / "out.fits", tmp_path)
    if card != "BMAJ":
        with pytest.raises(DataError, match=rf"bad\.fits.*{card}"):
            maps.write(cube, noise, {"m": strict}, request_all(tmp_path))


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_cut_file_is_told(cube, tmp_path):
    cut = tmp_path / "cut.fits"
    cut.write_bytes(cube.read_bytes()[:100_000])
    with pytest.raises(CorruptInputError, match=r"cut\.fits"):
        products.noise(cut, tmp_path / "out.fits", tmp_path)


def on_other_grid(folder, mask, *, factor=2):
    """The same sky and velocities in pixels twice as large and channels twice as wide."""
    coarse = mask.reshape(10, 2, 24, factor, 20, factor).max(axis=(1, 3, 5)).astype(np.uint8)
    cards = header(cell_arcsec=factor, dv_kms=5.0, v0_kms=101.25, crpix=(10.25, 10.25))
    return write(folder / "coarse.fits", coarse, cards)


def test_masks_on_another_grid_are_looked_up(tmp_path):
    """W22: the reference takes any mask for one on the grid of the cube."""
    rng = np.random.default_rng(2)
    mask = (rng.random((10, 24, 20)) > 0.8).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    other = on_other_grid(tmp_path, mask)
    empty = write(tmp_path / "template.fits", np.zeros(SHAPE, np.uint8), header())
    facts = products.broad_mask(empty, [other, empty, other], tmp_path / "broad.fits")
    assert facts["masks"] == 2
    assert np.array_equal(fits.getdata(tmp_path / "broad.fits") > 0, mask)


def test_some_scales_of_ten_masks_on_two_grids(tmp_path):
    """W6: voxels in at least three of ten masks, as the specification asks."""
    rng = np.random.default_rng(3)
    cubes = [(rng.random((10, 24, 20)) > 0.7).repeat(2, 0).repeat(2, 1).repeat(2, 2) for _ in range(10)]
    paths = []
    for number, mask in enumerate(cubes):
        if number < 5:
            paths.append(write(tmp_path / f"{number}.fits", mask.astype(np.uint8), header()))
        else:
            paths.append(on_other_grid(tmp_path, mask).rename(tmp_path / f"{number}.fits"))
    out = tmp_path / "broad.fits"
    products.broad_mask(paths[0], paths, out, options=BroadOptions(recipe="somescales"))
    assert np.array_equal(fits.getdata(out) > 0, np.sum(cubes, axis=0) >= 3)
    products.broad_mask(paths[0], paths, out, options=BroadOptions(grow_xy=1, grow_v=1))
    assert ((fits.getdata(out) > 0) >= np.any(cubes, axis=0)).all()
    with pytest.raises(DataError, match="no recipe"):
        products.broad_mask(paths[0], paths, out, options=BroadOptions(recipe="all"))


def test_a_mask_beyond_the_band_is_false(tmp_path):
    far = write(tmp_path / "far.fits", np.ones(SHAPE, np.uint8), header(v0_kms=130.0))
    template = write(tmp_path / "t.fits", np.zeros(SHAPE, np.uint8), header())
    products.broad_mask(template, [far], tmp_path / "broad.fits")
    found = fits.getdata(tmp_path / "broad.fits").any(axis=(1, 2))
    assert found.tolist() == [False] * 12 + [True] * 8


def test_strict_options_reach_the_file(cube, noise, tmp_path):
    """W19: no option of the keys is without effect."""
    counts = [
        products.strict_mask(cube, noise, tmp_path / "m.fits", tmp_path, options=StrictOptions(**options))["voxels"]
        for options in ({"hi_thresh": 1e3}, {"lo_thresh": 8.0}, {}, {"grow_v": 1}, {"grow_v": 1, "grow_xy": 2})
    ]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert len(set(counts)) == 5


def test_coverage_is_heeded(cube, noise, tmp_path):
    coverage = write(tmp_path / "coverage.fits", np.full(SHAPE, 0.9), header())
    assert products.strict_mask(cube, noise, tmp_path / "m.fits", tmp_path, coverage=coverage)["voxels"] == 0


def test_the_same_input_gives_the_same_bytes(cube, noise, strict, tmp_path):
    first = {}
    for _ in range(2):
        products.noise(cube, noise, tmp_path)
        products.strict_mask(cube, noise, strict, tmp_path)
        maps.write(cube, noise, {"m": strict}, request_all(tmp_path))
        now = {path.name: path.read_bytes() for path in tmp_path.glob("*.fits")}
        assert not first or now == first
        first = now
