"""Beams: the common one holds all, restoring keeps flux and angle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fringeflow.errors import DataError
from fringeflow_imaging import beam

BEAMS = st.tuples(st.floats(5.0, 9.0), st.floats(2.0, 5.0), st.floats(-90.0, 90.0))


def excess(outer, inner):
    """Smallest eigenvalue of what is left when the inner beam is taken out of the outer one."""
    return np.linalg.eigvalsh(beam._matrix(outer) - beam._matrix(inner)).min()


@settings(max_examples=50, deadline=None)
@given(st.lists(BEAMS, min_size=1, max_size=6))
def test_the_common_beam_holds_every_beam(beams):
    common = beam.common_beam(beams)
    assert all(excess(common, one) > -1e-3 for one in beams)
    longest = max(one[0] for one in beams)
    assert common[0] * common[1] <= longest**2 * 1.01  # never worse than a circle about all


def test_the_largest_beam_is_common_where_it_holds_the_others():
    assert beam.common_beam([(8.0, 6.0, 30.0), None, (5.0, 4.0, -20.0)]) == pytest.approx((8.0, 6.0, 30.0))


def test_no_beam_at_all_is_an_error():
    with pytest.raises(DataError, match="no channel"):
        beam.common_beam([None, None])


def test_position_angle_runs_from_north_to_east():
    plane = beam.gaussian((10.0, 2.0, 45.0), 1.0)
    reach = plane.shape[0] // 2
    assert plane[reach + 3, reach - 3] > plane[reach + 3, reach + 3]  # east is to the left
    assert plane[reach, reach] == 1.0


@pytest.mark.parametrize("shape", [(4.0, 4.0, 0.0), (6.0, 3.5, 25.0)])
def test_restored_flux_is_the_models(shape):
    model = np.zeros((64, 64), dtype=np.float32)
    model[30, 30], model[33, 36] = 2.0, 1.0
    image = beam.restore(model, np.zeros_like(model), shape, 1.0)
    assert image.sum() / beam.beam_area_pixels(shape, 1.0) == pytest.approx(3.0, rel=2e-3)


def test_sidelobes_are_what_is_left_of_the_main_lobe():
    shape = (6.0, 4.0, 10.0)
    psf = np.zeros((65, 65), dtype=np.float32)
    kernel = beam.gaussian(shape, 1.0)
    half = kernel.shape[0] // 2
    psf[32 - half : 33 + half, 32 - half : 33 + half] = kernel
    assert beam.sidelobe(psf, shape, 1.0) == pytest.approx(0.0, abs=1e-6)
    psf[5, 60] = -0.2
    assert beam.sidelobe(psf, shape, 1.0) == pytest.approx(0.2, abs=1e-6)
