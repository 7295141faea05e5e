"""Whether what a clean takes is still signal: components of noise have random signs and the heights of noise.

Arrays of one channel only (imaging specification, section 9.5, with W15).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fringeflow_imaging.minor import Plane

# Widths of the PSF's main lobe across which noise has one sign: within a cell of that size components are one event.
_CELL_LOBES = 1.5


@dataclass
class NoiseTest:
    """The test of one channel; it looks at what the last cycles took.

    Components of one scale that lie close together are one event, since they model one peak: what a cell of the sky got
    counts. Each event is compared with its own size, so that large components weigh as they should.

    Parameters
    ----------
    psf
        (ny, nx), in units of its peak.
    radii
        Radii of the scales, in pixels.
    pixels
        Number of pixels in the mask of this channel.
    threshold
        |z| below which the events may be noise.
    cycles
        How many cycles are looked at.
    """

    psf: Plane
    radii: tuple[int, ...]
    pixels: int
    threshold: float
    cycles: int = 3

    def __post_init__(self) -> None:
        lobe = np.sqrt(4.0 / np.pi * float((self.psf > 0.5).sum()))
        self._cells = [max(1, int(np.ceil(_CELL_LOBES * np.hypot(lobe, 2 * radius)))) for radius in self.radii]
        self._samples = max(1.0, self.pixels / max(1.0, lobe**2))
        self._taken: deque[NDArray[np.float32]] = deque(maxlen=self.cycles)

    @property
    def taken(self) -> tuple[NDArray[np.float32], ...]:
        """What the last cycles took, the oldest first; of those `add` was told of, what still counts."""
        return tuple(self._taken)

    def add(self, taken: NDArray[np.float32]) -> None:
        """Take in what a cycle took (Jy), (scales, ny, nx)."""
        if self._taken and self._taken[-1].shape != taken.shape:  # the mask has grown: what was before is another's
            self._taken.clear()
        self._taken.append(taken)

    def is_noise(self, peak_snr: float) -> bool:
        """Return whether the components of the last cycles, and a residual peak so high, are what noise gives.

        Both must be: sources of both signs cancel in the sum, but stand out of the noise.
        """
        return (
            len(self._taken) == self.cycles
            and abs(self.z_score()) < self.threshold
            and peak_snr < noise_peak(self._samples)
        )

    def z_score(self) -> float:
        """Return the sum of all events in units of what it would be if their signs were random; 0 without any."""
        if not self._taken:
            return 0.0
        layers = np.asarray(np.sum(list(self._taken), axis=0, dtype=np.float64))
        events = [_in_cells(layers[i], cell) for i, cell in enumerate(self._cells)]
        spread = float(np.sqrt(sum(np.sum(one**2) for one in events)))
        return float(sum(one.sum() for one in events)) / spread if spread > 0 else 0.0


def noise_peak(samples: float) -> float:
    """Return the height, in units of sigma, that `samples` independent values of noise exceed in one of twenty cases.

    Both signs count: ``P(largest |x| < h) = erf(h / sqrt 2) ** samples``.
    """
    return float(np.sqrt(2.0) * special.erfinv(0.95 ** (1.0 / samples)))


def _in_cells(layer: NDArray[np.float64], cell: int) -> NDArray[np.float64]:
    rows, columns = np.arange(0, layer.shape[0], cell), np.arange(0, layer.shape[1], cell)
    return np.asarray(np.add.reduceat(np.add.reduceat(layer, rows, axis=0), columns, axis=1))
