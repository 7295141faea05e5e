"""Cell, image size and channel blocks, from a few numbers about the data. Pure decimal arithmetic, no files.

Nothing here may depend on how many workers there are.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from itertools import pairwise, product

from fringeflow.errors import DataError

ARCSEC_PER_RADIAN = 206264.806247
LIGHT_M_S = 299792458.0

# From this cell size (arcsec) on, cells are multiples of that step (imaging specification, section 8.2, with W7).
_STEPS = tuple(
    (Decimal(low), Decimal(step))
    for low, step in (
        ("5", "1"),
        ("2", "0.5"),
        ("1", "0.25"),
        ("0.5", "0.1"),
        ("0.1", "0.05"),
        ("0.05", "0.01"),
        ("0.01", "0.005"),
    )
)
_FRIENDLY = sorted(2**a * 3**b * 5**c for a, b, c in product(range(1, 11), range(3), range(3)))
_PADDING = Decimal("1.2")
_FWHM_PER_LAMBDA_OVER_D = 1.13

_MEGABYTE = 1e6
# Planes of four bytes that a job holds at once per channel: CASA's gridding, and the loop's model, residual and copies.
_PLANES_PER_CHANNEL = 24
# CASA itself, and planes of a minor cycle whatever the number of channels.
_BASE_MB, _PLANES_OF_MINOR_CYCLE = 450.0, 60
# The same as measured, with a little to spare; blocks of many channels take more than the estimate.
_MEASURED_BASE_MB, _MEASURED_PLANES_PER_CHANNEL, _MEASURED_PLANES = 340.0, 42, 22


@dataclass(frozen=True)
class Grid:
    """Cell in arcsec and image size in pixels."""

    cell_arcsec: Decimal
    nx: int
    ny: int


def choose_grid(
    *,
    baseline_m: float,
    frequency_hz: float,
    dish_m: float,
    offsets_arcsec: tuple[float, float] = (0.0, 0.0),
    oversamp: float = 5.0,
    pb_level: float = 0.2,
    force_square: bool = False,
) -> Grid:
    """Choose cell and image size (imaging specification, sections 8.1 to 8.3).

    Parameters
    ----------
    baseline_m
        95th percentile of the baseline lengths.
    dish_m
        Diameter of the smallest dish.
    offsets_arcsec
        Extent of the pointings in right ascension and declination.
    oversamp
        Cells per beam.
    pb_level
        The image holds the primary beam out to this level, plus a fifth.
    """
    wavelength = LIGHT_M_S / frequency_hz
    estimate = two_digits(ARCSEC_PER_RADIAN * wavelength / baseline_m / oversamp)
    fwhm = _FWHM_PER_LAMBDA_OVER_D * wavelength / dish_m * ARCSEC_PER_RADIAN
    margin = 2 * fwhm * math.sqrt(-2 * math.log(pb_level)) / math.sqrt(8 * math.log(2))
    cell = round_cell(estimate)
    sizes = [padded_size(offset + margin, estimate, cell) for offset in offsets_arcsec]
    if force_square:
        sizes = [max(sizes)] * 2
    return Grid(cell, sizes[0], sizes[1])


def overridden_grid(
    grid: Grid,
    *,
    cell_arcsec: Decimal | None,
    width_arcsec: Decimal | None,
    height_arcsec: Decimal | None,
    pixels: tuple[int, int] | None = None,
) -> Grid:
    """Return `grid` with what the user overrides; a size is recomputed only where that changes it (W8).

    `width_arcsec` and `height_arcsec` are full widths, of which sizes follow that are even and friendly to the Fourier
    transform. They go before `pixels`, (nx, ny), which are taken as they are.
    """
    cell = grid.cell_arcsec if cell_arcsec is None else cell_arcsec
    sizes = []
    for chosen, given, asked in zip((grid.nx, grid.ny), pixels or (0, 0), (width_arcsec, height_arcsec), strict=True):
        if asked is None and (given or cell_arcsec is None):
            sizes.append(given or chosen)
        else:
            width = chosen * grid.cell_arcsec if asked is None else abs(asked)
            sizes.append(friendly(2 * math.ceil(width / cell / 2)))
    return Grid(cell, sizes[0], sizes[1])


def two_digits(value: float) -> Decimal:
    """Return `value` rounded to two significant figures."""
    return Decimal(f"{value:.1e}")


def round_cell(cell_arcsec: Decimal) -> Decimal:
    """Round a cell down to a handy number: 0.37 -> 0.35, 5.7 -> 5."""
    for low, step in _STEPS:
        if cell_arcsec >= low:
            return (cell_arcsec / step).to_integral_value(ROUND_FLOOR) * step
    return cell_arcsec


def padded_size(extent_arcsec: float, estimate_arcsec: Decimal, cell_arcsec: Decimal) -> int:
    """Return the pixels across for a field of this extent, estimated with one cell and made with another."""
    pixels = transform_size(math.ceil(Decimal(extent_arcsec) / estimate_arcsec))
    required = estimate_arcsec * pixels * _PADDING / cell_arcsec
    return _first_size(_FRIENDLY[bisect_right(_FRIENDLY, required) :], required)


def transform_size(pixels: int) -> int:
    """Return the smallest even number from `pixels` on that has no prime factor above 7, as CASA advises."""
    size = max(2, pixels + pixels % 2)
    while _rest(size) > 1:
        size += 2
    return size


def _rest(size: int) -> int:
    for prime in (2, 3, 5, 7):
        while size % prime == 0:
            size //= prime
    return size


def friendly(pixels: int) -> int:
    """Return the smallest even product of small primes that is not less than `pixels`."""
    return _first_size(_FRIENDLY[bisect_left(_FRIENDLY, pixels) :], Decimal(pixels))


def _first_size(sizes: list[int], required: Decimal) -> int:
    if not sizes:
        raise DataError(f"an image of {required:.0f} pixels across is too large", remedy="override cell or deltara")
    return sizes[0]


def channel_blocks(channels: int, per_block: int) -> tuple[tuple[int, int], ...]:
    """Split `channels` into blocks of at most `per_block`, balanced; first and last channel of each.

    >>> channel_blocks(23, 16)
    ((0, 11), (12, 22))
    """
    count = math.ceil(channels / per_block)
    edges = [round(i * channels / count) for i in range(count + 1)]
    return tuple((low, high - 1) for low, high in pairwise(edges))


def channels_per_block(pixels: int, *, block_pixels: int, memory_mb: int) -> int:
    """Return how many planes of `pixels` make a block of about `block_pixels` that fits into the memory.

    A major cycle costs as much for the first channel as for eight more, so at least four are taken if memory allows.
    """
    wanted = max(4, block_pixels // pixels)
    while wanted > 1 and memory_estimate_mb(pixels, wanted) > memory_mb:
        wanted -= 1
    return wanted


def memory_estimate_mb(pixels: int, channels: int) -> int:
    """Return what a block is taken to need when a cube is split: last bits of products follow from it."""
    planes = _PLANES_PER_CHANNEL * channels + _PLANES_OF_MINOR_CYCLE
    return math.ceil(_BASE_MB + 4 * pixels * planes / _MEGABYTE)


def job_memory_mb(pixels: int, channels: int) -> int:
    """Return what a job takes to image and clean a block, at most: the estimate, or what was measured if that is more.

    Measured with the mosaic gridder and three scales (benchmarks/imaging_memory.py).
    """
    planes = _MEASURED_PLANES_PER_CHANNEL * channels + _MEASURED_PLANES
    measured = math.ceil(_MEASURED_BASE_MB + 4 * pixels * planes / _MEGABYTE)
    return max(memory_estimate_mb(pixels, channels), measured)
