"""The noise of a cube as the product of an image and a spectrum, measured where there is no signal.

Arrays only: what holds the cube is a source of planes and rows (`sources`), so that no cube need fit into memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fringeflow_derived.beams import FWHM_PER_SIGMA
from fringeflow_derived.robust import robust_scale
from fringeflow_derived.sources import Array, CubeSource, Shape, as_source

_SAMPLES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class NoiseOptions:
    """How noise is measured (derived specification, section 6.1); None stands for a value that follows from the beam.

    `signal_rounds` is how often the signal found with one estimate is left out of the next; 0 measures once, with
    everything. `use_fft` is accepted for compatibility: the fill is computed exactly whatever it says.
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
        return np.asarray(self.image * self.spectrum[channel], dtype=np.float32)

    def rows(self, start: int, stop: int) -> Array:
        """Return the noise of some rows of all channels, float32."""
        image = self.image[np.newaxis, start:stop]
        return (image * self.spectrum[:, np.newaxis, np.newaxis]).astype(np.float32)


def estimate(
    data: Array | CubeSource,
    pixels_per_beam: float,
    options: NoiseOptions | None = None,
    *,
    signal: Array | CubeSource | None = None,
    iterations: int | None = None,
) -> NoiseModel:
    """Measure the noise of a cube or image (derived specification, section 6.3).

    Parameters
    ----------
    data
        (nchan, ny, nx) or (ny, nx), NaN where blank.
    pixels_per_beam
        Beam area over pixel area.
    options
        See `NoiseOptions`.
    signal
        Boolean, true where there is signal, which is left out.
    iterations
        Refinements, in place of the option's.

    Returns
    -------
    NoiseModel
        Finite wherever any channel of the cube is (derived specification, W10), in the cube's unit.
    """
    options = options or NoiseOptions()
    samples = _Samples(as_source(data), None if signal is None else as_source(signal), pixels_per_beam, options)
    model = NoiseModel(np.ones(samples.shape[1:]), np.ones(samples.shape[0]))
    for _ in range(max(1, options.iterations if iterations is None else iterations)):
        image = samples.image(model)
        model = NoiseModel(model.image * image, model.spectrum)
        model = NoiseModel(model.image, model.spectrum * samples.spectrum(model))
    return model


def beam_diameter_pixels(pixels_per_beam: float) -> float:
    """Return the diameter of the disc that has the beam's area."""
    return math.sqrt(4 * pixels_per_beam / math.pi)


class _Samples:
    """The samples of one cube: where boxes lie, which values are in them, and their scales."""

    def __init__(
        self, data: CubeSource, signal: CubeSource | None, pixels_per_beam: float, options: NoiseOptions
    ) -> None:
        self._data = data
        self._signal = signal
        self._options = options
        self.shape = data.shape
        self._box = options.box or math.ceil(2.5 * math.sqrt(pixels_per_beam))
        self._stride = options.substride or max(1, math.floor(beam_diameter_pixels(pixels_per_beam) / 2.5))
        self._half = self._box // 2
        self._offsets = np.arange(-self._half, self._half + 1, self._stride)
        self._footprint = np.zeros(self.shape[1:], bool)
        for channel in range(self.shape[0]):
            self._footprint |= np.isfinite(data.plane(channel))
        self._centres = self._find_centres()

    def image(self, model: NoiseModel) -> Array:
        """Return the spatial part of data / model: (ny, nx), NaN outside the footprint."""
        if not self._options.do_map:
            every = math.ceil(math.prod(self.shape) / self._stride**2 / _SAMPLES_AT_ONCE)
            pooled = np.concatenate([self._plane(channel, model)[::every] for channel in range(self.shape[0])])
            return np.where(self._footprint, robust_scale(pooled[np.newaxis])[0][0], np.nan)
        ys, xs, wanted = self._centres
        scales, counts = np.full(wanted.shape, np.nan), np.zeros(wanted.shape, int)
        for part in self._batches(wanted):
            found = robust_scale(np.concatenate([self._boxes(int(ys[row]), xs[wanted[row]], model) for row in part]))
            chosen = np.zeros(wanted.shape, bool)
            chosen[part] = wanted[part]
            scales[chosen], counts[chosen] = found
        # On images too small for any full box, the fullest boxes have to do.
        enough = min(self._options.nThresh, int(counts.max(initial=0)) // 2)
        scales[counts <= enough] = np.nan
        filled = _spread(scales, ys, xs, self._footprint.shape, self._box / FWHM_PER_SIGMA)
        return np.where(self._footprint, filled, np.nan)

    def spectrum(self, model: NoiseModel) -> Array:
        """Return the spectral part of data / model: (nchan,), median 1 if it is smoothed."""
        channels, options = self.shape[0], self._options
        if channels == 1 or not options.do_spec:
            return np.ones(channels)
        half = options.spec_box // 2
        scales = np.empty(channels)
        pool: deque[Array] = deque(maxlen=2 * half + 1)
        for channel in range(channels + half):
            blank = np.empty(0, np.float32)
            pool.append(self._plane(channel, model) if channel < channels else blank)
            if channel >= half:
                scales[channel - half] = robust_scale(np.concatenate(list(pool))[np.newaxis])[0][0]
        return _smooth_bandpass(scales, options.bandpass_smooth_window, options.bandpass_smooth_order)

    def _find_centres(self) -> tuple[Array, Array, Array]:
        """Return rows and columns that have centres of boxes, and which of their crossings are centres."""
        height, width = self._footprint.shape
        side = math.ceil(math.sqrt(np.count_nonzero(self._footprint)))
        step = max(1, min(math.floor(self._box / 2.5), side // 20))
        if self._options.oversample_boundary:
            return np.arange(height), np.arange(width), self._near_boundary() | self._on_grid(step)
        ys, xs = _places(height, self._half, step), _places(width, self._half, step)
        wanted = self._footprint[np.ix_(ys, xs)]
        return ys, xs, wanted if wanted.any() else np.ones_like(wanted)

    def _on_grid(self, step: int) -> Array:
        grid = np.zeros(self._footprint.shape, bool)
        grid[np.ix_(*(_places(size, self._half, step) for size in grid.shape))] = True
        return grid

    def _near_boundary(self) -> Array:
        """Return the pixels of the footprint within half a box of a blank pixel (or of the array's edge)."""
        inner: Array = ndimage.binary_erosion(self._footprint, np.ones((self._box, self._box)))
        return self._footprint & ~inner

    def _plane(self, channel: int, model: NoiseModel) -> Array:
        """Return the valid samples of data / model in one channel, sub-sampled as boxes are."""
        chosen = np.s_[:: self._stride, :: self._stride]
        values = self._data.plane(channel)[chosen] / model.plane(channel)[chosen]
        valid = np.isfinite(values)
        if self._signal is not None:
            valid &= ~self._signal.plane(channel)[chosen].astype(bool)
        kept: Array = values[valid]
        return kept

    def _batches(self, wanted: Array) -> Iterator[Array]:
        """Yield numbers of rows of centres, as many as may be in memory at once."""
        rows = np.flatnonzero(wanted.any(axis=1))
        samples = self.shape[0] * len(self._offsets) ** 2 * int(wanted.sum(axis=1).max(initial=1))
        step = max(1, _SAMPLES_AT_ONCE // samples)
        return (rows[start : start + step] for start in range(0, len(rows), step))

    def _boxes(self, y: int, xs: Array, model: NoiseModel) -> Array:
        """Return the samples of the boxes centred on row `y` and columns `xs`: (centres, samples)."""
        half, offsets = self._half, self._offsets
        inside = (y + offsets >= 0) & (y + offsets < self.shape[1])
        start, stop = int((y + offsets[inside]).min()), int((y + offsets[inside]).max()) + 1
        chosen = np.s_[:, :: self._stride]
        values = self._data.rows(start, stop)[chosen] / model.rows(start, stop)[chosen]
        if self._signal is not None:
            values[self._signal.rows(start, stop)[chosen].astype(bool)] = np.nan
        band = np.full((self.shape[0], len(offsets), self.shape[2] + 2 * half), np.nan, np.float32)
        band[:, inside, half : half + self.shape[2]] = values
        return np.moveaxis(band[:, :, xs[:, np.newaxis] + half + offsets], 2, 0).reshape(len(xs), -1)


def _places(size: int, half: int, step: int) -> Array:
    """Return where boxes lie along one axis: centres of whole boxes, or the middle where none fits."""
    return np.asarray(range(half, size - half, step) if size > 2 * half else [size // 2])


def _spread(scales: Array, ys: Array, xs: Array, shape: tuple[int, ...], sigma: float) -> Array:
    """Return measured scales smoothed with a round Gaussian on every pixel, unmeasured ones having no weight.

    The centres lie on crossings of rows and columns, so the Gaussian acts on each axis in turn, exactly. Sums run in
    a fixed order, unlike those of a matrix product, which may depend on the number of threads.
    """
    measured = np.isfinite(scales)
    if not measured.any():
        return np.full(shape, np.nan)
    across = [_gaussian(size, places, sigma) for size, places in zip(shape, (ys, xs), strict=True)]
    values = np.einsum("yi,ij->yj", across[0], np.where(measured, scales, 0.0))
    weights = np.einsum("yi,ij->yj", across[0], measured.astype(float))
    values, weights = (np.einsum("yj,xj->yx", half, across[1]) for half in (values, weights))
    typical = np.median(scales[measured])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(weights > np.finfo(float).tiny, values / weights, typical))


def _gaussian(size: int, places: Array, sigma: float) -> Array:
    weights: Array = np.exp(-0.5 * ((np.arange(size)[:, np.newaxis] - places) / sigma) ** 2)
    return weights


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
