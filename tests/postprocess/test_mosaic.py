"""Linear mosaics, weights and single-dish images on fields whose sky is known."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from scipy import ndimage

from fringeflow import fitsio
from fringeflow.errors import DataError
from fringeflow.fitsplanes import Planes
from fringeflow_postprocess import mosaic, noise
from fringeflow_postprocess.mosaic import Settings
from fringeflow_postprocess.singledish import Aligned, SingleDish
from fringeflow_postprocess.sky import Sky

PIXEL = 0.5
REST = 230.538e9
BEAM = 2.0
Write = Callable[..., Path]


def header_at(
    ra: float, dec: float, shape: Sequence[int], *, beam: float = BEAM, unit: str = "Jy/beam", pixel: float = PIXEL
) -> fits.Header:
    """A cube's header about (ra, dec), with channels of 2.5 km/s from 1000 km/s on."""
    header = fits.Header()
    rows = (
        (1, "RA---SIN", ra % 360, -pixel / 3600, shape[-1] // 2 + 1, "deg"),
        (2, "DEC--SIN", dec, pixel / 3600, shape[-2] // 2 + 1, "deg"),
        (3, "VRAD", 1e6, 2500.0, 1, "m/s"),
    )
    for axis, kind, value, step, pixel_number, name in rows[: len(shape)]:
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = kind, value, step
        header[f"CRPIX{axis}"], header[f"CUNIT{axis}"] = float(pixel_number), name
    header["RADESYS"], header["RESTFRQ"], header["SPECSYS"], header["BUNIT"] = "ICRS", REST, "LSRK", unit
    header["BMAJ"] = header["BMIN"] = beam / 3600
    header["BPA"] = 0.0
    return header


@pytest.fixture
def save(tmp_path: Path) -> Write:
    """Write an array and a header."""

    def write(name: str, data: np.ndarray, header: fits.Header) -> Path:
        path = tmp_path / name
        fits.writeto(path, data.astype(np.float32), header, overwrite=True)
        return path

    return write


def gaussian_sky(header: fits.Header, shape: Sequence[int], places: Sequence[SkyCoord], fwhm: float) -> np.ndarray:
    y, x = np.indices(shape[-2:])
    points = Sky.of(header, tuple(shape)).wcs.pixel_to_world(x, y)
    plane = sum(np.exp(-4 * math.log(2) * (points.separation(place).arcsec / fwhm) ** 2) for place in places)
    return np.broadcast_to(plane, shape).astype(np.float32)


def put_together(
    images: Sequence[Path], weights: Sequence[Path], settings: Settings | None = None
) -> tuple[mosaic.Layout, np.ndarray, np.ndarray, list[mosaic.Part]]:
    opened = [Planes(path) for path in (*images, *weights)]
    chosen = settings or Settings()
    layout = mosaic.layout(opened[: len(images)], chosen)
    pairs = zip(opened[: len(images)], opened[len(images) :], strict=True)
    parts = [mosaic.Part(image, weight, layout, chosen.edges) for image, weight in pairs]
    planes = list(mosaic.planes(parts, layout, least_response=chosen.least_response))
    for planes_of in opened:
        planes_of.hdus.close()
    return layout, np.stack([plane for plane, _ in planes]), np.stack([weight for _, weight in planes]), parts


def response_of(shape: Sequence[int], fwhm_pixels: float) -> np.ndarray:
    y, x = np.indices(shape[-2:], dtype=float)
    r2 = (x - shape[-1] // 2) ** 2 + (y - shape[-2] // 2) ** 2
    plane = np.exp(-4 * math.log(2) * r2 / fwhm_pixels**2)
    return np.broadcast_to(np.where(plane >= 0.25, plane, np.nan), shape).astype(np.float32)


def two_fields(
    save: Write, ra: float, dec: float, value: Callable[[fits.Header, Sequence[int]], np.ndarray], *, sigma: float = 0.0
) -> tuple[list[Path], list[Path]]:
    """Two fields 12 arcsec either side of a place, of 60 x 60 pixels, with primary beams of 80 pixels."""
    middle, rng = SkyCoord(ra, dec, unit="deg"), np.random.default_rng(3)
    images, weights, shape = [], [], (2, 60, 60)
    for number, angle in enumerate((90, 270)):
        place = middle.directional_offset_by(angle * units.deg, 12 * units.arcsec)
        header = header_at(place.ra.deg, place.dec.deg, shape)
        response = response_of(shape, 80)
        data = value(header, shape) + sigma * rng.normal(size=shape) / response
        images.append(save(f"{number}.fits", np.where(np.isfinite(response), data, np.nan), header))
        weights.append(save(f"{number}w.fits", response**2 / max(sigma, 1) ** 2, header))
    return images, weights


def test_a_constant_sky_is_constant_to_every_edge(save: Write) -> None:
    """Whatever the noise and footprint of the parts (12.2, 9; W-18: masked pixels do not count as zero)."""
    images, weights = two_fields(save, 150, 2, lambda header, shape: np.full(shape, 3.0))
    _, image, weight, _ = put_together(images, weights)
    np.testing.assert_array_equal(np.isfinite(image), np.isfinite(weight))
    np.testing.assert_allclose(image[np.isfinite(image)], 3.0, rtol=1e-5)
    assert np.isfinite(image[0]).sum() > 1.5 * 60 * 60 * 0.7


@pytest.mark.parametrize("blank", ["image", "weight"])
def test_what_is_blank_in_one_of_both_does_not_count(save: Write, blank: str) -> None:
    images, weights = two_fields(save, 150, 2, lambda header, shape: np.full(shape, 3.0))
    path = (images if blank == "image" else weights)[0]
    data, header = fits.getdata(path, header=True)
    data[:, :, 25:40] = np.nan
    fits.writeto(path, data, header, overwrite=True)
    _, image, _, _ = put_together(images, weights)
    np.testing.assert_allclose(image[np.isfinite(image)], 3.0, rtol=1e-5)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, -30.0), (359.999, 60.0), (30.0, 89.99)])
def test_a_mosaic_anywhere_is_that_of_the_equator(save: Write, ra: float, dec: float) -> None:
    """Sources on the seam and in either field have their place and brightness, through RA 0h and at the pole."""

    def sources(ra: float, dec: float) -> list[SkyCoord]:
        middle = SkyCoord(ra, dec, unit="deg")
        ways = ((0, 0), (90, 15), (270, 14), (45, 6))
        return [middle.directional_offset_by(a * units.deg, d * units.arcsec) for a, d in ways]

    for place in ((150.0, 0.0), (ra, dec)):
        there = sources(*place)
        images, weights = two_fields(save, *place, partial(gaussian_sky, places=there, fwhm=3.0))
        layout, image, _, _ = put_together(images, weights)
        grid = layout.header(fits.Header())
        truth = gaussian_sky(grid, layout.shape, there, 3.0)
        valid = np.isfinite(image)
        np.testing.assert_allclose(image[valid], truth[valid], atol=0.005)
        for source in there:
            x, y = layout.sky.wcs.world_to_pixel(source)
            assert image[0, round(float(y)), round(float(x))] > 0.9
        assert 90 <= layout.shape[2] <= 130  # near the pole the fields are turned against each other


def test_noise_of_the_mosaic_follows_from_its_weight(save: Write) -> None:
    """In the overlap it is 1 / sqrt(sum w) within 3 % (12.2, 9)."""
    rng, shape = np.random.default_rng(7), (6, 120, 120)
    images, weights = [], []
    for number, sigma in enumerate((1.0, 2.0)):
        header = header_at(150, 2, shape)
        images.append(save(f"{number}.fits", sigma * rng.normal(size=shape), header))
        weights.append(save(f"{number}w.fits", np.full(shape, 1 / sigma**2), header))
    _, image, weight, _ = put_together(images, weights)
    assert (image * np.sqrt(weight)).std() == pytest.approx(1, rel=0.03)
    assert weight[0, 0, 0] == pytest.approx(1.25)


def test_parts_come_to_the_largest_beam_once(save: Write) -> None:
    """No widening but that (W-05); a point source keeps its flux; the weight follows the noise (W-19)."""
    shape, place = (2, 90, 90), SkyCoord(150, 2, unit="deg")
    rng = np.random.default_rng(5)
    images, weights = [], []
    for number, beam in enumerate((2.0, 3.0)):
        header = header_at(150, 2, shape, beam=beam)
        field = gaussian_sky(header, shape, [place], beam)
        grain = np.stack([_smooth(plane, beam) for plane in rng.normal(size=shape)])
        images.append(save(f"{number}.fits", 1000 * field + grain / grain.std(), header))
        weights.append(save(f"{number}w.fits", np.ones(shape), header))
    layout, image, weight, parts = put_together(images, weights)
    assert layout.beam.major_arcsec == pytest.approx(3.0)
    assert image[0, 45, 45] == pytest.approx(1000, rel=0.005)
    flux = image[0, 30:60, 30:60].sum(dtype=float) * PIXEL**2 / (math.pi / (4 * math.log(2)) * 9)
    assert flux == pytest.approx(1000, rel=0.02)
    assert parts[0].noise_factor == pytest.approx(1.5, rel=0.1)  # white noise in Jy/beam grows with the beam's width
    assert weight[0, 0, 0] == pytest.approx(1 + 1 / parts[0].noise_factor ** 2)
    assert put_together(images, weights, Settings(force_beam_arcsec=4.0))[0].beam.major_arcsec == 4.0
    with pytest.raises(DataError, match="force_beam_arcsec"):
        put_together(images, weights, Settings(force_beam_arcsec=2.5))
    wide = put_together(images, weights, Settings(round_beam="reference"))[0].beam.major_arcsec
    assert wide == pytest.approx(math.hypot(3.0, 2 * PIXEL))


def _smooth(plane: np.ndarray, fwhm: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(plane, fwhm / PIXEL / math.sqrt(8 * math.log(2)), mode="wrap")


def test_channels_of_parts_that_begin_elsewhere(save: Write) -> None:
    """The phase of the first is kept, and no channel is lost (W-08)."""
    images, weights = [], []
    for number, start in enumerate((1e6, 1e6 - 3 * 2500.0)):
        header = header_at(150, 2, (4, 30, 30))
        header["CRVAL3"] = start
        ramp = (start + 2500.0 * np.arange(4))[:, None, None] * np.ones((4, 30, 30))
        images.append(save(f"{number}.fits", ramp, header))
        weights.append(save(f"{number}w.fits", np.ones((4, 30, 30)), header))
    layout, image, _, _ = put_together(images, weights)
    assert layout.shape == (7, 30, 30)
    assert layout.header(fits.Header())["CRVAL3"] == 1e6 - 7500.0
    np.testing.assert_allclose(image[:, 15, 15], 1e6 - 7500 + 2500.0 * np.arange(7), rtol=1e-6)


def test_images_without_channels(save: Write) -> None:
    """Continuum parts make a mosaic too (W-22)."""
    header = header_at(150, 2, (30, 30))
    image = save("i.fits", np.ones((30, 30)), header)
    layout, result, _, _ = put_together([image, image], [image, image])
    assert layout.channels is None
    assert result.shape == (1, 30, 30)
    assert "CTYPE3" not in layout.header(header)


def test_a_least_response_blanks_the_border(save: Write) -> None:
    header, shape = header_at(150, 2, (1, 60, 60)), (1, 60, 60)
    response = response_of(shape, 50)
    image = save("i.fits", np.where(np.isfinite(response), 1, np.nan), header)
    _, result, _, _ = put_together([image], [save("w.fits", response**2, header)], Settings(least_response=0.5))
    np.testing.assert_array_equal(np.isfinite(result), response > 0.5)


class TestNoise:
    def test_of_a_plane_with_bright_pixels(self) -> None:
        """Within 2 % with 1 % of the pixels bright (12.2, 4)."""
        rng = np.random.default_rng(1)
        plane = rng.normal(size=(300, 300)).astype(np.float32)
        plane[rng.random((300, 300)) < 0.01] += 50
        assert noise.flat_noise(plane, np.ones_like(plane)) == pytest.approx(1, rel=0.02)

    def test_of_a_plane_with_extended_signal(self) -> None:
        """Signal over a tenth of the field, of a few sigma, is found and left out (W-19)."""
        y, x = np.indices((300, 300))
        plane = np.random.default_rng(2).normal(size=(300, 300)) + 8 * np.exp(
            -((x - 150) ** 2 + (y - 150) ** 2) / 45**2
        )
        assert noise.flat_noise(plane.astype(np.float32), np.ones((300, 300), np.float32)) == pytest.approx(1, rel=0.03)

    def test_rises_towards_the_edge_of_a_corrected_plane(self) -> None:
        response = response_of((200, 200), 150)
        plane = (2 * np.random.default_rng(3).normal(size=(200, 200)) / response).astype(np.float32)
        sigma = noise.flat_noise(plane, response)
        assert sigma == pytest.approx(2, rel=0.03)
        weight = noise.weight(response, sigma, np.isfinite(plane))
        np.testing.assert_allclose(
            weight[100, 100] / weight[100, 150], (response[100, 100] / response[100, 150]) ** 2, rtol=1e-6
        )
        np.testing.assert_array_equal(np.isfinite(weight), np.isfinite(plane))

    def test_of_a_plane_too_large_to_look_at_every_pixel(self) -> None:
        """Pixels are as alike as in a beam of three; the columns differ, which steps along them must not see."""
        noisy = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(2048, 2048)), 1.3)
        noisy *= np.where(np.arange(2048) % 4 == 0, 1.3, 0.88)
        plane = (noisy / noisy.std()).astype(np.float32)
        every = np.median(np.abs(plane)) / 0.6744897501960817
        assert noise.flat_noise(plane, np.ones_like(plane)) == pytest.approx(every, rel=0.005)

    def test_channels_in_groups(self) -> None:
        sigmas = [float("nan"), 1.0, 1.1, 9.0, 0.9, 1.0, float("nan")]
        np.testing.assert_allclose(noise.in_groups(sigmas), [1.1, 1.1, 1.05, 1.0, 1.05, 1.0, 1.0])

    def test_nothing_to_measure(self) -> None:
        assert math.isnan(noise.flat_noise(np.full((9, 9), np.nan, np.float32), np.ones((9, 9), np.float32)))
        assert math.isnan(noise.flat_noise(np.zeros((90, 90), np.float32), np.ones((90, 90), np.float32)))


class TestSingleDish:
    SHAPE = (8, 50, 60)

    def template(self, save: Write) -> Path:
        data = np.ones(self.SHAPE)
        data[:, :10] = np.nan
        return save("template.fits", data, header_at(150, 2, self.SHAPE))

    def dish(self, save: Write, unit: str, value: float, *, axes: int = 3, fwhm: float = 20.0) -> Path:
        """Constant in space but for a slope, on coarser pixels and narrower channels, 40 of 1 km/s."""
        shape = (40, 30, 34)
        header = header_at(150.001, 2.0005, shape, beam=fwhm, unit=unit, pixel=3.0)
        header["CRVAL3"], header["CDELT3"] = 0.98e6, 1000.0
        data = np.full(shape, value)
        if axes == 4:
            header.update({"CTYPE4": "STOKES", "CRVAL4": 1.0, "CDELT4": 1.0, "CRPIX4": 1.0})
            data = data[None]
        return save("dish.fits", data, header)

    def aligned(self, template: Path, dish: Path) -> tuple[np.ndarray, dict[str, object]]:
        with Planes(template) as like, Planes(dish) as image:
            work = Aligned(SingleDish(image), like)
            planes = np.stack(list(work))
            assert planes.shape[1:] == work.sky.shape
            margin = (planes.shape[1] - self.SHAPE[1]) // 2
            assert margin == 60  # one and a half beams of 20 arcsec
            return planes[:, margin:-margin, margin:-margin], work.record()

    @pytest.mark.parametrize("axes", [3, 4])
    @pytest.mark.parametrize("unit", ["Jy/beam", "Jy beam-1", "mJy/beam", "K", "K (Tmb)", "mK", "Jy/pixel"])
    def test_units_and_axes(self, save: Write, unit: str, axes: int) -> None:
        """All give the same in Jy/beam (W-13)."""
        omega = math.pi / (4 * math.log(2)) * 20.0**2
        jansky = (
            2 * 1.380649e-23 * (REST * (1 - 1e6 / 299792458) / 299792458) ** 2 * omega * (math.pi / 648000) ** 2 * 1e26
        )
        values = {"Jy/beam": 2.0, "Jy beam-1": 2.0, "mJy/beam": 2000.0, "Jy/pixel": 2.0 * 9 / omega}
        values |= {"K": 2 / jansky, "K (Tmb)": 2 / jansky, "mK": 2000 / jansky}
        found, record = self.aligned(self.template(save), self.dish(save, unit, values[unit], axes=axes))
        assert found.shape == self.SHAPE
        np.testing.assert_allclose(found, 2.0, rtol=3e-4)
        assert record["coverage"] == 1.0
        assert record["channels_averaged"] == 4

    def test_an_unknown_unit_or_frame_is_refused(self, save: Write) -> None:
        template = self.template(save)
        with pytest.raises(DataError, match="convert it to K"):
            self.aligned(template, self.dish(save, "MJy/sr", 1.0))
        path = self.dish(save, "K", 1.0)
        fits.setval(path, "SPECSYS", value="TOPOCENT")
        with pytest.raises(DataError, match="TOPOCENT"):
            self.aligned(template, path)

    def test_partial_coverage_is_reported_and_none_refused(self, save: Write) -> None:
        template, path = self.template(save), self.dish(save, "Jy/beam", 1.0)
        data, header = fits.getdata(path, header=True)
        data[:, :, :17] = np.nan
        fits.writeto(path, data, header, overwrite=True)
        _, record = self.aligned(template, path)
        assert 0.58 < record["coverage"] < 0.65  # 18.6 of 30 arcsec
        fits.setval(path, "CRVAL1", value=151.0)
        with pytest.raises(DataError, match="covers nothing"):
            self.aligned(template, path)

    def test_a_source_keeps_its_place_and_velocity(self, save: Write) -> None:
        place, shape = SkyCoord(150.0005, 2.0003, unit="deg"), (40, 40, 44)
        header = header_at(150.001, 2.0005, shape, beam=20.0, pixel=3.0)
        header["CRVAL3"], header["CDELT3"] = 1.019e6, -1000.0
        spectrum = np.exp(-(((header["CRVAL3"] - 1000.0 * np.arange(40)) - 1.007e6) ** 2) / 2 / 3000.0**2)
        dish = save("dish.fits", gaussian_sky(header, shape, [place], 20.0) * spectrum[:, None, None], header)
        template = self.template(save)
        found, _ = self.aligned(template, dish)
        grid = fits.getheader(template)
        own = np.exp(-((1e6 + 2500 * np.arange(8) - 1.007e6) ** 2) / 2 / 3000.0**2)
        truth = gaussian_sky(grid, self.SHAPE, [place], 20.0) * own[:, None, None]
        np.testing.assert_allclose(found, truth, atol=0.04)  # channels are means of 2.5 km/s
        np.testing.assert_allclose(found[2] / found[2].max(), truth[2] / truth[2].max(), atol=2e-3)


def test_memory_is_bounded_by_planes(tmp_path: Path) -> None:
    """A mosaic and an alignment of 120 channels take what 12 take (W-31)."""
    peaks = []
    for count in (12, 120):
        shape = (count, 64, 64)
        fitsio.write_cube(
            tmp_path / "i.fits", header_at(150, 2, shape), (np.ones((64, 64)) for _ in range(count)), shape
        )
        tracemalloc.start()
        with Planes(tmp_path / "i.fits") as image, Planes(tmp_path / "i.fits") as dish:
            layout = mosaic.layout(
                [image, image], Settings(centre=SkyCoord(150, 2, unit="deg"), extent_arcsec=(30, 30))
            )
            parts = [mosaic.Part(image, image, layout) for _ in range(2)]
            for _ in mosaic.planes(parts, layout):
                pass
            for _ in Aligned(SingleDish(dish), image):
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
