from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.errors import DataError
from fringeflow_derived import convolved
from fringeflow_derived.beams import Beam, kelvin_per_jansky, kernel, reach
from fringeflow_derived.convolution import Convolver
from fringeflow_derived.convolved import ConvolveOptions
from fringeflow_derived.cubes import FitsCube
from tests.derived.derived_support import header, write

SOURCE = Beam(5.0, 4.0, 30.0)


def point_source(beam, size=121, cell=1.0):
    """A point source of unit flux seen with a beam; east is left."""
    y, x = (np.mgrid[0:size, 0:size] - size // 2) * cell
    angle = np.radians(beam.angle_deg)
    along, across = -x * np.sin(angle) + y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
    fwhm = np.sqrt(8 * np.log(2))
    return np.exp(-0.5 * ((along * fwhm / beam.major_arcsec) ** 2 + (across * fwhm / beam.minor_arcsec) ** 2))


def widths(image):
    """FWHM along x, y and both diagonals of a Gaussian, from second moments."""
    size = image.shape[0]
    y, x = np.mgrid[0:size, 0:size] - size // 2
    mean = [np.sum(image * arm**2) / np.sum(image) for arm in (x, y, (x + y) / np.sqrt(2), (x - y) / np.sqrt(2))]
    return np.sqrt(8 * np.log(2) * np.array(mean))


@pytest.mark.parametrize("angle", [0.0, 30.0, 75.0, -40.0])
def test_an_elliptical_beam_becomes_round_and_keeps_its_flux(angle):
    beam = Beam(5.0, 4.0, angle)
    image = point_source(beam)
    smooth, coverage = Convolver(image.shape, kernel(beam, 8.0, 1.0))(image)
    assert widths(smooth) == pytest.approx(np.full(4, 8.0), rel=0.005)
    assert smooth.sum() == pytest.approx(image.sum(), rel=1e-6)
    assert coverage[60, 60] == pytest.approx(1.0)


def test_east_on_the_right():
    image = point_source(SOURCE)[:, ::-1]
    smooth, _ = Convolver(image.shape, kernel(SOURCE, 8.0, 1.0, east_is_left=False))(image)
    assert widths(smooth) == pytest.approx(np.full(4, 8.0), rel=0.005)


@pytest.mark.parametrize("margin", [0, 1, 6])
def test_a_constant_stays_constant_up_to_the_edge(margin):
    """W9: the reference takes what lies beyond the array for zeros."""
    image = np.full((40, 50), 3.0)
    if margin:
        image[:margin] = image[-margin:] = image[:, :margin] = image[:, -margin:] = np.nan
    image[20, 20] = np.nan
    smooth, _ = Convolver(image.shape, kernel(SOURCE, 8.0, 1.0))(image)
    assert np.array_equal(np.isfinite(smooth), np.isfinite(image))
    assert np.nanmax(np.abs(smooth / 3 - 1)) < 1e-6


def test_coverage_of_a_straight_edge_is_a_half():
    image = np.full((60, 60), np.nan)
    image[:, 30:] = 1.0
    _, coverage = Convolver(image.shape, kernel(SOURCE, 8.0, 1.0))(image)
    assert (coverage[30, 29] + coverage[30, 30]) / 2 == pytest.approx(0.5, abs=1e-6)
    assert coverage[30, 0] == pytest.approx(0, abs=1e-6)
    assert coverage[30, 45] == pytest.approx(1, abs=1e-6)


def test_filled_blanks_are_zeros():
    image = np.full((40, 40), 1.0)
    image[:, 20:] = np.nan
    convolver = Convolver(image.shape, kernel(SOURCE, 8.0, 1.0))
    filled, coverage = convolver(image, "fill")
    assert filled[20, 5:20] == pytest.approx(coverage[20, 5:20])


def test_small_images_and_blank_ones():
    image = np.ones((3, 4))
    assert Convolver(image.shape, kernel(Beam(5.0, 5.0), 60.0, 1.0))(image)[0] == pytest.approx(image)
    blank = np.full((3, 4), np.nan)
    smooth, coverage = Convolver(blank.shape, kernel(SOURCE, 8.0, 1.0))(blank)
    assert np.isnan(smooth).all()
    assert not coverage.any()


@pytest.mark.parametrize(
    ("target", "way"), [(4.3, "unreachable"), (4.6, "copy"), (5.4, "copy"), (5.6, "convolve"), (5.5, "copy")]
)
def test_tolerance(target, way):
    assert reach(Beam(5.0, 4.0), target, 0.1) == way


def files(folder, data, cards, **options):
    names = [folder / name for name in ("out.fits", "coverage.fits", "coverage2d.fits")]
    facts = convolved.convolve(write(folder / "in.fits", data, cards), *names, **options)
    return facts, *(fits.open(name)[0] for name in names)


def test_a_cube_as_files(tmp_path):
    rng = np.random.default_rng(1)
    data = rng.normal(size=(4, 50, 60))
    data[:, :5] = np.nan
    data[2] = np.nan
    cards = header(beam=(5.0, 4.0, 30.0))
    facts, out, coverage, flat = files(tmp_path, data, cards, fwhm_arcsec=8.0, distance_mpc=10.0)
    assert facts["convolved"]
    assert facts["kernel_fwhm_arcsec"] == pytest.approx([np.sqrt(39), np.sqrt(48)])
    assert np.array_equal(np.isfinite(out.data), np.isfinite(data))
    assert out.header["BMAJ"] == pytest.approx(8 / 3600)
    assert out.header["BMIN"] == out.header["BMAJ"]
    assert out.header["BPA"] == 0
    assert out.header["DIST_MPC"] == 10.0
    assert out.header["JYTOK"] == pytest.approx(kelvin_per_jansky(230.0, Beam(8.0, 8.0)))
    assert coverage.header["BTYPE"] == flat.header["BTYPE"] == "Coverage"
    assert coverage.data.shape == data.shape
    assert flat.data == pytest.approx(coverage.data.mean(axis=0), abs=1e-6)
    assert flat.header["NAXIS"] == 2
    assert not list(tmp_path.glob("*.raw"))
    for name in ("out", "coverage", "coverage2d"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fits.open(tmp_path / f"{name}.fits", checksum=True).close()


def test_within_tolerance_the_beam_stays_what_it_is(tmp_path):
    """W18: the header tells the true beam, whatever the tag says."""
    data = np.random.default_rng(2).normal(size=(3, 30, 30)).astype(np.float32)
    cards = header(beam=(5.0, 4.0, 30.0))
    facts, out, coverage, _ = files(tmp_path, data, cards, fwhm_arcsec=5.4)
    assert not facts["convolved"]
    assert np.array_equal(out.data, data)
    assert out.header["BMAJ"] == pytest.approx(5 / 3600)
    assert out.header["BMIN"] == pytest.approx(4 / 3600)
    assert out.header["JYTOK"] == pytest.approx(cards["JYTOK"])
    assert np.array_equal(coverage.data, np.ones_like(data))
    exact, *_ = files(tmp_path, data, cards, fwhm_arcsec=5.4, options=ConvolveOptions(tol=0.0))
    assert exact["convolved"]


def test_a_beam_out_of_reach_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"4\.3 arcsec is finer"):
        files(tmp_path, np.zeros((2, 9, 9)), header(beam=(5.0, 4.0, 30.0)), fwhm_arcsec=4.3)


def test_jansky_per_beam_grow_with_the_beam(tmp_path):
    """W8: what is taken to K later goes by the new beam."""
    data = np.ones((2, 30, 30))
    _, out, *_ = files(tmp_path, data, header(beam=(5.0, 4.0, 30.0), unit="Jy/beam"), fwhm_arcsec=8.0)
    assert out.data == pytest.approx(64 / 20)


def test_an_image(tmp_path):
    facts, out, coverage, flat = files(tmp_path, np.ones((30, 30)), header(axis=""), fwhm_arcsec=8.0)
    assert facts["shape"] == [1, 30, 30]
    assert out.data.shape == coverage.data.shape == flat.data.shape == (30, 30)


def test_a_table_of_beams_becomes_one_round_beam(tmp_path):
    """W15: the reference turns such beams by a wrong angle."""
    beams = [Beam(5.0, 4.0, 30.0), Beam(6.0, 3.0, 80.0), Beam(4.0, 4.0, 0.0)]
    data = np.stack([point_source(beam, 81) for beam in beams]).astype(np.float32)
    cards = header()
    for name in ("BMAJ", "BMIN", "BPA"):
        del cards[name]
    columns = [
        fits.Column(name=name, format="E", unit=unit, array=[getattr(beam, attribute) for beam in beams])
        for name, unit, attribute in (
            ("BMAJ", "arcsec", "major_arcsec"),
            ("BMIN", "arcsec", "minor_arcsec"),
            ("BPA", "deg", "angle_deg"),
        )
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BEAMS")
    fits.HDUList([fits.PrimaryHDU(data, cards), table]).writeto(tmp_path / "in.fits")
    names = [tmp_path / name for name in ("a.fits", "b.fits", "c.fits")]
    convolved.convolve(tmp_path / "in.fits", *names, fwhm_arcsec=9.0)
    for plane in fits.getdata(names[0]):
        assert widths(plane) == pytest.approx(np.full(4, 9.0), rel=0.005)
    with FitsCube(names[0]) as cube:
        assert (cube.beam.major_arcsec, cube.beam.minor_arcsec) == pytest.approx((9.0, 9.0))
    with pytest.raises(DataError, match="finer"):
        convolved.convolve(tmp_path / "in.fits", *names, fwhm_arcsec=5.8)
