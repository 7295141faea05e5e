"""The common spectral setup, against the vectors of the staging specification (sections 6, 7.3 and 11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow_staging.scheme import continuum_setup, line_channels, line_setup, smearing_limit_ghz
from fringeflow_staging.windows import C_KMS, Window

CO21 = 230.538


def native(width_kms: float, n: int = 1000, number: int = 0) -> Window:
    step = width_kms / C_KMS * CO21
    first = CO21 * (1 - 1000 / C_KMS) - n / 2 * step
    return Window(number, tuple(first + step * k for k in range(n)), (step,) * n)


def setup(widths, channel_kms, vwidth=500.0, **more):
    found = line_setup(
        [[native(width)] for width in widths],
        restfreq_ghz=CO21,
        vsys_kms=1000.0,
        vwidth_kms=vwidth,
        channel_kms=channel_kms,
        **more,
    )
    assert found is not None
    return found


def test_worked_example_of_three_widths_as_the_reference_has_it():
    found = setup([0.635, 1.27, 2.4], 2.5, one_grid=False)
    assert [way.factor for way in found.regrids] == [3, 1, 1]
    assert found.grid.width_kms == pytest.approx(2.40072, abs=1e-8)
    assert found.grid.n_channels == 208
    assert [way.width_kms for way in found.regrids] == pytest.approx([0.80024, 2.40072, 2.40072], abs=1e-8)
    assert [way.n_channels for way in found.regrids] == [624, 208, 208]
    assert [way.start_kms for way in found.regrids] == [750.0] * 3
    assert [way.first_output_kms for way in found.regrids] == pytest.approx([750.80024, 750.0, 750.0], abs=1e-6)


@pytest.mark.parametrize(
    ("channel_kms", "factors", "width", "n_out", "firsts"),
    [(2.5, [1, 3], 1.90546, 262, [750.0, 750.6352]), (2.6, [2, 4], 2.54061, 196, [750.6352, 750.9527])],
)
def test_two_arrays_as_the_reference_has_them(channel_kms, factors, width, n_out, firsts):
    widths = [976.5625e-6 / CO21 * C_KMS, 488.28125e-6 / CO21 * C_KMS]
    found = setup(widths, channel_kms, one_grid=False)
    assert [way.factor for way in found.regrids] == factors
    assert found.grid.width_kms == pytest.approx(width, abs=6e-6)
    assert found.grid.n_channels == n_out
    assert [way.first_output_kms for way in found.regrids] == pytest.approx(firsts, abs=6e-5)


def test_all_inputs_share_one_grid_and_the_reference_s_width_and_number():
    found = setup([0.635, 1.27, 2.4], 2.5)
    reference = setup([0.635, 1.27, 2.4], 2.5, one_grid=False)
    assert found.grid.width_kms == reference.grid.width_kms
    assert found.grid.n_channels == reference.grid.n_channels
    assert {round(way.first_output_kms, 9) for way in found.regrids} == {750.0}


@pytest.mark.parametrize("factor", range(1, 9))
def test_with_one_bin_factor_the_grid_is_the_reference_s(factor):
    channel = 1.27 * (factor + 0.3)
    ours = setup([1.27, 1.27], channel)
    theirs = setup([1.27, 1.27], channel, one_grid=False)
    assert {way.factor for way in ours.regrids} == {factor}
    for mine, reference in zip(ours.regrids, theirs.regrids, strict=True):
        assert mine.start_kms == pytest.approx(reference.start_kms, abs=1e-9)
        assert mine.first_output_kms == pytest.approx(ours.grid.centre_kms(0), abs=1e-9)
    assert ours.grid.centre_kms(0) == pytest.approx(750 + (factor - 1) / 2 * ours.grid.width_kms / factor)


@given(st.lists(st.floats(0.3, 2.5), min_size=1, max_size=5), st.floats(20.0, 800.0))
def test_every_input_lands_on_the_grid_and_never_on_channels_narrower_than_its_own(widths, vwidth):
    found = setup(widths, 2.5, vwidth=vwidth)
    for way in found.regrids:
        assert way.first_output_kms == pytest.approx(found.grid.centre_kms(0), abs=1e-7)
        assert way.width_kms * way.factor == pytest.approx(found.grid.width_kms)
        assert way.n_channels == found.grid.n_channels * way.factor
        assert way.width_kms > widths[way.source]
    low, high = found.grid.covered_kms
    assert low < 1000 - vwidth / 2
    assert high > 1000 + vwidth / 2 - 1.6 * found.grid.width_kms - 0.001 * vwidth


def test_the_window_can_be_covered_to_its_upper_end():
    found = setup([0.635, 1.27, 2.4], 2.5, cover=True)
    low, high = found.grid.covered_kms
    assert low <= 750
    assert high >= 1250
    assert high - 1250 < found.grid.width_kms


def test_exact_channels_are_multiples_of_their_width_whatever_the_data():
    one, other = setup([0.635], 2.6, mode="exact"), setup([1.27, 2.4], 2.6, mode="exact")
    assert one.grid == other.grid
    assert one.grid.width_kms == 2.6
    assert one.grid.edge_kms / 2.6 == pytest.approx(round(one.grid.edge_kms / 2.6))
    low, high = one.grid.covered_kms
    assert low <= 750
    assert high >= 1250


def test_windows_wider_than_the_channels_are_told_and_left_out():
    found = setup([1.27, 3.0], 2.5)
    assert [way.source for way in found.regrids] == [0]
    assert found.too_wide == ((1, 0),)
    assert line_setup([[native(3.0)]], restfreq_ghz=CO21, vsys_kms=0, vwidth_kms=50, channel_kms=2.5) is None
    assert line_setup([[]], restfreq_ghz=CO21, vsys_kms=0, vwidth_kms=50, channel_kms=2.5) is None


@pytest.mark.parametrize(("n", "expected"), [(200, (19, 178)), (20, None), (40, (19, 18)), (41, None), (42, (19, 20))])
def test_line_channels_for_the_weights_as_the_reference_has_them(n, expected):
    assert line_channels(n, 2.5, 50.0, symmetric=False) == expected


@pytest.mark.parametrize(("n", "expected"), [(200, (20, 179)), (20, None), (40, None), (41, (20, 20)), (42, (20, 21))])
def test_line_channels_for_the_weights_leave_equal_edges(n, expected):
    assert line_channels(n, 2.5, 50.0) == expected


@given(st.integers(1, 500), st.floats(0.1, 20.0), st.floats(1.0, 200.0))
def test_edges_are_equal_and_as_wide_as_asked(n, width, edge):
    found = line_channels(n, width, edge)
    if found is not None:
        low, high = found
        assert low == n - 1 - high
        assert low * width >= edge - 1e-6
        assert low <= high


def test_a_continuum_range_in_one_channel():
    found = continuum_setup([[native(0.635)]], (229.3, 230.2))
    assert found is not None
    (way,) = found.regrids
    assert (way.factor, way.n_channels) == (1843, 1843)
    assert way.width_kms == pytest.approx(0.63720967, abs=1e-8)
    assert way.start_kms == pytest.approx(-586.87010507, abs=1e-8)
    assert found.grid.restfreq_ghz == pytest.approx(229.75)
    assert found.grid.n_channels == 1
    assert found.grid.centre_kms(0) == pytest.approx(0.0, abs=1e-9)


def test_a_continuum_range_in_channels():
    found = continuum_setup([[native(0.635)]], (229.3, 229.9), channel_ghz=0.1)
    assert found is not None
    (way,) = found.regrids
    assert (way.factor, way.n_channels) == (204, 1224)
    assert way.width_kms == pytest.approx(0.64005700, abs=1e-8)
    grid = found.grid
    centres = [grid.restfreq_ghz * (1 - grid.centre_kms(n) / C_KMS) for n in range(grid.n_channels)]
    assert centres == pytest.approx([229.85, 229.75, 229.65, 229.55, 229.45, 229.35])


def test_inputs_of_a_continuum_range_share_its_channels():
    found = continuum_setup([[native(0.635)], [native(1.27)], [native(2000.0)]], (229.3, 229.9), channel_ghz=0.1)
    assert found is not None
    assert {round(way.first_output_kms, 7) for way in found.regrids} == {round(found.grid.centre_kms(0), 7)}
    assert found.too_wide == ((2, 0),)


def test_smearing_limits_the_channel():
    assert smearing_limit_ghz(230.0, 12.0, 1200.0) == pytest.approx(0.23)
    assert smearing_limit_ghz(230.0, 12.0, 5.0) == pytest.approx(23.0)
