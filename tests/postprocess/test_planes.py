"""The array functions of post-processing against known truth."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import fft

from fringeflow.errors import DataError
from fringeflow_postprocess import kelvin, primary_beam, trim
from fringeflow_postprocess.beam import Beam, round_beam_arcsec, without_coarse_edges
from fringeflow_postprocess.convolve import to_round_beam

PIXEL = 0.2
STEP = (-PIXEL, PIXEL)
NAN = np.float32(np.nan)


def widths(plane: np.ndarray) -> tuple[float, float]:
    """Full widths at half maximum along the principal axes, in arcsec, from second moments."""
    y, x = np.indices(plane.shape, dtype=float)
    total = plane.sum(dtype=float)
    x0, y0 = (plane * x).sum() / total, (plane * y).sum() / total
    moments = [(plane * p).sum() / total for p in ((x - x0) ** 2, (x - x0) * (y - y0), (y - y0) ** 2)]
    minor, major = np.linalg.eigvalsh([[moments[0], moments[1]], [moments[1], moments[2]]])
    return tuple(math.sqrt(8 * math.log(2) * value) * PIXEL for value in (major, minor))


class TestPrimaryBeam:
    def test_constant_sky_comes_back_and_the_mask_is_exact(self) -> None:
        response = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
        result = primary_beam.corrected(response * np.float32(3), response, 0.25)
        np.testing.assert_array_equal(np.isfinite(result), response >= 0.25)
        np.testing.assert_allclose(result[response >= 0.25], 3, rtol=1e-6)

    def test_a_response_of_exactly_the_cutoff_is_kept(self) -> None:
        response = np.array([[0.2, np.nextafter(np.float32(0.2), np.float32(0))]], dtype=np.float32)
        assert np.isfinite(primary_beam.corrected(np.ones((1, 2), np.float32), response, 0.2)).tolist() == [
            [True, False]
        ]

    def test_nothing_is_divided_by_zero_where_imaging_set_no_limit(self) -> None:
        response = np.array([[0.0, 0.5, np.nan]], dtype=np.float32)
        result = primary_beam.corrected(np.ones((1, 3), np.float32), response, -0.2)
        np.testing.assert_array_equal(result, [[np.nan, 2, np.nan]])


class TestRoundBeam:
    @pytest.mark.parametrize("pa_deg", [0.0, 30.0, 90.0, 137.0])
    @pytest.mark.parametrize("rule", ["smallest", "reference"])
    def test_point_source(self, pa_deg: float, rule: str, point_source: Callable[..., np.ndarray]) -> None:
        """Flux to 0.5 %, widths to 1 % (12.2, 3): with the wrong sense of the angle it would not come out round."""
        beam = Beam(1.0, 0.7, pa_deg)
        wanted = round_beam_arcsec([beam], PIXEL, rule=rule)
        assert wanted == pytest.approx(1.0 if rule == "smallest" else math.hypot(1.0, 0.4))
        result = to_round_beam(point_source((81, 90), 1.0, 0.7, pa_deg), beam, wanted, STEP)
        assert widths(result) == pytest.approx((wanted, wanted), rel=0.002)
        assert result.max() == pytest.approx(1.0, rel=0.002)
        flux = result.sum(dtype=float) * PIXEL**2 / (math.pi / (4 * math.log(2)) * wanted**2)
        assert flux == pytest.approx(1.0, rel=0.001)

    def test_a_round_beam_is_left_alone(self) -> None:
        plane = np.random.default_rng(1).normal(size=(9, 9)).astype(np.float32)
        assert to_round_beam(plane, Beam(1.0, 0.9995), 1.0, STEP) is plane
        assert not np.array_equal(to_round_beam(plane, Beam(1.0, 0.99), 1.0, STEP), plane)

    def test_forced_beam(self) -> None:
        beams = [Beam(1.0, 0.7), Beam(1.1, 0.7)]
        assert round_beam_arcsec(beams, PIXEL, force_arcsec=1.5) == 1.5
        with pytest.raises(DataError, match="cannot be reached"):
            round_beam_arcsec(beams, PIXEL, force_arcsec=1.09)
        with pytest.raises(DataError, match="cannot be reached"):
            round_beam_arcsec(beams, PIXEL, force_arcsec=1.15, rule="reference")

    @pytest.mark.parametrize("bad", [0.0, math.nan])
    def test_no_beam(self, bad: float) -> None:
        with pytest.raises(DataError, match="no restoring beam"):
            round_beam_arcsec([Beam(1.0, bad)], PIXEL)

    def test_the_border_keeps_its_level(self) -> None:
        """A constant sky stays constant up to the mask (W-29); counting blanks as zero pulls its border down."""
        y, x = np.indices((60, 60))
        plane = np.where(np.hypot(x - 29, y - 31) < 22, np.float32(2), NAN)
        beam = Beam(1.0, 0.7, 30.0)
        level = 2 / 0.7
        kept = to_round_beam(plane, beam, 1.0, STEP)
        np.testing.assert_array_equal(np.isfinite(kept), np.isfinite(plane))
        np.testing.assert_allclose(kept[np.isfinite(plane)], level, rtol=1e-5)
        zero = to_round_beam(plane, beam, 1.0, STEP, edges="zero")
        assert np.nanmin(zero) < 0.7 * level
        assert zero[31, 29] == pytest.approx(level, rel=1e-3)

    def test_nothing_wraps_round(self) -> None:
        plane = np.zeros((64, 64), np.float32)
        plane[:2] = 1000
        result = to_round_beam(plane, Beam(1.0, 0.5, 90.0), 2.0, STEP)
        assert abs(result[40:]).max() < 1e-4

    def test_the_number_of_workers_changes_no_bit(self) -> None:
        plane = np.random.default_rng(2).normal(size=(120, 131)).astype(np.float32)
        alone = to_round_beam(plane, Beam(1.0, 0.7, 12.0), 1.0, STEP)
        with fft.set_workers(2):
            together = to_round_beam(plane, Beam(1.0, 0.7, 12.0), 1.0, STEP)
        assert alone.tobytes() == together.tobytes()


FLAGS = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


class TestTrim:
    @pytest.mark.parametrize(("pixels", "factor"), [(2.0, 1), (5.99, 1), (6.0, 2), (8.99, 2), (9.0, 3)])
    def test_factor(self, pixels: float, factor: int) -> None:
        assert trim.rebin_factor(pixels, -1.0) == factor
        assert pixels / factor >= 3 or factor == 1

    @given(hnp.arrays(np.float32, (7, 8), elements=st.floats(-100, 100, width=32)), FLAGS, st.integers(1, 4))
    def test_rebinned_is_the_mean_of_what_is_valid(self, plane: np.ndarray, flags: np.ndarray, factor: int) -> None:
        plane = plane.copy()
        plane[: flags.shape[0], : flags.shape[1]][flags[:7, :8]] = np.nan
        result = trim.rebinned(plane, factor)
        assert result.shape == (7 // factor, 8 // factor)
        for (j, i), value in np.ndenumerate(result):
            block = plane[j * factor : (j + 1) * factor, i * factor : (i + 1) * factor]
            if np.isfinite(block).any():
                assert value == pytest.approx(np.nanmean(block.astype(float)), rel=1e-5, abs=1e-5)
            else:
                assert np.isnan(value)
        np.testing.assert_array_equal(trim.rebinned_footprint(np.isfinite(plane), factor), np.isfinite(result))

    @given(FLAGS, st.integers(0, 3))
    def test_rind(self, flags: np.ndarray, pixels: int) -> None:
        """A pixel stays if all pixels at most `pixels` steps away along the axes are valid, and inside."""
        result = np.isfinite(trim.without_rind(np.where(flags, np.float32(1), NAN), pixels))
        padded = np.pad(flags, pixels)
        for (j, i), kept in np.ndenumerate(result):
            near = [
                padded[j + pixels + dj, i + pixels + di]
                for dj in range(-pixels, pixels + 1)
                for di in range(-pixels, pixels + 1)
                if abs(dj) + abs(di) <= pixels
            ]
            assert kept == all(near)

    @given(FLAGS, st.integers(0, 2))
    def test_box(self, flags: np.ndarray, pad: int) -> None:
        if not flags.any():
            with pytest.raises(ValueError, match="nothing"):
                trim.bounding_box(flags, pad)
            return
        box = trim.bounding_box(flags, pad)
        inside = box.of(flags)
        assert inside.sum() == flags.sum()
        rows = np.flatnonzero(flags.any(axis=1))
        assert box.y == (max(rows[0] - pad, 0), min(rows[-1] + pad + 1, flags.shape[0]))

    def test_the_sky_stays_where_it_is(self) -> None:
        """The centre of a rebinned pixel is the mean of the pixels it was made of."""
        header = fits.Header()
        for axis, kind, step in ((1, "RA---SIN", -1e-4), (2, "DEC--SIN", 1e-4)):
            header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = kind, 10.0, step
            header[f"CRPIX{axis}"], header[f"CUNIT{axis}"] = 17.0, "deg"
        before = WCS(header)
        after = WCS(trim.rebinned_header(trim.cropped_header(header, (3, 4)), 2))
        assert after.wcs_pix2world([[2, 5]], 0)[0] == pytest.approx(
            before.wcs_pix2world([[3 + 4.5, 4 + 10.5]], 0)[0], abs=1e-10
        )


class TestKelvin:
    def test_check_values(self) -> None:
        """1 arcsec at 230.538 GHz is 22.995 K per Jy/beam; four times the area, a quarter (12.2, 11)."""
        nu = np.array([230.538e9])
        one, two = (kelvin.kelvin_per_jansky(nu, Beam(width, width))[0] for width in (1.0, 2.0))
        assert one == pytest.approx(22.995, rel=1e-4)
        assert one / two == pytest.approx(4, rel=1e-12)

    @pytest.mark.parametrize(
        ("kind", "unit", "value", "expected"),
        [
            ("VRAD", "m/s", 3e5, 100e9 * (1 - 3e5 / 299792458)),
            ("VRAD", "km/s", 300.0, 100e9 * (1 - 3e5 / 299792458)),
            ("VOPT", "m/s", 3e5, 100e9 / (1 + 3e5 / 299792458)),
            ("FREQ", "Hz", 99e9, 99e9),
            ("FREQ", "GHz", 99.0, 99e9),
        ],
    )
    def test_frequencies(self, kind: str, unit: str, value: float, expected: float) -> None:
        cards = {"CTYPE3": kind, "CUNIT3": unit, "CRVAL3": value, "CDELT3": 1.0, "CRPIX3": 2.0, "RESTFRQ": 100e9}
        header = fits.Header(cards)
        assert kelvin.frequencies_hz(header, 3)[1] == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("change", [{"RESTFRQ": 0.0}, {"CUNIT3": "cm"}, {"CTYPE3": "STOKES"}])
    def test_unusable_axes(self, change: dict[str, object]) -> None:
        cards = {"CTYPE3": "VRAD", "CUNIT3": "m/s", "CRVAL3": 0.0, "CDELT3": 1.0, "CRPIX3": 1.0, "RESTFRQ": 1e9}
        with pytest.raises(DataError):
            kelvin.frequencies_hz(fits.Header(cards | change), 2)


def test_no_casa_is_needed() -> None:
    """The service installs without CASA: none of its modules imports it."""
    spec = importlib.util.find_spec("fringeflow_postprocess")
    assert spec
    assert spec.origin
    for module in Path(spec.origin).parent.glob("*.py"):
        assert "casatools" not in module.read_text()
        assert "casatasks" not in module.read_text()


class TestCoarseEdges:
    """(12.2; W-03)"""

    @pytest.mark.parametrize(
        ("axes", "kept"),
        [
            ([1.0] * 6, (0, 6)),
            ([1.0, 1.05, 1.0, 0.98, 1.01, 1.02], (0, 6)),
            ([3.0, 1.5, 1.0, 1.01, 0.99, 1.0, 2.0], (2, 6)),
            ([1.0, 1.01, 4.0, 1.0, 1.0], (0, 5)),
            ([None, 2.0, 1.0, 1.0, 1.0, 1.0, None], (2, 6)),
        ],
    )
    def test_outermost_channels_with_large_beams(self, axes: list[float | None], kept: tuple[int, int]) -> None:
        """Equal beams are no error, what is between stays."""
        assert without_coarse_edges([Beam(axis, axis) if axis else None for axis in axes]) == kept
