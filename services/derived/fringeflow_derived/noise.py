"""The noise of a cube as the product of an image and a spectrum, measured where there is no signal.

Arrays only: what holds the cube is a source of planes and rows (`sources`), so that no cube need fit into memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from fringeflow_derived import fields
from fringeflow_derived.codes import LEVELS
from fringeflow_derived.samples import CodedSamples
from fringeflow_derived.sources import Array, CubeSource, Shape, as_source

_BOXES_AT_ONCE = 1000
_CHANNELS_AT_EDGE = 4
"""A box over a corner of the array has a quarter of its pixels."""

_RIDGE_OF_ONE_CHANNEL = 0.02
"""The variance of the logarithm of a box's scale, 0.2 over the number of channels, in units of a steep rise (by e
within 3 beams) and shared by the ten boxes that a trend is fitted to."""


@dataclass(frozen=True)
class NoiseOptions:
    """How noise is measured (derived specification, section 6.1); None stands for a value that follows from the beam.

    `signal_rounds` is how often the signal found with one estimate is left out of the next; 0 measures once, with
    everything, as the reference does. `trend` says whether the fill follows the local trend of the measured scales
    (None: with signal rounds only); the reference's is a mere average, too low by tens of per cent where the noise
    rises steeply towards the edge. `use_fft` is accepted for compatibility: the fill is computed exactly whatever it
    says.
    """

    box: int | None = None
    substride: int | None = None
    spec_box: int = 5
    bandpass_smooth_window: int | None = None
    bandpass_smooth_order: int = 3
    iterations: int = 4
    nThresh: int = 30  # noqa: N815 - the name in the keys
    do_map: bool = True
    do_spec: bool = True
    oversample_boundary: bool = False
    use_fft: bool = True
    signal_rounds: int = 2
    trend: bool | None = None

    @property
    def follows_trend(self) -> bool:
        """Whether the fill follows the trend."""
        return self.signal_rounds > 0 if self.trend is None else self.trend


@dataclass(frozen=True)
class NoiseModel:
    """Separable noise: `image` (ny, nx) times `spectrum` (nchan), both float64; itself a source of planes and rows."""

    image: Array
    spectrum: Array

    @property
    def shape(self) -> Shape:
        """Channels, rows, columns."""
        return (len(self.spectrum), *self.image.shape)

    def plane(self, channel: int) -> Array:
        """Return the noise of one channel, float32."""
        return _product(self.image, self.spectrum[channel])

    def rows(self, start: int, stop: int) -> Array:
        """Return the noise of some rows of all channels, float32."""
        return _product(self.image[np.newaxis, start:stop], self.spectrum[:, np.newaxis, np.newaxis])


def estimate(
    data: Array | CubeSource,
    pixels_per_beam: float,
    options: NoiseOptions | None = None,
    *,
    signal: Array | CubeSource | None = None,
    iterations: int | None = None,
) -> NoiseModel:
    """Measure the noise of a cube or image, leaving out where `signal` is true; see `Samples` for the others."""
    return Samples(data, pixels_per_beam, options).estimate(signal, iterations)


def beam_diameter_pixels(pixels_per_beam: float) -> float:
    """Return the diameter of the disc that has the beam's area."""
    return math.sqrt(4 * pixels_per_beam / math.pi)


class Samples:
    """The samples of one cube, from which its noise is estimated as often as needed (derived specification, 6.3).

    Parameters
    ----------
    data
        (nchan, ny, nx) or (ny, nx), NaN where blank.
    pixels_per_beam
        Beam area over pixel area.
    options
        See `NoiseOptions`.
    rows
        Rows per block; the noise does not depend on it.
    cores
        Blocks looked at at once; the noise does not depend on it.
    """

    def __init__(
        self,
        data: Array | CubeSource,
        pixels_per_beam: float,
        options: NoiseOptions | None = None,
        *,
        rows: int | None = None,
        cores: int = 1,
    ) -> None:
        source = as_source(data)
        self.options = options or NoiseOptions()
        self.shape = source.shape
        self._box = self.options.box or math.ceil(2.5 * math.sqrt(pixels_per_beam))
        self._half = self._box // 2
        self._stride = self.options.substride or max(1, math.floor(beam_diameter_pixels(pixels_per_beam) / 2.5))
        self._samples = CodedSamples(source, self._stride, rows, cores)
        self._footprint = self._samples.footprint
        self._centres = self._find_centres()
        self._places = fields.Places(*self._centres[:2], self._footprint.shape, self._box)

    def estimate(
        self,
        signal: Array | CubeSource | None = None,
        iterations: int | None = None,
        start: NoiseModel | None = None,
    ) -> NoiseModel:
        """Return the noise where `signal` is false.

        Parameters
        ----------
        signal
            Boolean, as the data in shape.
        iterations
            Refinements, in place of the option's.
        start
            What to refine; None: the same noise everywhere.

        Returns
        -------
        NoiseModel
            Finite wherever any channel of the cube is (derived specification, W10), in the cube's unit.
        """
        typical, codes = self._samples.typical, self._samples.codes
        image, spectrum = np.where(self._footprint, typical, np.nan), np.ones(self.shape[0])
        if start is not None:
            image, spectrum = start.image, start.spectrum
        if not math.isfinite(typical):
            return NoiseModel(image, spectrum)
        self._samples.leave_out(None if signal is None else as_source(signal))
        for _ in range(max(1, self.options.iterations if iterations is None else iterations)):
            found = self._image(image, spectrum)
            found *= image
            image = codes.bounded_image(found)
            spectrum = codes.bounded_spectrum(spectrum * self._spectrum(image, spectrum))
        return NoiseModel(image, spectrum)

    def _image(self, image: Array, spectrum: Array) -> Array:
        """Return the spatial part of the samples over image and spectrum: (ny, nx), NaN outside the footprint."""
        if not self.options.do_map:
            total = self._samples.by_channel(image, spectrum).sum(axis=0, keepdims=True)
            return np.where(self._footprint, LEVELS.scales(total)[0][0], np.nan)
        wanted = self._centres[2]
        scales, counts = np.full(wanted.shape, np.nan), np.zeros(wanted.shape, int)
        places, done, waiting = np.flatnonzero(wanted), 0, np.empty((0, LEVELS.count), np.int32)
        for row, found in enumerate(self._boxes(image, spectrum), start=1):
            waiting = np.concatenate([waiting, found[wanted[row - 1]]])
            if len(waiting) >= _BOXES_AT_ONCE or row == len(wanted):
                some = places[done : done + len(waiting)]
                scales.flat[some], counts.flat[some] = LEVELS.scales(waiting)
                done, waiting = done + len(waiting), waiting[:0]
        # On images too small for any full box, the fullest boxes have to do.
        enough = min(self.options.nThresh, int(counts.max(initial=0)) // 2)
        scales[counts <= enough] = np.nan
        found = self._fill(scales, counts)
        found[~self._footprint] = np.nan
        return found

    def _fill(self, scales: Array, counts: Array) -> Array:
        """Return scales of boxes smoothed on every pixel."""
        ys, xs, _ = self._centres
        if not self.options.follows_trend:
            return self._places.spread(scales)
        ridge = _RIDGE_OF_ONE_CHANNEL / self.shape[0]
        trend = self._places.trend(scales, counts, ridge)
        return self._places.spread(scales / trend[np.ix_(ys, xs)], trend)

    def _spectrum(self, image: Array, spectrum: Array) -> Array:
        """Return the spectral part of the samples over image and spectrum: (nchan,), median 1 if it is smoothed."""
        channels, options = self.shape[0], self.options
        if channels == 1 or not options.do_spec:
            return np.ones(channels)
        counts = self._samples.by_channel(image, spectrum)
        half = options.spec_box // 2
        pooled = [counts[max(0, channel - half) : channel + half + 1].sum(axis=0) for channel in range(channels)]
        scales, _ = LEVELS.scales(np.array(pooled))
        return _smooth_bandpass(scales, options.bandpass_smooth_window, options.bandpass_smooth_order)

    def _find_centres(self) -> tuple[Array, Array, Array]:
        """Return rows and columns that have centres of boxes, and which of their crossings are centres."""
        height, width = self._footprint.shape
        side = math.ceil(math.sqrt(np.count_nonzero(self._footprint)))
        step = max(1, min(math.floor(self._box / 2.5), side // 20))
        # A trend takes boxes that stick out of the array, too, where channels make up for the pixels they lack.
        half = 0 if self.options.follows_trend and self.shape[0] >= _CHANNELS_AT_EDGE else self._half
        ys, xs = _places(height, half, step), _places(width, half, step)
        if self.options.oversample_boundary:
            grid = np.zeros(self._footprint.shape, bool)
            grid[np.ix_(ys, xs)] = True
            return np.arange(height), np.arange(width), self._footprint & (grid | self._near_boundary())
        wanted = self._footprint[np.ix_(ys, xs)]
        return ys, xs, wanted if wanted.any() else np.ones_like(wanted)

    def _near_boundary(self) -> Array:
        """Return the pixels within half a box of a blank pixel (or of the array's edge)."""
        inner: Array = ndimage.binary_erosion(self._footprint, np.ones((self._box, self._box)))
        return ~inner

    def _boxes(self, image: Array, spectrum: Array) -> Iterator[Array]:
        """Yield how many samples of each box are of which level: (columns of centres, levels), for each row of them."""
        ys, xs, _ = self._centres
        stride, half = self._stride, self._half
        columns = np.arange(0, self.shape[2], stride)
        inside = sparse.csr_array((np.abs(xs[:, np.newaxis] - columns) <= half).astype(np.int32))
        recent: deque[tuple[int, Array]] = deque()
        total = np.zeros((len(columns), LEVELS.count), np.int32)
        rows = self._samples.by_pixel(image, spectrum)
        ahead = next(rows, None)
        for y in ys:
            while ahead is not None and ahead[0] <= y + half:
                recent.append(ahead)
                total += ahead[1]
                ahead = next(rows, None)
            while recent and recent[0][0] < y - half:
                total -= recent.popleft()[1]
            yield inside @ total


def _product(first: Array, second: Array) -> Array:
    """Return the product in single precision."""
    return np.multiply(np.asarray(first, np.float32), np.asarray(second, np.float32))


def _places(size: int, half: int, step: int) -> Array:
    """Return where boxes lie along one axis: centres of boxes `half` within, or the middle where none fits."""
    if half:
        return np.asarray(range(half, size - half, step) if size > 2 * half else [size // 2])
    return np.arange((size - 1) % step // 2, size, step)


def _smooth_bandpass(scales: Array, window: int | None, order: int) -> Array:
    """Fill channels without samples and smooth (Savitzky-Golay, end channels repeated), with median 1.

    On few channels the window is short and the order lowered to match (derived specification, W7).
    """
    finite = np.isfinite(scales)
    if not finite.any():
        return np.ones_like(scales)
    channels = np.arange(len(scales))
    filled = np.interp(channels, channels[finite], scales[finite])
    window = 2 * (math.ceil(len(scales) / 5) // 2) + 1 if window is None else window
    if window < 3:
        return filled
    half = window // 2
    powers = np.vander(np.arange(-half, half + 1), min(order, 2 * half - 1) + 1, increasing=True)
    weights = np.linalg.pinv(powers.astype(float))[0]
    padded = np.pad(filled, half, mode="edge")
    smooth = np.array([np.sum(weights * padded[start : start + 2 * half + 1]) for start in channels])
    return np.asarray(smooth / np.median(smooth))
