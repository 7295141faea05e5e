"""From two imaged halves and a single dish to the feathered mosaic, by events, with numbers known beforehand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from fringeflow import fitsio
from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow.graph.model import UnitId
from fringeflow_postprocess.sky import Sky
from tests.postprocess import halves

HERE = SkyCoord(150.0, -30.0, unit="deg")
THROUGH_ZERO = SkyCoord(0.0, -30.0, unit="deg")


def cube(folder: Path, name: str) -> tuple[np.ndarray, fits.Header]:
    return fits.getdata(folder / f"work/products/postprocess/gal/{name}.fits", header=True)


def made(folder: Path, middle: SkyCoord) -> Path:
    folder.mkdir()
    for name in halves.HALVES:
        halves.drop_half(folder, name, middle)
    halves.drop_dish(folder, middle)
    outcome = halves.run(folder, middle)
    assert outcome.complete, outcome
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("here") / "run", HERE)


def in_jansky(data: np.ndarray, header: fits.Header) -> np.ndarray:
    nu = halves.REST * (
        1 - (header["CRVAL3"] + header["CDELT3"] * (np.arange(len(data)) + 1 - header["CRPIX3"])) / 299792458
    )
    return data / header["JYTOK"] * ((nu / header["JYTOKFRQ"]) ** 2)[:, None, None]


def flux(data: np.ndarray, header: fits.Header) -> np.ndarray:
    """The flux of every channel, in Jy."""
    pixels = math.pi / (4 * math.log(2)) * (header["BMAJ"] / header["CDELT2"]) ** 2
    return np.nansum(in_jansky(data, header), axis=(1, 2)) / pixels


def test_all_products_are_made_under_their_names(here: Path) -> None:
    """The states of section 3.2 that exist, for parts and mosaic, with and without single dish."""
    found = {path.name for path in (here / "work/products/postprocess/gal").glob("*.fits")}
    finals = {
        f"{target}_{config}_co21_{ext}.fits"
        for target in ("gal", *halves.HALVES)
        for config in ("7m", "7m+tp")
        for ext in ("pbcorr_trimmed_k", "trimmed_pb", "pbcorr_round", "weight")
    }
    assert found == finals | {f"{target}_7m_co21_singledish.fits" for target in ("gal", *halves.HALVES)}


def test_the_flux_is_that_of_the_single_dish(here: Path) -> None:
    """Within 3 % in every channel, where the interferometer has less than half of it."""
    truth = halves.SPECTRUM * sum(source[3] for source in halves.SOURCES)
    bright = truth > 0
    without, own = cube(here, "gal_7m_co21_pbcorr_trimmed_k")
    found, header = cube(here, "gal_7m+tp_co21_pbcorr_trimmed_k")
    assert (flux(without, own)[bright] < 0.5 * truth[bright]).all()
    np.testing.assert_allclose(flux(found, header)[bright], truth[bright], rtol=0.03)
    assert header["BUNIT"] == "K"
    assert header["BMAJ"] * 3600 == pytest.approx(halves.BEAM)


def test_the_image_is_the_sky(here: Path) -> None:
    """The feathered cube is the truth at its beam, to the noise; sources on the seam and in either half alike."""
    data, header = cube(here, "gal_7m+tp_co21_pbcorr_trimmed_k")
    image = in_jansky(data, header)
    grid = Sky.of(header, data.shape)
    truth = halves.SPECTRUM[:, None, None] * halves.seen(grid, HERE, halves.BEAM)
    response, _ = cube(here, "gal_7m+tp_co21_trimmed_pb")
    difference = (image - truth) * response
    assert np.nanstd(difference) < 0.0045
    assert abs(np.nanmean(difference)) < 0.002
    for place in halves.places(HERE):
        x, y = (round(float(value)) for value in grid.wcs.world_to_pixel(place))
        np.testing.assert_allclose(image[2:4, y, x], truth[2:4, y, x], rtol=0.03)


def test_the_seam_is_as_bright_as_the_halves(here: Path) -> None:
    """The sum over a box round a source on it, over the truth's, is one and that of either half."""
    ratios = []
    for name in ("gal", *halves.HALVES):
        data, header = cube(here, f"{name}_7m_co21_pbcorr_trimmed_k")
        grid = Sky.of(header, data.shape)
        x, y = (round(float(value)) for value in grid.wcs.world_to_pixel(halves.places(HERE)[3]))
        box = slice(y - 5, y + 6), slice(x - 5, x + 6)
        truth = halves.seen(grid, HERE, halves.BEAM, without=halves.LARGEST)[box].sum()
        ratios.append(in_jansky(data, header)[2][box].sum() / truth)
    assert ratios == pytest.approx([1, 1, 1], rel=0.02)
    assert ratios[1:] == pytest.approx([ratios[0], ratios[0]], rel=0.02)


def test_through_ra_zero_it_is_the_same(here: Path, tmp_path: Path) -> None:
    """(W-07), to what rounding of positions does."""
    there = made(tmp_path / "run", THROUGH_ZERO)
    for name in ("gal_7m_co21_pbcorr_trimmed_k", "gal_7m+tp_co21_pbcorr_trimmed_k", "gal_7m+tp_co21_trimmed_pb"):
        (ours, header), (theirs, other) = cube(here, name), cube(there, name)
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))
        np.testing.assert_allclose(theirs, ours, atol=1e-4 * np.nanmax(ours))
        assert other["CRVAL1"] == pytest.approx((header["CRVAL1"] - 150) % 360, abs=1e-9)


def test_noise_is_what_the_weight_says(tmp_path: Path) -> None:
    """The mosaic's noise, in channels without signal, is 1 / sqrt(weight) (W-14, W-19)."""
    for name in halves.HALVES:
        halves.drop_half(tmp_path, name, HERE, sigma=0.2)
    assert not halves.run(tmp_path, HERE, targets=("gal",)).failed
    folder = tmp_path / "work/products/postprocess/gal"
    with (
        Planes(folder / "gal_7m_co21_pbcorr_round.fits") as image,
        Planes(folder / "gal_7m_co21_weight.fits") as weight,
    ):
        scaled = image.plane(0) * np.sqrt(weight.plane(0))
    # Pixels are independent in the parts; interpolation to the mosaic's grid averages some of the noise away.
    assert 0.6 < np.nanstd(scaled) < 1.02


def test_parts_and_parameters_are_in_the_header(here: Path) -> None:
    """(W-16, W-25)"""
    _, header = cube(here, "gal_7m+tp_co21_pbcorr_trimmed_k")
    found = fitsio.read_provenance(header)
    combined = found["parameters"]["combined"]
    assert combined["parts"] == list(halves.HALVES)
    assert combined["single_dish_coverage"] == 1.0
    assert combined["ratio_at_dish_beam"] == pytest.approx(1, abs=0.03)
    assert set(found["inputs"]) == {
        "singledish/tp.fits",
        *(f"incoming/gal_{i}{e}.fits" for i in "12" for e in ("", "_pb")),
    }
    assert header["OBJECT"] == "GAL"


def test_joins_in_any_order(tmp_path: Path) -> None:
    """A mosaic is made when its last part is there, a feather when both images are; what is waited for is named."""
    halves.drop_half(tmp_path, "gal_2", HERE)
    outcome = halves.run(tmp_path, HERE)
    assert not outcome.failed
    waiting = outcome.waiting
    assert waiting["postprocess/gal/7m/co21/mosaic"] == ("postprocess/gal_1/7m/co21/round",)
    assert waiting["postprocess/gal_2/7m/co21/singledish"] == ("singledish/tp.fits",)
    assert waiting["postprocess/gal_2/7m+tp/co21/feather"] == ("postprocess/gal_2/7m/co21/singledish",)
    assert "postprocess/gal_2/7m/co21" not in waiting
    halves.drop_dish(tmp_path, HERE)
    outcome = halves.run(tmp_path, HERE)
    assert "postprocess/gal_2/7m+tp/co21" not in outcome.waiting
    assert "postprocess/gal/7m+tp/co21" in outcome.waiting
    halves.drop_half(tmp_path, "gal_1", HERE)
    assert halves.run(tmp_path, HERE).complete
    again = halves.run(tmp_path, HERE)
    assert (again.jobs, again.complete) == (0, True)


def test_asking_for_the_mosaic_makes_what_it_needs_of_the_parts(tmp_path: Path) -> None:
    for name in halves.HALVES:
        halves.drop_half(tmp_path, name, HERE)
    halves.drop_dish(tmp_path, HERE)
    outcome = halves.run(tmp_path, HERE, targets=("gal",))
    assert outcome.complete
    units = {str(manifest.unit) for manifest in outcome.made}
    assert "postprocess/gal/7m+tp/co21" in units
    assert "postprocess/gal_1/7m/co21/round" in units
    assert "postprocess/gal_1/7m/co21" not in units
    assert UnitId("postprocess", "gal_1", "7m+tp", "co21", "feather") not in {item.unit for item in outcome.made}


@pytest.mark.parametrize(
    ("overrides", "within"),
    [
        ({"feather_before_mosaic": "True"}, 0.05),
        ({"feather_rounds": "1"}, 0.05),
        ({"feather_rounds": "1", "feather_apodize": "True"}, 0.08),  # what the taper varies over a beam is lost
        ({"feather_dish_m": "20.0"}, 0.05),
        ({"feather_low_pass": "True"}, 0.05),
    ],
)
def test_every_way_of_feathering_keeps_the_flux(tmp_path: Path, overrides: dict[str, str], within: float) -> None:
    for name in halves.HALVES:
        halves.drop_half(tmp_path, name, HERE)
    halves.drop_dish(tmp_path, HERE)
    assert halves.run(tmp_path, HERE, targets=("gal",), **overrides).complete
    truth = halves.SPECTRUM * sum(source[3] for source in halves.SOURCES)
    found = flux(*cube(tmp_path, "gal_7m+tp_co21_pbcorr_trimmed_k"))
    np.testing.assert_allclose(found[truth > 0], truth[truth > 0], rtol=within)


def test_a_factor_for_the_dish(tmp_path: Path) -> None:
    for name in halves.HALVES:
        halves.drop_half(tmp_path, name, HERE)
    halves.drop_dish(tmp_path, HERE)
    assert halves.run(tmp_path, HERE, targets=("gal",), feather_factor="1.2").complete
    truth = 1.2 * halves.SPECTRUM * sum(source[3] for source in halves.SOURCES)
    found = flux(*cube(tmp_path, "gal_7m+tp_co21_pbcorr_trimmed_k"))
    np.testing.assert_allclose(found[truth > 0], truth[truth > 0], rtol=0.05)


def test_single_dish_images_of_the_parts_are_put_together(tmp_path: Path) -> None:
    """Where the mosaic itself has none; the result is the same."""
    for name in halves.HALVES:
        halves.drop_half(tmp_path, name, HERE)
    halves.drop_dish(tmp_path, HERE)
    assert halves.run(tmp_path, HERE, of_parts=True, targets=("gal",)).complete
    truth = halves.SPECTRUM * sum(source[3] for source in halves.SOURCES)
    found = flux(*cube(tmp_path, "gal_7m+tp_co21_pbcorr_trimmed_k"))
    np.testing.assert_allclose(found[truth > 0], truth[truth > 0], rtol=0.03)


def test_a_single_dish_may_be_a_casa_image(casa_ready: None, here: Path, tmp_path: Path) -> None:
    """Read without CASA it gives the planes that its FITS file gives."""
    from casatools import image

    for name in halves.HALVES:
        halves.drop_half(tmp_path, name, HERE)
    halves.drop_dish(tmp_path, HERE)
    tool = image()
    tool.fromfits(str(tmp_path / "tp.image"), str(tmp_path / "tp.fits"))
    tool.close()
    assert halves.run(tmp_path, HERE, targets=("gal",), dish="tp.image").complete
    for name in ("gal_7m_co21_singledish", "gal_7m+tp_co21_pbcorr_round"):
        wanted, header = cube(here, name)
        found, ours = cube(tmp_path, name)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * np.nanmax(wanted))
        assert ours["BMAJ"] == pytest.approx(header["BMAJ"])


def test_a_folder_that_is_no_image_is_refused_as_a_single_dish(tmp_path: Path) -> None:
    halves.drop_half(tmp_path, "gal_1", HERE)
    (tmp_path / "tp.image").mkdir()
    (tmp_path / "tp.image" / "notes.txt").write_text("nothing")
    (letter,) = halves.run(tmp_path, HERE, targets=("gal_1",), dish="tp.image").failed
    assert "neither a FITS file nor a CASA image" in letter.message
    assert DataError.kind == letter.kind


def test_a_least_response_narrows_the_mosaic(tmp_path: Path) -> None:
    for name in halves.HALVES:
        halves.drop_half(tmp_path, name, HERE)
    sizes = []
    for least in ("0", "0.6"):
        halves.run(tmp_path, HERE, targets=("gal",), mosaic_least_response=least)
        response, _ = cube(tmp_path, "gal_7m_co21_trimmed_pb")
        sizes.append(np.isfinite(response).sum())
    assert np.nanmin(response) >= 0.6
    assert sizes[1] < 0.95 * sizes[0]


def test_a_dish_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    halves.drop_half(tmp_path, "gal_1", HERE)
    halves.drop_dish(tmp_path, SkyCoord(151, -30, unit="deg"))
    outcome = halves.run(tmp_path, HERE, targets=("gal_1",))
    (letter,) = outcome.failed
    assert letter.unit == "postprocess/gal_1/7m/co21/singledish"
    assert "covers nothing" in letter.message
    assert DataError.kind == letter.kind
