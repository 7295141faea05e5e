"""Spectral smoothing and thinner grids of convolved cubes (derived specification, section 5.10, W14 and C5)."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from fringeflow_derived import convolved, thinning
from fringeflow_derived.convolved import ConvolveOptions
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.peaks import box_weights
from tests.derived.derived_support import beam_noise, galaxy, header, write

V = 100 + 2.5 * np.arange(12)


def make(folder, name, data, options=None, cores=1, cards=None, fwhm=12.0):
    write(folder / "native.fits", data, cards)
    out = [folder / f"{name}{end}.fits" for end in ("", "_coverage", "_coverage2d")]
    facts = convolved.convolve(folder / "native.fits", *out, fwhm_arcsec=fwhm, options=options, cores=cores)
    return facts, [fits.getdata(path) for path in out]


def test_smoothing_is_a_box_in_velocity(tmp_path):
    """W14: the reference's cannot run."""
    rng = np.random.default_rng(2)
    data = beam_noise(rng, (12, 30, 32), 5.0)
    data[4, 10:20] = np.nan
    _, (plain, _, _) = make(tmp_path, "plain", data)
    facts, (smooth, _, _) = make(tmp_path, "smooth", data, ConvolveOptions(spec_smooth=7.5))
    assert facts["spec_smooth_kms"] == 7.5
    assert np.array_equal(np.isfinite(smooth), np.isfinite(plain))
    window = plain[5:8, 5, 5].astype(float)
    assert smooth[6, 5, 5] == pytest.approx(window.mean(), rel=1e-5)
    assert smooth[0, 5, 5] == pytest.approx(plain[:2, 5, 5].mean(), rel=1e-5)
    assert smooth[3, 15, 15] == pytest.approx(plain[2:4, 15, 15].mean(), rel=1e-5)


def test_a_box_narrower_than_a_channel_does_nothing(tmp_path):
    data = galaxy((12, 30, 32), V)
    facts, (smooth, _, _) = make(tmp_path, "smooth", data, ConvolveOptions(spec_smooth=2.0))
    _, (plain, _, _) = make(tmp_path, "plain", data)
    assert facts["spec_smooth_kms"] is None
    assert np.array_equal(smooth, plain)


def test_planes_are_smoothed_while_they_pass():
    planes = [np.full((1, 1), float(k)) for k in range(6)]
    assert [float(plane[0, 0]) for plane in thinning.smoothed(planes, np.ones(1))] == [0, 1, 2, 3, 4, 5]
    assert [float(plane[0, 0]) for plane in thinning.smoothed(planes, box_weights(3))] == [0.5, 1, 2, 3, 4, 4.5]
    one = thinning.smoothed(planes[:1], box_weights(5))
    assert [float(plane[0, 0]) for plane in one] == [0]


@pytest.mark.parametrize(("beam", "wanted", "step"), [(12.0, None, 1), (12.0, 3.0, 4), (12.0, 5.0, 2), (2.0, 3.0, 1)])
def test_as_many_pixels_as_the_beam_needs(beam, wanted, step):
    assert thinning.stride(beam, wanted) == step


@pytest.mark.parametrize(("height", "width"), [(30, 32), (31, 29)])
def test_a_thinner_grid_has_the_same_values_at_the_same_places(tmp_path, height, width):
    """C5: a resolution need not be stored on the native pixels."""
    data = galaxy((12, height, width), V)
    _, plain = make(tmp_path, "plain", data)
    facts, thin = make(tmp_path, "thin", data, ConvolveOptions(pixels_per_beam=3.0))
    assert facts["every_nth_pixel"] == 4
    assert list(thin[0].shape) == facts["shape"]
    assert thin[2].shape == thin[0].shape[1:]
    with FitsCube(tmp_path / "thin.fits") as cube:
        assert cube.beam.major_arcsec / cube.cell_arcsec == pytest.approx(3.0)
    for number, end in enumerate(("", "_coverage", "_coverage2d")):
        few, many = (WCS(fits.getheader(tmp_path / f"{name}{end}.fits")).celestial for name in ("thin", "plain"))
        x, y = few.world_to_pixel(many.pixel_to_world(14, 10))
        assert (float(x), float(y)) == pytest.approx((3.0, 2.0), abs=1e-6)
        assert np.array_equal(thin[number][..., 2, 3], plain[number][..., 10, 14])


def test_jytok_and_beam_of_every_file(tmp_path):
    """W8: the reference keeps the native cube's; W18: a copy keeps its true beam."""
    data = galaxy((12, 30, 32), V)
    cards = header(beam=(5.0, 4.0, 30.0))
    for fwhm, beam in ((12.0, (12.0, 12.0)), (5.2, (5.0, 4.0))):
        facts, _ = make(tmp_path, "out", data, cards=cards.copy(), fwhm=fwhm)
        found = fits.getheader(tmp_path / "out.fits")
        assert (found["BMAJ"] * 3600, found["BMIN"] * 3600) == pytest.approx(beam)
        assert facts["beam_arcsec"][:2] == pytest.approx(beam)
        assert found["JYTOK"] == pytest.approx(cards["JYTOK"] * 20.0 / (beam[0] * beam[1]))
        assert found["BUNIT"] == "K"


def test_cores_do_not_matter(tmp_path):
    data = galaxy((12, 30, 32), V)
    options = ConvolveOptions(spec_smooth=7.5, pixels_per_beam=3.0)
    make(tmp_path, "a", data, options, cores=1)
    make(tmp_path, "b", data, options, cores=3)
    for end in ("", "_coverage", "_coverage2d"):
        assert (tmp_path / f"a{end}.fits").read_bytes() == (tmp_path / f"b{end}.fits").read_bytes()
