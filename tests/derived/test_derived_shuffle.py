"""Shuffled cubes (derived specification, section 12; test 7 of section 17)."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from fringeflow.errors import DataError
from fringeflow_derived import shuffle, shuffled
from fringeflow_derived.correlation import variance
from fringeflow_derived.shuffle import ShuffleOptions
from tests.derived.derived_support import header, write


def axis(count, step=2.5, start=100.0):
    return start + step * np.arange(count)


def rotating(v, field, sigma=5.0):
    return np.exp(-0.5 * ((v[:, None, None] - field) / sigma) ** 2)


def gradient(v, height=10, width=12):
    x = np.arange(width) - width / 2
    return np.mean(v) + 1.7 * x * np.ones((height, 1)) + 0.3 * np.arange(height)[:, None]


@pytest.mark.parametrize("count", [40, 41])
@pytest.mark.parametrize("step", [2.5, -2.5])
@pytest.mark.parametrize("kernel", shuffle.KERNELS)
def test_spectra_peak_in_the_middle_channel(count, step, kernel):
    v = axis(count, step, 100 if step > 0 else 200)
    field = gradient(v)
    moved = shuffle.shift(rotating(v, field), shuffle.offsets(v, field), kernel)
    assert (np.nanargmax(moved, axis=0) == count // 2).all()
    assert np.nanmax(moved, axis=0) == pytest.approx(1, abs=0.05 if kernel == "linear" else 2e-3)


@pytest.mark.parametrize("count", [60, 61])
@pytest.mark.parametrize("step", [2.5, -2.5])
def test_there_and_back(count, step):
    v = axis(count, step)
    field = gradient(v)
    cube = rotating(v, field)
    channels = shuffle.offsets(v, field)
    back = shuffle.shift(shuffle.shift(cube, channels), -channels)
    inside = np.isfinite(back)
    assert inside[20:40].all()
    assert back[inside] == pytest.approx(cube[inside], abs=1e-6)


def test_velocities_off_the_axis_are_blank_not_clamped():
    """W12: the reference takes the end of the axis for them."""
    v = axis(20)
    field = np.array([[v[0] - 1.3, v[0] - 1.2, v[-1] + 1.2, v[-1] + 1.3, np.nan, v[0]]])
    channels = shuffle.offsets(v, field)
    assert np.isfinite(channels[0]).tolist() == [False, True, True, False, False, True]
    assert channels[0, 1] == pytest.approx(-10.48)
    assert channels[0, 5] == -10
    assert np.isnan(shuffle.shift(np.ones((20, 1, 6)), channels)[:, 0, [0, 3, 4]]).all()


def test_what_comes_round_the_end_is_blank():
    cube = np.zeros((9, 1, 3))
    cube[0] = 1.0
    moved = shuffle.shift(cube, np.array([[2.0, -2.0, 0.0]]))
    assert np.isnan(moved[:, 0]).sum(axis=0).tolist() == [2, 2, 0]
    assert np.isnan(moved[7:, 0, 0]).all()
    assert moved[2, 0, 1] == pytest.approx(1)
    assert moved[:, 0, 2] == pytest.approx(cube[:, 0, 2])


@pytest.mark.parametrize("kernel", shuffle.KERNELS)
def test_blanks_move_along(kernel):
    cube = np.ones((30, 1, 4))
    cube[10:13] = np.nan
    moved = shuffle.shift(cube, np.array([[3.0, 3.4, 3.6, -5.0]]), kernel)
    blank = [np.flatnonzero(np.isnan(moved[5:20, 0, column])) + 5 for column in range(4)]
    assert [list(found) for found in blank] == [[7, 8, 9], [7, 8, 9], [6, 7, 8], [15, 16, 17]]


@given(st.integers(1, 12), st.integers(-15, 15))
@settings(max_examples=40, deadline=None)
def test_the_nearest_channel_changes_no_value(count, move):
    values = np.random.default_rng(count).normal(size=(count, 1, 1))
    moved = shuffle.shift_nearest(values, np.full((1, 1), float(move)))
    expected = [values[k + move, 0, 0] if 0 <= k + move < count else np.nan for k in range(count)]
    assert moved[:, 0, 0] == pytest.approx(expected, nan_ok=True)
    assert not shuffle.shift_nearest(values > 9, np.full((1, 1), np.nan)).any()


def test_sharp_edges_ring_only_with_fourier():
    """W12: a kernel without ringing can be had."""
    cube = np.zeros((40, 1, 1))
    cube[15:25] = 1.0
    channels = np.full((1, 1), 0.5)
    least = {kernel: np.nanmin(shuffle.shift(cube, channels, kernel)) for kernel in shuffle.KERNELS}
    assert least["linear"] >= 0
    assert least["fourier"] < least["sinc"] < 0


@pytest.mark.parametrize("kernel", ["linear", "sinc"])
def test_noise_and_correlation_after_interpolation(kernel):
    """Measured on noise that has been moved by all fractions of a channel."""
    rng = np.random.default_rng(8)
    before = np.convolve([0.25, 0.5, 0.25], [1])
    white = rng.normal(size=(202, 6000))
    noise = sum(w * white[i : i + 200] for i, w in enumerate(before)) / np.sqrt((before**2).sum())
    rho = (1.0, 2 / 3, 1 / 6)
    channels = rng.uniform(-1, 1, 6000)
    moved = shuffle.shift(noise, channels, kernel)[12:-12]
    factor = shuffle.noise_factor(channels, rho, kernel)
    assert np.std(moved / factor, axis=0) == pytest.approx(np.ones(6000), rel=0.5)
    assert np.std(moved / factor) == pytest.approx(1, rel=0.01)
    scaled = moved / factor
    after = shuffle.correlation_after(rho, kernel)
    for lag in range(1, len(after)):
        assert np.mean(scaled[lag:] * scaled[:-lag]) == pytest.approx(after[lag], abs=0.02)
    assert variance(np.ones((20, 1)), after) > 0


def test_fourier_leaves_noise_as_it_is():
    assert (shuffle.noise_factor(np.array([0.3, np.nan]), (1.0, 0.5)) == 1).all()
    assert shuffle.correlation_after((1.0, 0.5)) == (1.0, 0.5)


@pytest.fixture
def files(tmp_path):
    """A cube in K with velocity, noise, a mask and a velocity field in m/s on a finer grid."""
    v = axis(24)
    field = gradient(v, 20, 22)
    cube = rotating(v, field) + 0.01 * np.random.default_rng(3).normal(size=(24, 20, 22))
    write(tmp_path / "cube.fits", cube)
    noise = header()
    noise.update({"RHO1": 0.5})
    write(tmp_path / "noise.fits", np.full(cube.shape, 0.01), noise)
    mask = header(unit=" ")
    write(tmp_path / "mask.fits", (cube > 0.5).astype(np.uint8), mask)
    write(tmp_path / "field.fits", field, header(unit="km s-1", axis=""))
    return tmp_path


def run(folder, name, kernel="fourier", rows=None):
    out = [folder / f"{name}{end}.fits" for end in ("", "_noise", "_mask")]
    facts = shuffled.write(
        folder / "cube.fits",
        folder / "field.fits",
        out[0],
        folder,
        noise=(folder / "noise.fits", out[1]),
        masks={folder / "mask.fits": out[2]},
        options=ShuffleOptions(kernel),
        rows=rows,
    )
    return facts, out


def test_files_keep_unit_and_axis(files):
    """W12: the reference loses BUNIT, and shuffles neither noise nor masks."""
    facts, (cube, noise, mask) = run(files, "out")
    assert facts["pixels"] == 20 * 22
    for path, unit in ((cube, "K"), (noise, "K"), (mask, "")):
        cards = fits.getheader(path)
        assert (cards["BUNIT"].strip(), cards["CRVAL3"], cards["CRPIX3"], cards["CDELT3"]) == (unit, 0.0, 13.0, 2500.0)
    assert (np.nanargmax(fits.getdata(cube), axis=0) == 12).all()
    assert fits.getdata(mask)[12].all()
    assert fits.getheader(noise)["RHO1"] == 0.5
    assert fits.getheader(mask)["BTYPE"] == "Mask"
    assert set(np.unique(fits.getdata(noise)[np.isfinite(fits.getdata(noise))])) == {np.float32(0.01)}
    assert not list(files.glob(".*.raw"))


@pytest.mark.parametrize("kernel", shuffle.KERNELS)
def test_blocks_of_rows_do_not_matter(files, kernel):
    for a, b in zip(run(files, "a", kernel, 3)[1], run(files, "b", kernel, 20)[1], strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_a_linear_kernel_tells_what_it_does_to_the_noise(files):
    facts, (_, noise, _) = run(files, "out", "linear")
    assert facts["rho"][1] > 0.6
    assert fits.getheader(noise)["RHO1"] == pytest.approx(facts["rho"][1])
    assert np.nanmin(fits.getdata(noise)) < 0.0099


def test_a_frequency_axis_becomes_one_of_velocity(files):
    data = fits.getdata(files / "cube.fits")
    for name in ("cube", "noise"):
        write(files / f"{name}.fits", data, header(axis="FREQ"))
    write(files / "mask.fits", (data > 0.5).astype(np.uint8), header(axis="FREQ", unit=" "))
    _, (cube, _, _) = run(files, "out")
    cards = fits.getheader(cube)
    assert (cards["CTYPE3"], cards["CUNIT3"], cards["CRVAL3"]) == ("VRAD", "m/s", 0.0)
    assert cards["CDELT3"] == pytest.approx(2500)
    assert (np.nanargmax(fits.getdata(cube), axis=0) == 12).all()


def test_a_kernel_that_does_not_exist(files):
    with pytest.raises(DataError, match="no kernel is called 'cubic'"):
        run(files, "out", "cubic")
