"""Masks that follow the clean: what stands above noise and sidelobes in the residual, cycle after cycle.

The algorithm is auto-multithresh (Kepley et al. 2020, PASP 132, 024505), with tclean's names for its parameters. Arrays
of one channel only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fringeflow_imaging.beam import Beam, beam_area_pixels, gaussian
from fringeflow_imaging.minor import Mask, Plane, convolve


@dataclass(frozen=True)
class Thresholds:
    """What is masked; the names are tclean's.

    Parameters
    ----------
    sidelobethreshold
        In units of the largest sidelobe of the PSF times the residual's peak.
    noisethreshold, lownoisethreshold
        In units of the noise: what begins a mask, and down to where a mask grows.
    negativethreshold
        In units of the noise: negative features below this are masked; 0 masks none.
    smoothfactor, cutthreshold
        A mask is convolved with a Gaussian of so many beams' width and cut at this part of the result's peak.
    minbeamfrac
        Regions smaller than this part of the beam's area are dropped; 0 keeps all.
    growiterations, dogrowprune
        By how many pixels at most an earlier mask grows in one cycle, and whether small regions of what it grew into
        are dropped too.
    minpercentchange
        A mask that changed by less, in percent of its pixels, changes no more; below 0 it always may.
    """

    sidelobethreshold: float = 3.0
    noisethreshold: float = 5.0
    lownoisethreshold: float = 1.5
    negativethreshold: float = 0.0
    smoothfactor: float = 1.0
    cutthreshold: float = 0.01
    minbeamfrac: float = 0.3
    growiterations: int = 75
    dogrowprune: bool = True
    minpercentchange: float = -1.0


@dataclass
class AutoMask:
    """The mask of one channel on its way.

    Parameters
    ----------
    allowed
        (ny, nx): nothing outside is ever masked.
    sidelobe
        Largest sidelobe of the PSF, in units of its peak.
    beam, cell_arcsec
        Beam (FWHM in arcsec) and pixel.
    """

    allowed: Mask
    thresholds: Thresholds
    sidelobe: float
    beam: Beam
    cell_arcsec: float

    def __post_init__(self) -> None:
        major, minor, angle = self.beam
        factor = self.thresholds.smoothfactor
        self._kernel = gaussian((factor * major, factor * minor, angle), self.cell_arcsec) if factor > 0 else None
        self._least = self.thresholds.minbeamfrac * beam_area_pixels(self.beam, self.cell_arcsec)
        self.core = np.zeros_like(self.allowed)
        self.settled = False
        self.mask: NDArray[np.bool_] = np.zeros_like(self.allowed)

    def follow(self, residual: Plane, noise: float) -> Mask:
        """Take in a residual (Jy/beam) with its noise; return the mask, which only ever grows."""
        if self.settled or noise <= 0:
            return self.mask
        limits = self.thresholds
        seen = np.where(self.allowed, residual, np.float32(0))
        sidelobe = limits.sidelobethreshold * self.sidelobe * float(np.abs(seen).max())
        bright = self._pruned(seen > max(sidelobe, limits.noisethreshold * noise))
        self.core |= bright | self._grown(seen > max(sidelobe, limits.lownoisethreshold * noise))
        mask = self.mask | (self._smoothed(self.core) & self.allowed)
        if limits.negativethreshold > 0:
            negative = seen < -max(sidelobe, limits.negativethreshold * noise)
            mask |= self._smoothed(negative) & self.allowed
        before, change = int(self.mask.sum()), int((mask ^ self.mask).sum())
        self.settled = before > 0 and 100.0 * change / before < limits.minpercentchange
        self.mask = mask
        return mask

    def go_on_from(self, mask: Mask, core: Mask, *, settled: bool) -> None:
        """Be where another of the same parameters was: its mask, what that was before smoothing, whether it settled."""
        self.mask, self.core, self.settled = mask, core, settled

    def _grown(self, faint: Mask) -> Mask:
        """Return what was bright before, grown into `faint`; nothing if there was nothing.

        It grows from before smoothing: from the smoothed mask it would gain a beam's width of noise in every cycle.
        """
        steps = self.thresholds.growiterations
        if steps <= 0 or not self.core.any():
            return np.zeros_like(faint)
        wide = ndimage.binary_dilation(self.core, iterations=steps, mask=faint | self.core)
        return self._pruned(wide) if self.thresholds.dogrowprune else np.asarray(wide)

    def _pruned(self, mask: Mask) -> Mask:
        labels, count = ndimage.label(mask)
        if not count or self._least <= 0:
            return mask
        large = np.bincount(labels.ravel()) >= self._least
        large[0] = False
        return np.asarray(large[labels])

    def _smoothed(self, mask: Mask) -> Mask:
        if self._kernel is None or not mask.any():
            return mask
        smooth = convolve(mask.astype(np.float32), self._kernel)
        return np.asarray(smooth > self.thresholds.cutthreshold * float(smooth.max()))
