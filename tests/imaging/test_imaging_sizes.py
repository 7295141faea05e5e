"""Cell, image size and blocks at every boundary."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow_imaging import sizes


@pytest.mark.parametrize(
    ("estimate", "cell"),
    [
        ("0.0099", "0.0099"),
        ("0.01", "0.01"),
        ("0.014", "0.01"),
        ("0.015", "0.015"),
        ("0.049", "0.045"),
        ("0.05", "0.05"),
        ("0.099", "0.09"),
        ("0.1", "0.1"),
        ("0.14", "0.1"),
        ("0.3", "0.3"),
        ("0.49", "0.45"),
        ("0.5", "0.5"),
        ("0.99", "0.9"),
        ("1.0", "1"),
        ("1.2", "1"),
        ("1.9", "1.75"),
        ("2.0", "2"),
        ("2.4", "2"),
        ("4.9", "4.5"),
        ("5.0", "5"),
        ("5.7", "5"),
        ("11", "11"),
    ],
)
def test_cells_are_rounded_down_to_handy_numbers(estimate, cell):
    assert sizes.round_cell(Decimal(estimate)) == Decimal(cell)


@given(st.decimals(min_value="0.01", max_value="60", places=3))
def test_a_cell_never_grows_and_rounding_again_changes_nothing(estimate):
    cell = sizes.round_cell(estimate)
    assert 0 < cell <= estimate
    assert sizes.round_cell(cell) == cell


def test_estimates_have_two_digits():
    assert sizes.two_digits(0.2983) == Decimal("0.30")
    assert sizes.two_digits(11.46) == Decimal(11)


def test_grid_of_a_known_array():
    # 230.538 GHz, 95 % of baselines below 300 m: wavelength / baseline 0.894 arcsec, a fifth of it 0.18, rounded 0.15;
    # dish of 12 m: beam 25.3 arcsec, out to 0.2 on both sides 38.5, that is 214 cells of 0.18, 216 for the transform,
    # and a fifth more 311 of 0.15.
    grid = sizes.choose_grid(baseline_m=300.0, frequency_hz=230.538e9, dish_m=12.0)
    assert grid == sizes.Grid(Decimal("0.15"), 320, 320)


def test_pointings_widen_their_own_axis_only_unless_square():
    shared = {"baseline_m": 300.0, "frequency_hz": 230.538e9, "dish_m": 12.0, "offsets_arcsec": (60.0, 0.0)}
    grid = sizes.choose_grid(**shared)
    assert (grid.nx, grid.ny) == (900, 320)
    square = sizes.choose_grid(**shared, force_square=True)
    assert (square.nx, square.ny) == (900, 900)


def test_size_is_recomputed_only_when_overridden():
    grid = sizes.Grid(Decimal("0.3"), 320, 288)
    untouched = sizes.overridden_grid(grid, cell_arcsec=None, width_arcsec=None, height_arcsec=None)
    assert untouched == grid
    finer = sizes.overridden_grid(grid, cell_arcsec=Decimal("0.15"), width_arcsec=None, height_arcsec=None)
    assert (finer.nx, finer.ny) == (640, 576)
    wider = sizes.overridden_grid(grid, cell_arcsec=None, width_arcsec=Decimal(-100), height_arcsec=None)
    assert (wider.nx, wider.ny) == (360, 288)  # 334 cells, and the next friendly number


def test_pixels_that_are_given_stay_and_widths_go_before_them():
    grid = sizes.Grid(Decimal("0.3"), 320, 288)

    def size(cell=None, width=None):
        found = sizes.overridden_grid(grid, cell_arcsec=cell, width_arcsec=width, height_arcsec=None, pixels=(218, 100))
        return found.cell_arcsec, found.nx, found.ny

    assert size() == (Decimal("0.3"), 218, 100)
    assert size(cell=Decimal("0.15")) == (Decimal("0.15"), 218, 100)
    assert size(width=Decimal(100)) == (Decimal("0.3"), 360, 100)


@given(st.integers(1, 20000))
def test_friendly_sizes_are_even_and_of_small_primes(pixels):
    size = sizes.friendly(pixels)
    assert size >= pixels
    assert size % 2 == 0
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    assert size == 1


def test_an_image_beyond_all_sizes_is_refused():
    with pytest.raises(sizes.DataError, match="too large"):
        sizes.friendly(10**6)


@given(st.integers(1, 90), st.integers(1, 30))
def test_blocks_hold_every_channel_once_and_are_balanced(channels, per_block):
    blocks = sizes.channel_blocks(channels, per_block)
    assert [c for first, last in blocks for c in range(first, last + 1)] == list(range(channels))
    lengths = [last - first + 1 for first, last in blocks]
    assert max(lengths) <= per_block
    assert max(lengths) - min(lengths) <= 1
    assert all(left[1] + 1 == right[0] for left, right in pairwise(blocks))


@given(st.integers(10_000, 40_000_000))
def test_blocks_fit_into_the_memory_or_are_single_channels(pixels):
    channels = sizes.channels_per_block(pixels, block_pixels=1_000_000, memory_mb=1400)
    assert channels >= 1
    assert channels == 1 or sizes.memory_estimate_mb(pixels, channels) <= 1400


def test_the_demonstration_cube_is_two_blocks():
    per_block = sizes.channels_per_block(256 * 256, block_pixels=1_000_000, memory_mb=1000)
    assert sizes.channel_blocks(23, per_block) == ((0, 11), (12, 22))


@pytest.mark.parametrize(
    ("across", "channels", "measured_mb"),
    [(256, 4, 375), (256, 16, 510), (512, 4, 512), (512, 16, 1040), (1024, 4, 1055), (1024, 8, 1747), (2048, 4, 3127)],
)
def test_a_job_takes_no_more_than_is_said_and_not_much_less(across, channels, measured_mb):
    """Peaks of processes that imaged and cleaned such blocks (benchmarks/imaging_memory.py)."""
    said = sizes.job_memory_mb(across**2, channels)
    assert measured_mb <= said < 1.4 * measured_mb
