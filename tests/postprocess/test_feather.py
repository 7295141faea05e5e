"""Feathering against known truth, and against CASA's own feather."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy import fft

from fringeflow.errors import DataError
from fringeflow_postprocess import feather
from fringeflow_postprocess.beam import Beam
from fringeflow_postprocess.convolve import gaussian
from fringeflow_postprocess.feather import Settings

PIXEL = 1.0
STEP = (-PIXEL, PIXEL)
OWN, DISH = Beam(4.0, 4.0), Beam(24.0, 24.0)
NAN = np.float32(np.nan)


def seen_with(sky: np.ndarray, beam: Beam) -> np.ndarray:
    """A sky in Jy per pixel as Jy per beam, exactly, on a plane that is blank far around it."""
    spectrum = fft.rfft2(sky) * gaussian(sky.shape, beam, STEP)
    pixels = math.pi * beam.major_arcsec * beam.minor_arcsec / (4 * math.log(2)) / PIXEL**2
    return (fft.irfft2(spectrum, sky.shape) * pixels).astype(np.float32)


def without_short_spacings(image: np.ndarray, shortest: float) -> np.ndarray:
    """What an ideal interferometer sees: ever less at spatial frequencies below `shortest` (per arcsec), none at 0."""
    spectrum = fft.rfft2(image)
    north, east = fft.fftfreq(image.shape[0], PIXEL)[:, None], fft.rfftfreq(image.shape[1], PIXEL)[None]
    spectrum *= -np.expm1(-((np.hypot(north, east) / shortest) ** 4))
    return fft.irfft2(spectrum, image.shape).astype(np.float32)


def galaxy(shape: tuple[int, int] = (384, 378), *, points: bool = True) -> np.ndarray:
    """An extended source three beams of the dish wide, and point sources, in Jy per pixel."""
    y, x = np.indices(shape, dtype=float)
    r2 = (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2
    sky = np.exp(-4 * math.log(2) * r2 / 72**2)
    sky *= 100 / sky.sum()
    for row, column in ((164, 184), (214, 154), (192, 224)) if points else ():
        sky[row, column] += 0.5
    return sky


def flux(image: np.ndarray, beam: Beam) -> float:
    return float(np.nansum(image, dtype=float)) * 4 * math.log(2) / (math.pi * beam.major_arcsec * beam.minor_arcsec)


def test_truth_comes_back() -> None:
    """Total flux within 1 %, point sources within 2 %, from an image without zero spacing (12.2, 6)."""
    sky = galaxy()
    truth = seen_with(sky, OWN)
    high = without_short_spacings(truth, 0.2 / DISH.major_arcsec)
    assert abs(flux(high, OWN)) < 1e-3 * sky.sum()
    result = feather.feathered(high, seen_with(sky, DISH), (OWN, DISH), STEP)
    assert flux(result, OWN) == pytest.approx(sky.sum(), rel=0.01)
    for row, column in ((164, 184), (214, 154), (192, 224)):
        assert result[row, column] == pytest.approx(truth[row, column], rel=0.02)


def test_a_complete_interferometer_stays_as_it_is() -> None:
    """But for what the formula takes the dish's image for: sharper than it is by the interferometer's own beam."""
    sky = galaxy()
    truth = seen_with(sky, OWN)
    result = feather.feathered(truth, seen_with(sky, DISH), (OWN, DISH), STEP)
    np.testing.assert_allclose(result, truth, atol=2e-3 * truth.max())


def test_nothing_wraps_round() -> None:
    """A source at one edge leaves no trace at the other: the reference's unpadded transform takes 9 % away there."""
    sky = np.zeros((128, 128))
    sky[60:70, 1:6] = 1.0
    padded = np.pad(sky, 128)
    high = seen_with(padded, OWN)[128:-128, 128:-128]
    result = feather.feathered(high, np.zeros_like(high), (OWN, DISH), STEP)
    assert np.abs(result[:, 100:]).max() < 1e-6 * high.max()
    response = gaussian((128, 128), DISH, STEP)
    unpadded = high - fft.irfft2(fft.rfft2(high) * response, (128, 128))
    assert np.abs(unpadded[:, 100:]).max() > 0.05 * high.max()


def test_a_background_only_the_dish_sees() -> None:
    high, dish = np.zeros((60, 70), np.float32), np.full((60, 70), 3.0, np.float32)
    result = feather.feathered(high, dish, (OWN, DISH), STEP)
    np.testing.assert_allclose(result, 3 * OWN.solid_angle_sr / DISH.solid_angle_sr, rtol=1e-6)


def test_blank_where_either_is() -> None:
    """The output mask is the intersection (W-11), and a blank pixel elsewhere does no harm."""
    high, dish = np.ones((40, 50), np.float32), np.ones((40, 50), np.float32)
    high[:, :5] = NAN
    dish[:7] = NAN
    result = feather.feathered(high, dish, (OWN, DISH), STEP)
    np.testing.assert_array_equal(np.isfinite(result), np.isfinite(high) & np.isfinite(dish))
    assert np.isnan(feather.feathered(high, np.full_like(dish, NAN), (OWN, DISH), STEP)).all()


def test_tapered_equals_untapered_where_the_taper_is_flat() -> None:
    """For a compact source inside the taper's 90 % (12.2, 7); the taper's zero is blank."""
    y, x = np.indices((256, 256), dtype=float)
    r2 = (y - 128) ** 2 + (x - 128) ** 2
    taper = np.exp(-4 * math.log(2) * r2 / 400**2).astype(np.float32)
    sky = np.zeros((256, 256))
    sky[126:131, 125:132] = 1
    pair = without_short_spacings(seen_with(sky, OWN), 0.01), seen_with(sky, DISH)
    plain = feather.feathered(*pair, (OWN, DISH), STEP)
    tapered = feather.feathered(*pair, (OWN, DISH), STEP, settings=Settings(taper=True), taper=taper)
    inside = taper > 0.9
    np.testing.assert_allclose(tapered[inside], plain[inside], atol=0.02 * plain.max())
    taper[:20] = 0
    result = feather.feathered(*pair, (OWN, DISH), STEP, taper=taper)
    assert np.isnan(result[:20]).all()
    assert np.isfinite(result[20:]).all()


@pytest.mark.parametrize("rounds", [1, 3, 5])
def test_more_rounds_take_more_scales_from_the_dish(rounds: int) -> None:
    """An interferometer that lacks 30 % of the flux at all scales: the result, at the dish's beam, comes to the truth.

    At a spatial frequency where the dish's response is G, of the 30 % the part (1 - G)^rounds stays lost.
    """
    sky = galaxy(points=False)
    truth = seen_with(sky, OWN)
    pair, settings = (np.float32(0.7) * truth, seen_with(sky, DISH)), Settings(rounds=rounds)
    result = feather.feathered(*pair, (OWN, DISH), STEP, settings=settings)
    smooth, wanted = feather.at_dish_beam(result, pair[1], (OWN, DISH), STEP)
    assert smooth / wanted == pytest.approx(1, abs=1e-3)
    assert wanted == pytest.approx(sky.sum(), rel=1e-3)
    spectra = [fft.rfft2(image) for image in (result, truth)]
    response = gaussian(truth.shape, DISH, STEP)
    both = (response > 0.3) & (np.abs(spectra[1]) > 1e-2 * np.abs(spectra[1]).max())
    lost = 1 - (spectra[0][both] / spectra[1][both]).real
    np.testing.assert_allclose(lost, 0.3 * (1 - response[both]) ** rounds, atol=0.03)


def test_what_lies_beyond_the_field_is_not_taken_in() -> None:
    """Where a galaxy goes on beyond the field the dish brings its flux in, unless the dish's image goes on too."""
    sky = galaxy(points=False)
    truth, dish = seen_with(sky, OWN), seen_with(sky, DISH)
    high = truth.copy()
    high[:, 200:] = NAN
    kept = np.isfinite(high)
    found = [
        feather.feathered(high, low, (OWN, DISH), STEP, settings=Settings(rounds=rounds))
        for rounds, low in ((1, dish), (5, np.where(kept, dish, NAN)), (5, dish))
    ]
    wrong = [abs(flux(result, OWN) / flux(np.where(kept, truth, NAN), OWN) - 1) for result in found]
    assert wrong[0] > 0.05
    assert wrong[1] > 0.1
    assert wrong[2] < 0.005


def test_the_factor_scales_the_dish() -> None:
    high, dish = np.zeros((50, 50), np.float32), seen_with(galaxy((50, 50), points=False), DISH)
    once, twice = (
        feather.feathered(high, dish, (OWN, DISH), STEP, settings=Settings(factor=factor)) for factor in (1.0, 2.0)
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)


def test_the_scales_are_compared_where_both_measure() -> None:
    """A dish 10 % too bright is seen to be so, whatever the interferometer lacks at short spacings (W-10)."""
    sky = galaxy()
    high = without_short_spacings(seen_with(sky, OWN), 0.25 / DISH.major_arcsec)
    cross, power = feather.overlap(high, np.float32(1.1) * seen_with(sky, DISH), (OWN, DISH), STEP)
    assert cross / power == pytest.approx(1.1, rel=0.01)


def test_an_effective_dish_smooths_the_single_dish_and_keeps_its_flux() -> None:
    settings = Settings(dish_m=8.0)
    used = settings.beam_of(DISH, 230e9)
    assert used.major_arcsec == pytest.approx(1.13 * 299792458 / 230e9 / 8 * 206264.8, rel=1e-5)
    sky = galaxy()
    high = without_short_spacings(seen_with(sky, OWN), 0.2 / used.major_arcsec)
    result = feather.feathered(high, seen_with(sky, DISH), (OWN, DISH), STEP, settings=settings, used=used)
    assert flux(result, OWN) == pytest.approx(sky.sum(), rel=0.02)
    with pytest.raises(DataError, match="feather_dish_m"):
        Settings(dish_m=20.0).beam_of(DISH, 230e9)


def test_the_low_pass_takes_away_what_no_dish_measures() -> None:
    """Noise of single pixels in the dish's image does not reach the result; the sky does."""
    noise = np.random.default_rng(1).normal(size=(384, 378)).astype(np.float32)
    sky = seen_with(galaxy(points=False), DISH)
    high = np.zeros_like(noise)
    filtered, plain = (
        feather.feathered(high, sky + noise * sky.max(), (OWN, DISH), STEP, settings=Settings(low_pass=flag))
        for flag in (True, False)
    )
    clean = feather.feathered(high, sky, (OWN, DISH), STEP)
    assert np.std(filtered - clean) < 0.1 * np.std(plain - clean)


@pytest.mark.parametrize("dish", [DISH, Beam(26.0, 20.0, 35.0)])
def test_as_casa_feathers(
    dish: Beam, casa_ready: None, tmp_path: Path, write: Callable[..., Path], header: Callable[..., fits.Header]
) -> None:
    """On a field surrounded by enough blank sky CASA's own feather gives the same to 1e-3 of the peak.

    The reference pixel must be the middle one: CASA draws the dish's beam about it, and an edge cuts it.
    """
    import casatasks

    sky = galaxy((384, 384))
    high = without_short_spacings(seen_with(sky, OWN), 0.2 / 24)
    low = seen_with(sky, dish)
    names = {}
    for name, plane, beam in (("high", high, OWN), ("low", low, dish)):
        cards = header((beam.major_arcsec, beam.minor_arcsec, beam.pa_deg))
        cards["CDELT1"], cards["CDELT2"] = -PIXEL / 3600, PIXEL / 3600
        cards["CRPIX1"] = cards["CRPIX2"] = 193.0
        path = write(f"{name}.fits", np.stack([plane, 2 * plane]), cards)
        names[name] = str(tmp_path / f"{name}.image")
        casatasks.importfits(str(path), names[name], defaultaxes=True, defaultaxesvalues=["", "", "", "I"])
    made = tmp_path / "casa.image"
    casatasks.feather(str(made), names["high"], names["low"])
    casatasks.exportfits(str(made), str(tmp_path / "casa.fits"), dropstokes=True)
    theirs = fits.getdata(tmp_path / "casa.fits")
    ours = feather.feathered(high, low, (OWN, dish), STEP)
    assert np.abs(ours - theirs[0]).max() < 1e-3 * np.abs(ours).max()
    assert np.abs(2 * ours - theirs[1]).max() < 2e-3 * np.abs(ours).max()
