"""Minor cycles: the peaks of one residual plane are modelled by components of several sizes, with the PSF taken out.

Arrays of one channel only: it knows neither files nor the other channels, so a channel's result cannot depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Bandwidth of the prolate spheroidal taper of a component, pi m / 2 with the usual support of m = 6 cells.
_TAPER = 3.0 * np.pi
# A component of finite size may be put where at least this part of it lies inside the clean mask.
_INSIDE = 0.9


@dataclass(frozen=True)
class CycleControl:
    """When a minor cycle ends and the model is compared with the data again.

    The names are tclean's: the peak may fall to ``clip(cyclefactor * sidelobe, minpsffraction, maxpsffraction)`` of its
    value at the start, and no more than `cycleniter` components are taken.
    """

    gain: float = 0.1
    cyclefactor: float = 1.0
    minpsffraction: float = 0.05
    maxpsffraction: float = 0.8
    cycleniter: int = 1000

    def fraction(self, sidelobe: float) -> float:
        """Return to which part of the starting peak one cycle may clean, for a PSF with this largest sidelobe."""
        return min(max(self.cyclefactor * sidelobe, self.minpsffraction), self.maxpsffraction)


@dataclass(frozen=True)
class Scales:
    """The sizes of the components: radii in pixels, and how much small ones are preferred (0 none, 1 most).

    With `alike` the preference decides which component comes next and no more: a threshold means the same significance
    at every scale, and each is cleaned down to it, by components that reach it themselves. Without, as in tclean, what
    is large is left at a multiple of the threshold.
    """

    pixels: tuple[int, ...] = (0,)
    small_scale_bias: float = 0.0
    alike: bool = False

    def weights(self) -> NDArray[np.float64]:
        """Return the preference of every scale: ``1 - bias * size / largest size``."""
        largest = max(self.pixels)
        return np.array([1.0 - self.small_scale_bias * size / largest if largest else 1.0 for size in self.pixels])


@dataclass
class Cleaner:
    """The PSF of one channel, convolved with all pairs of component shapes once, and the mask in their sight.

    Parameters
    ----------
    psf
        (ny, nx), in units of its peak.
    mask
        (ny, nx), where components may lie.
    scales
        Their sizes.
    """

    psf: Plane
    mask: Mask
    scales: Scales = field(default_factory=Scales)

    def __post_init__(self) -> None:
        self.shapes = [component(size) for size in self.scales.pixels]
        peak = np.unravel_index(int(np.argmax(self.psf)), self.psf.shape)
        self.centre = (int(peak[0]), int(peak[1]))
        once = [convolve(self.psf, shape) for shape in self.shapes]
        self.cross = np.array([[convolve(plane, shape) for shape in self.shapes] for plane in once], dtype=np.float32)
        self.norm = np.array([self.cross[k, k][self.centre] for k in range(len(self.shapes))])
        self.look_in(self.mask)

    def look_in(self, mask: Mask) -> None:
        """Take components inside `mask` from now on.

        Raises
        ------
        ValueError
            The mask is empty.
        """
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            raise ValueError("the mask is empty")
        self.mask = mask
        self.box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        weight = np.sqrt(self.scales.weights() / self.norm)
        self.handicap = np.sqrt(self.scales.weights()) if self.scales.alike else np.ones(len(weight))
        inside = [convolve(mask.astype(np.float32), shape) > _INSIDE for shape in self.shapes]
        self.weight = np.array(
            [w * (i & mask)[self.box] for w, i in zip(weight, inside, strict=True)], dtype=np.float32
        )

    def peak(self, residual: Plane) -> float:
        """Return the height of the most significant feature of `residual`, at any scale, in units of the residual."""
        heights = (np.abs(self._seen(residual)) * self.weight).max(axis=(1, 2))
        return float((heights / self.handicap).max())

    def run(
        self, residual: Plane, control: CycleControl, threshold: float, into: NDArray[np.float32] | None = None
    ) -> tuple[Plane, int]:
        """Take components off `residual` until the peak is down to `threshold` or the cycle is at its end.

        Each component is the one that lowers the sum of squares most (matching pursuit; Cornwell 2008, IEEE JSTSP 2,
        793), after the preference for small scales; with one scale of size 0 this is Högbom (1974, A&AS 15, 417).

        Parameters
        ----------
        residual
            (ny, nx), Jy/beam; it is not changed.
        threshold
            Jy/beam, of the peak as `peak` measures it.
        into
            Of the shape of `weight`: to this is added what was taken (Jy), by scale and place.

        Returns
        -------
        tuple
            What is to be added to the model, (ny, nx) in Jy/pixel, and the number of components.
        """
        seen = self._seen(residual)
        taken = np.zeros_like(seen)
        flat, buffer = taken.reshape(len(taken), -1), np.empty_like(seen)
        rows, every, width = buffer.reshape(flat.shape), np.arange(len(flat)), seen.shape[2]
        first, count = 0.0, 0
        while count < control.cycleniter:
            np.abs(seen, out=buffer)
            np.multiply(buffer, self.weight, out=buffer)
            places = rows.argmax(axis=1)
            heights = rows[every, places]
            significant = heights / self.handicap
            height = float(significant.max())
            first = first or height
            if height <= threshold or height > 2.0 * first:
                break
            scale = int(np.where(significant > threshold, heights, -1.0).argmax())
            at = int(places[scale])
            amount = control.gain * float(seen.reshape(len(seen), -1)[scale, at]) / self.norm[scale]
            flat[scale, at] += amount
            self._subtract(seen, scale, divmod(at, width), np.float32(amount))
            count += 1
        if into is not None:
            into += taken
        return self._render(taken), count

    def _seen(self, residual: Plane) -> NDArray[np.float32]:
        return np.array([convolve(residual, shape)[self.box] for shape in self.shapes], dtype=np.float32)

    def _subtract(self, seen: NDArray[np.float32], scale: int, at: tuple[int, int], amount: np.float32) -> None:
        target, source = [], []
        for position, centre, have, extent in zip(at, self.centre, self.psf.shape, seen.shape[1:], strict=True):
            low, high = max(0, position - centre), min(extent, position - centre + have)
            target.append(slice(low, high))
            source.append(slice(low - position + centre, high - position + centre))
        seen[:, target[0], target[1]] -= amount * self.cross[scale][:, source[0], source[1]]

    def _render(self, taken: NDArray[np.float32]) -> Plane:
        model = np.zeros(self.psf.shape, dtype=np.float32)
        for layer, shape in zip(taken, self.shapes, strict=True):
            if not layer.any():
                continue
            plane = np.zeros(self.psf.shape, dtype=np.float32)
            plane[self.box] = layer
            model += convolve(plane, shape)
        return model


def component(radius_pixels: int) -> Plane:
    """Return the shape of a component: a tapered paraboloid of unit sum (Cornwell 2008, equation 4)."""
    if radius_pixels <= 0:
        return np.ones((1, 1), dtype=np.float32)
    offset = np.arange(-radius_pixels, radius_pixels + 1)
    r = np.hypot(*np.meshgrid(offset, offset)) / radius_pixels
    taper = np.zeros_like(r)
    taper[r < 1] = special.pro_ang1(0, 0, _TAPER, r[r < 1])[0]
    shape = np.maximum(taper * (1 - r**2), 0.0)
    return np.asarray(shape / shape.sum(), dtype=np.float32)


def convolve(plane: Plane, shape: Plane) -> Plane:
    """Return `plane` convolved with a small, centred, odd-sized `shape`; nothing is wrapped round the edges."""
    if shape.size == 1:
        return np.asarray(plane * shape[0, 0])
    full = [fft.next_fast_len(n + k - 1, real=True) for n, k in zip(plane.shape, shape.shape, strict=True)]
    product = fft.irfft2(fft.rfft2(plane, full) * fft.rfft2(shape, full), full)
    y, x = shape.shape[0] // 2, shape.shape[1] // 2
    return np.asarray(product[y : y + plane.shape[0], x : x + plane.shape[1]], dtype=np.float32)
