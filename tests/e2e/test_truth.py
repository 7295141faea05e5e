"""The whole way against the truth: flux, velocity field and line width of a simulated galaxy come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from tests.e2e.conftest import Finished

pytestmark = pytest.mark.xdist_group("e2e")


def load(finished: Finished, stage: str, name: str) -> tuple[NDArray[np.float64], fits.Header]:
    (path,) = (finished.workdir / "products").glob(f"{stage}/disc/{name}")
    with fits.open(path) as hdus:
        return np.asarray(hdus[0].data, dtype=float), hdus[0].header


def offsets(header: fits.Header, finished: Finished) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return east and north of every pixel from the disc's centre, arcsec."""
    truth = finished.galaxy.truth
    y, x = np.mgrid[: header["NAXIS2"], : header["NAXIS1"]]
    ra, dec = WCS(header).celestial.all_pix2world(x, y, 0)
    return (ra - truth.ra_deg) * np.cos(np.radians(dec)) * 3600, (dec - truth.dec_deg) * 3600


def test_the_flux_in_the_clean_mask_is_the_galaxys(finished: Finished) -> None:
    """Within 5 %: what the shortest baselines miss and what lies outside the mask."""
    image, header = load(finished, "imaging", "disc_12m_co21.fits")
    mask, _ = load(finished, "imaging", "disc_12m_co21_mask.fits")
    response, _ = load(finished, "imaging", "disc_12m_co21_pb.fits")
    beam = np.pi * header["BMAJ"] * header["BMIN"] / (4 * np.log(2) * abs(header["CDELT1"] * header["CDELT2"]))
    flux = np.nansum(np.where(mask > 0, image / response, 0)) * abs(header["CDELT3"]) / 1e3 / beam
    assert flux == pytest.approx(finished.galaxy.truth.line_flux_jykms, rel=0.05)


def test_the_flux_of_the_final_cube_is_the_galaxys(finished: Finished) -> None:
    """Within 10 %, in kelvin, over the galaxy's place and velocities: the negative bowl round it counts."""
    cube, header = load(finished, "postprocess", "disc_12m_co21_pbcorr_trimmed_k.fits")
    east, north = offsets(header, finished)
    beam = np.pi * header["BMAJ"] * header["BMIN"] / (4 * np.log(2) * abs(header["CDELT1"] * header["CDELT2"]))
    inside = np.hypot(east, north) < 6.0
    flux = np.nansum(cube[:, inside]) * abs(header["CDELT3"]) / 1e3 / header["JYTOK"] / beam
    assert flux == pytest.approx(finished.galaxy.truth.line_flux_jykms, rel=0.1)


def test_the_velocity_field_is_the_galaxys(finished: Finished) -> None:
    """Gradient within 10 %, systemic velocity within a fifth of a channel, position angle within 5 degrees."""
    truth = finished.galaxy.truth
    velocity, header = load(finished, "derived", "disc_12m_co21_strict_mom1.fits")
    intensity, _ = load(finished, "derived", "disc_12m_co21_strict_mom0.fits")
    east, north = offsets(header, finished)
    good = np.isfinite(velocity) & (intensity > 0.3 * np.nanmax(intensity))
    basis = np.stack([np.ones(good.sum()), east[good], north[good]], axis=1)
    (vsys, per_east, per_north), *_ = np.linalg.lstsq(basis, velocity[good], rcond=None)
    flattened = truth.gradient_kms_arcsec * size_share(header, truth.size_arcsec)
    assert vsys == pytest.approx(truth.vsys_kms, abs=1.0)
    assert np.hypot(per_east, per_north) == pytest.approx(flattened, rel=0.1)
    assert np.degrees(np.arctan2(per_east, per_north)) == pytest.approx(truth.pa_deg, abs=5)


def size_share(header: fits.Header, size_arcsec: float) -> float:
    """Return by how much a beam flattens the gradient over a Gaussian disc: size^2 / (size^2 + beam^2)."""
    beam = header["BMAJ"] * 3600
    return float(size_arcsec**2 / (size_arcsec**2 + beam**2))


def test_the_line_width_is_the_galaxys(finished: Finished) -> None:
    """The centre's dispersion: the line's own, the gradient over beam and disc, and the channel; within 15 %."""
    truth = finished.galaxy.truth
    width, header = load(finished, "derived", "disc_12m_co21_strict_mom2.fits")
    east, north = offsets(header, finished)
    centre = np.hypot(east, north) < 1.0
    beam, disc = header["BMAJ"] * 3600 / 2.3548, truth.size_arcsec / 2.3548
    smeared = truth.gradient_kms_arcsec * beam * disc / np.hypot(beam, disc)
    channel = header["CHANWDTH"] / 1e3 / np.sqrt(12)
    expected = float(np.sqrt(truth.dispersion_kms**2 + smeared**2 + channel**2))
    assert np.nanmedian(width[centre]) == pytest.approx(expected, rel=0.15)


def test_the_noise_cube_is_the_noise(finished: Finished) -> None:
    """The noise cube agrees with the scatter of the line-free sky within 10 %."""
    cube, _ = load(finished, "derived", "disc_12m_co21.fits")
    noise, _ = load(finished, "derived", "disc_12m_co21_noise.fits")
    broad, _ = load(finished, "derived", "disc_12m_co21_broadmask.fits")
    empty = np.isfinite(cube) & ~(broad > 0).any(axis=0)[None]
    ratio = (cube / noise)[empty]
    assert 1.4826 * np.median(np.abs(ratio - np.median(ratio))) == pytest.approx(1.0, abs=0.1)


def test_products_say_what_they_are(finished: Finished) -> None:
    for path in sorted(Path(finished.workdir / "products").rglob("*.fits")):
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            header = hdus[0].header
        assert "DATE" not in header, path.name
        assert any("incoming/disc.ms" in str(card) for card in header["HISTORY"]) or "incoming/disc.ms" in repr(header)
