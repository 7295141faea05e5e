"""The numbers on the page against the disc they were made of."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.errors import CorruptInputError, NothingSelectedError
from fringeflow_derived.page import CubeEntry, measure, read
from fringeflow_derived.page.entries import Shelf
from fringeflow_derived.page.figures import maps
from fringeflow_derived.page.view import LineView


@pytest.fixture(scope="module")
def view(disc_products: Path, line_entry: CubeEntry) -> LineView:
    return LineView(Shelf(disc_products, line_entry))


def test_the_flux_in_a_mask_that_holds_all_is_the_truth(view: LineView, disc: ModuleType) -> None:
    flux, error = view.spectra["broad mask"].total_jykms
    assert flux == pytest.approx(disc.TOTAL_JYKMS, rel=1e-5)
    assert 0 < error < 0.1 * flux


def test_the_flux_uncertainty_counts_beams(disc: ModuleType, disc_products: Path, view: LineView) -> None:
    spectrum = view.spectra["strict mask"]
    beams = spectrum.pixels / disc.PIXELS_PER_BEAM
    expected = disc.SIGMA_K / disc.JY_TO_K * np.sqrt(beams)
    np.testing.assert_allclose(spectrum.sigma_jy, expected, rtol=1e-5)


def test_the_flux_does_not_depend_on_the_beam_of_the_cube(view: LineView, disc: ModuleType, disc_page: Path) -> None:
    text = disc_page.read_text(encoding="utf-8")
    for name in ("native", disc.TAG):
        row = re.search(rf"<tr><td>{name}</td>(.*?)</tr>", text).group(1)
        assert "<td>25 ± " in row


def test_the_mass_on_the_page(disc_page: Path, disc: ModuleType) -> None:
    expected = 2.356e5 * disc.DISTANCE_MPC**2 * disc.TOTAL_JYKMS
    found = re.search(r"Flux, broad mask</th><td>.*?HI mass ([\d.]+) \S 10⁸", disc_page.read_text(encoding="utf-8"))
    assert float(found.group(1)) * 1e8 == pytest.approx(expected, rel=5e-3)


def test_position_angle_and_velocity(view: LineView, disc: ModuleType) -> None:
    assert view.gradient.pa_deg == pytest.approx(disc.PA_DEG, abs=1.0)
    assert view.gradient.vsys_kms == pytest.approx(disc.VSYS_KMS, abs=0.5)
    assert view.gradient.slope_kms_arcsec == pytest.approx(0.5, rel=0.05)
    assert view.vsys_kms == pytest.approx(disc.VSYS_KMS, abs=0.5)


def test_the_cut_follows_the_rotation(view: LineView) -> None:
    line = measure.shifted(view.gradient, view.window)
    cut = measure.position_velocity(view.cube, line, half_length_arcsec=50, width_arcsec=0)
    brightest = cut.velocity_kms[np.argmax(cut.brightness_k, axis=0)]
    np.testing.assert_allclose(brightest, line.vsys_kms + 0.5 * cut.offset_arcsec, atol=6)


def test_a_field_without_velocities_has_no_angle(disc: ModuleType) -> None:
    blank = np.full((5, 5), np.nan)
    with pytest.raises(NothingSelectedError, match="no position angle"):
        measure.fit_gradient(blank, np.ones((5, 5)), disc.header(2, "km s-1"))


def test_noise_of_the_channels(view: LineView, disc: ModuleType) -> None:
    np.testing.assert_allclose(view.channel_noise_k(), disc.SIGMA_K, rtol=1e-5)
    values = np.random.default_rng(5).normal(7.0, 2.0, 100_000)
    assert measure.robust_sigma(values) == pytest.approx(2.0, rel=0.02)


def test_kelvin_to_jansky_without_the_card(disc: ModuleType) -> None:
    header = disc.header(3, "K")
    del header["JYTOK"]
    beam = read.beam_of(header)
    ghz = header["RESTFRQ"] / 1e9
    handbook = 1.222e6 / (ghz**2 * beam.major_arcsec * beam.minor_arcsec)
    assert measure.kelvin_arcsec2_per_jy(header) / beam.area_arcsec2 == pytest.approx(handbook, rel=1e-3)
    del header["RESTFRQ"]
    with pytest.raises(NothingSelectedError, match="RESTFRQ"):
        measure.kelvin_arcsec2_per_jy(header)


def test_a_radial_profile_of_a_gaussian() -> None:
    y, x = np.indices((81, 81)) - 40
    image = np.exp(-(x**2 + y**2) / (2 * 9.0**2))
    radius, mean = measure.radial_profile(image, (40, 40), 2.0, 60.0)
    np.testing.assert_allclose(mean, np.exp(-((radius / 2) ** 2) / (2 * 9.0**2)), atol=0.01)


def test_a_frequency_axis_becomes_velocity(disc: ModuleType) -> None:
    header = disc.header(3, "K")
    header["NAXIS3"] = 4
    rest = header["RESTFRQ"]
    header["CTYPE3"], header["CUNIT3"] = "FREQ", "Hz"
    header["CRVAL3"], header["CDELT3"] = rest * (1 - 1500 / 299792.458), -rest * 10 / 299792.458
    np.testing.assert_allclose(read.velocities_kms(header), [1500, 1510, 1520, 1530], atol=1e-6)
    assert read.channel_kms(header) == pytest.approx(10)


def test_cubes_of_other_shapes_are_refused(disc_products: Path, view: LineView, tmp_path: Path) -> None:
    with read.open_cube(view.cube) as cube:
        short = tmp_path / "short.fits"
        read.fits.writeto(short, np.zeros((3, 40, 40), dtype=np.float32))
        with pytest.raises(CorruptInputError, match=r"short\.fits has shape"), read.open_cube(short, like=cube):
            pass


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_the_window_holds_the_emission_and_stays_inside(height: int, width: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)), min_size=1))
    where = np.zeros((height, width), dtype=bool)
    for place in places:
        where[place] = True
    window = read.window_around(where)
    assert where[window.slices].sum() == where.sum()
    assert 0 <= window.y0 < window.y1 <= height
    assert 0 <= window.x0 < window.x1 <= width


@given(st.floats(1, 1e5), st.one_of(st.none(), st.floats(0.01, 300)))
def test_the_scale_bar_is_round_and_fits(field_arcsec: float, distance_mpc: float | None) -> None:
    length, text = maps.scale_bar(field_arcsec, 0.5, distance_mpc)
    assert 0.1 < length * 0.5 / field_arcsec < 0.3
    number = float(re.match(r"[\d.e+-]+", text).group())
    assert round(number / 10 ** math.floor(math.log10(number) + 1e-9), 6) in {1.0, 2.0, 5.0}


def test_limits_are_never_empty() -> None:
    for data in (np.full((3, 3), np.nan), np.zeros((3, 3)), np.full((3, 3), -4.0)):
        low, high = maps.stretch(data)
        assert low < high


def test_north_is_up_and_east_left_whatever_the_pixels_say(disc: ModuleType) -> None:
    for sign in (-1, 1):
        header = disc.header(2, "K")
        header["CDELT1"] = sign * abs(header["CDELT1"])
        header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, 40, 40
        frame = maps.Frame(WCS(header), 10.0, read.beam_of(header))
        _, (axes,) = maps.grid(frame, 1, 1, side_in=2.0)
        maps.draw(axes, maps.Panel(np.ones((40, 40)), "", "viridis", (0.0, 1.0)), frame)
        west, east = frame.wcs.pixel_to_world([axes.get_xlim()[1], axes.get_xlim()[0]], [20, 20]).ra.deg
        assert east > west
