"""Grids on the sky and in velocity: unions, positions, interpolation, against positions known otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.errors import DataError
from fringeflow_postprocess import channels, sky
from fringeflow_postprocess.channels import Channels
from fringeflow_postprocess.regrid import Regrid, mixed
from fringeflow_postprocess.sky import Sky

PIXEL = 0.5


def tangent(ra: float, dec: float, shape: tuple[int, int] = (40, 50), *, pixel: float = PIXEL) -> Sky:
    """A grid about (ra, dec)."""
    header = fits.Header()
    for axis, name, value, step in ((1, "RA---SIN", ra % 360, -pixel), (2, "DEC--SIN", dec, pixel)):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = name, value, step / 3600
        header[f"CUNIT{axis}"], header[f"PC{axis}_{axis}"] = "deg", 1.0
        header[f"CRPIX{axis}"] = shape[2 - axis] / 2 + 0.5
    header["RADESYS"], header["LONPOLE"] = "ICRS", 180.0
    return Sky.of(header, shape)


def blob(grid: Sky, place: SkyCoord, fwhm_arcsec: float = 4.0) -> np.ndarray:
    """A Gaussian round a place on the sky, on a grid."""
    y, x = np.indices(grid.shape)
    apart = grid.wcs.pixel_to_world(x, y).separation(place).arcsec
    return np.exp(-4 * np.log(2) * (apart / fwhm_arcsec) ** 2).astype(np.float32)


class TestUnion:
    @pytest.mark.parametrize(
        ("ra", "dec", "apart"),
        [(150.0, 2.0, 10), (0.0, -30.0, 10), (0.0, 85.0, 60), (77.0, 89.999, 30), (5.0, -90, 20)],
    )
    def test_holds_every_corner_anywhere(self, ra: float, dec: float, apart: float) -> None:
        """Through RA 0h and at the poles (12.2, 8; W-07), and is no larger than it must be."""
        middle = SkyCoord(ra, dec, unit="deg")
        parts = []
        for angle in (90, 270, 30):
            place = middle.directional_offset_by(angle * units.deg, apart * units.arcsec)
            parts.append(tangent(place.ra.deg, place.dec.deg))
        grid = sky.around(parts)
        for part in parts:
            for x, y in ((-0.5, -0.5), (49.5, -0.5), (-0.5, 39.5), (49.5, 39.5)):
                column, row = grid.wcs.world_to_pixel(part.wcs.pixel_to_world(x, y))
                assert -0.51 <= column <= grid.shape[1] - 0.49
                assert -0.51 <= row <= grid.shape[0] - 0.49
        assert max(grid.shape) * PIXEL < 2 * apart + 75
        assert grid.wcs.pixel_to_world(grid.shape[1] / 2, grid.shape[0] / 2).separation(middle).arcsec < apart

    @given(st.floats(0, 360, exclude_max=True), st.floats(-80, 80))
    def test_is_the_same_wherever_it_lies(self, ra: float, dec: float) -> None:
        """Turned about the poles, the union of two fields is the same grid, turned."""
        shift = 8 / 3600 / np.cos(np.radians(dec))
        there = sky.around([tangent(ra - shift, dec), tangent(ra + shift, dec)])
        here = sky.around([tangent(150 - shift, dec), tangent(150 + shift, dec)])
        assert abs(there.shape[0] - here.shape[0]) <= 1
        assert abs(there.shape[1] - here.shape[1]) <= 1
        turned = (there.header["CRVAL1"] - here.header["CRVAL1"] - ra + 150) * np.cos(np.radians(dec))
        assert (turned * 3600 + 180 * 3600) % (360 * 3600) - 180 * 3600 == pytest.approx(0, abs=0.3)

    def test_parts_of_one_lattice_keep_it(self) -> None:
        whole = tangent(10, 20, (100, 120))
        parts = [whole.part((0, 50), (5, 60)), whole.part((40, 100), (50, 118))]
        grid = sky.around(parts)
        assert grid.offset_in(whole) == (0, 5)
        assert grid.shape == (100, 113)

    def test_the_finest_pixel(self) -> None:
        """(W-30), whichever part has it."""
        grid = sky.around([tangent(10, 20, pixel=1.0), tangent(10.01, 20, pixel=0.5)])
        assert grid.pixel_arcsec == pytest.approx(0.5, rel=1e-6)

    def test_wanted_extent(self) -> None:
        """A centre and an extent in arcsec go before what the parts need (W-09, W-20)."""
        centre = SkyCoord(10.001, 20.002, unit="deg")
        grid = sky.around([tangent(10, 20)], centre=centre, extent_arcsec=(30.0, 10.0))
        assert grid.shape == (21, 61)
        assert grid.wcs.pixel_to_world(30, 10).separation(centre).arcsec < 1e-6

    def test_too_large_or_too_far_is_refused(self) -> None:
        with pytest.raises(DataError, match="linearmosaic_deltara"):
            sky.around([tangent(10, 20), tangent(10.1, 20)], most_pixels=500)
        with pytest.raises(DataError, match="degrees apart"):
            sky.around([tangent(10, 20), tangent(110, 20)])


class TestRegrid:
    @pytest.mark.parametrize("place", [(10.0, 20.0), (0.0, -30.0), (200.0, 88.0)])
    def test_sources_stay_where_they_are(self, place: tuple[float, float]) -> None:
        """A Gaussian on one projection is the same Gaussian on another, to 2e-3 of its peak."""
        source = tangent(place[0], place[1], (60, 60))
        target = tangent(place[0] + 0.002, place[1] - 0.001, (80, 90), pixel=0.4)
        at = SkyCoord(*place, unit="deg").directional_offset_by(40 * units.deg, 4 * units.arcsec)
        result = Regrid(source, target).image(blob(source, at))
        valid = np.isfinite(result)
        assert valid.any()
        np.testing.assert_allclose(result[valid], blob(target, at)[valid], atol=2e-3)

    def test_one_lattice_is_copied_bit_for_bit(self) -> None:
        whole = tangent(10, 20, (100, 120))
        values = np.random.default_rng(1).normal(size=(100, 120)).astype(np.float32)
        part, target = whole.part((10, 60), (20, 90)), whole.part((-5, 55), (50, 130))
        result = Regrid(part, target).image(values[10:60, 20:90])
        np.testing.assert_array_equal(result[15:60, :40], values[10:55, 50:90])
        assert np.isfinite(result).sum() == 45 * 40

    def test_nothing_is_lost_or_invented_at_edges(self) -> None:
        """A constant stays constant to the last valid pixel; what lies beside a blank one is blank (12.2, 8)."""
        source, target = tangent(10, 20, (60, 60)), tangent(10.0003, 20.0002, (60, 60))
        plane = np.full((60, 60), 2.5, np.float32)
        plane[:, :20] = np.nan
        result = Regrid(source, target).image(plane)
        valid = np.isfinite(result)
        np.testing.assert_allclose(result[valid], 2.5, rtol=1e-6)
        y, x = sky.positions(target, source)
        np.testing.assert_array_equal(valid, (x >= 20) & (x <= 59) & (y >= 0) & (y <= 59))

    def test_weights_never_become_negative(self) -> None:
        """At a step, where a cubic spline overshoots (W-18)."""
        source, target = tangent(10, 20, (60, 60)), tangent(10.00007, 20.00003, (60, 60))
        plane = np.where(np.arange(60) < 30, 0.0, 1.0).astype(np.float32) * np.ones((60, 1), np.float32)
        regrid = Regrid(source, target)
        assert np.nanmin(regrid.weight(plane)) >= 0
        assert np.nanmin(regrid.image(plane)) < -0.01

    def test_planes_blank_elsewhere_may_take_turns(self) -> None:
        """What follows from where a plane is valid is kept: never for a plane that is valid elsewhere."""
        source, target = tangent(150, 2), tangent(150.0005, 2.0003)
        planes = [np.random.default_rng(seed).normal(size=(40, 50)).astype(np.float32) for seed in range(3)]
        for number, plane in enumerate(planes):
            plane[10 * number : 10 * number + 8, 5:30] = np.nan
        regrid = Regrid(source, target)
        for number in (0, 1, 0, 2, 1, 1, 0):
            fresh = Regrid(source, target)
            np.testing.assert_array_equal(regrid.image(planes[number]), fresh.image(planes[number]))
            other = planes[number - 1]
            np.testing.assert_array_equal(regrid.weight(other), fresh.weight(other))

    def test_fields_that_do_not_meet(self) -> None:
        result = Regrid(tangent(10, 20), tangent(11, 20)).image(np.ones((40, 50), np.float32))
        assert np.isnan(result).all()
        assert result.shape == (40, 50)


class TestChannels:
    def test_equal_axes_are_not_interpolated(self) -> None:
        axis = Channels(1e6, -2500.0, 12)
        assert channels.mixtures(axis, axis) == [((index, 1.0),) for index in range(12)]
        shifted = Channels(1e6 - 2 * 2500.0 + 1e-3, -2500.0, 12)
        assert channels.mixtures(axis, shifted)[0] == ((2, 1.0),)

    def test_wider_channels_are_means(self) -> None:
        """And either direction of the axis gives the same (W-13)."""
        have, want = Channels(0.0, 1000.0, 12), Channels(500.0, 2000.0, 6)
        assert channels.mixtures(have, want) == [((2 * i, 0.5), (2 * i + 1, 0.5)) for i in range(6)]
        back = channels.mixtures(Channels(11000.0, -1000.0, 12), want)
        assert back[0] == ((10, 0.5), (11, 0.5))

    def test_narrower_channels_are_interpolated(self) -> None:
        """A ramp in velocity stays a ramp."""
        have, want = Channels(0.0, 2000.0, 10), Channels(3000.0, 500.0, 8)
        ramp = have.velocities_ms()
        found = [sum(share * ramp[item] for item, share in mixture) for mixture in channels.mixtures(have, want)]
        np.testing.assert_allclose(found, want.velocities_ms())

    def test_beyond_the_ends_is_blank(self) -> None:
        found = channels.mixtures(Channels(0.0, 1000.0, 4), Channels(-1600.0, 1000.0, 7))
        assert [bool(mixture) for mixture in found] == [False, False, True, True, True, True, False]

    @given(st.integers(-5, 5), st.integers(1, 20), st.floats(-0.45, 0.45))
    def test_a_union_keeps_the_phase_and_loses_no_channel(self, shift: int, count: int, phase: float) -> None:
        """No first or last channel is lost (W-08)."""
        first, second = Channels(1e6, -2500.0, 10), Channels(1e6 - (shift + phase) * 2500.0, -2500.0, count)
        union = channels.union([first, second])
        assert ((union.first_ms - first.first_ms) / 2500) % 1 == pytest.approx(0, abs=1e-9)
        for axis in (first, second):
            ends = (axis.velocities_ms()[[0, -1]] - union.first_ms) / union.step_ms
            assert ends.min() >= -0.5 - 1e-9
            assert ends.max() <= union.count - 0.5 + 1e-9
        assert union.count <= max(10, count, abs(shift) + count + 1, abs(shift) + 11)

    def test_different_widths_take_the_widest(self) -> None:
        assert channels.union([Channels(0.0, 1000.0, 20), Channels(0.0, 2000.0, 10)]).width_ms == 2000.0

    @pytest.mark.parametrize("kind", ["FREQ", "VRAD", "VOPT"])
    def test_the_axis_may_be_of_any_kind(self, kind: str) -> None:
        rest, c = 230.538e9, 299792458.0
        header = fits.Header([("CTYPE3", kind), ("CRPIX3", 1.0), ("RESTFRQ", rest)])
        value = {"FREQ": rest * (1 - 1e6 / c), "VRAD": 1e6, "VOPT": c * (1 / (1 - 1e6 / c) - 1)}[kind]
        header["CRVAL3"], header["CDELT3"] = value, {"FREQ": 1e6, "VRAD": 2.5e3, "VOPT": 2.5e3}[kind]
        assert Channels.of(header, 5).first_ms == pytest.approx(1e6, rel=1e-9)

    def test_a_mean_is_blank_where_a_channel_is(self) -> None:
        one, two = np.ones((2, 2), np.float32), np.full((2, 2), 3, np.float32)
        two[0, 0] = np.nan
        result = mixed([one, two], ((0, 0.25), (1, 0.75)), (2, 2))
        np.testing.assert_array_equal(result, [[np.nan, 2.5], [2.5, 2.5]])
        assert np.isnan(mixed([], (), (2, 2))).all()
