"""The clean of visibilities and a single dish's cube together: what residual and PSF become with both. Arrays only.

With the dish's beam G (of integral one, * is convolution), the areas of both beams and the weight of the dish w::

    PSF      = P - G * P + w (area_I / area_S) G_peak
    residual = R - G * R + w (area_I / area_S) (S - G_peak * sky)

where G_peak is G with a peak of one, S the dish's image in Jy per own beam and sky the model in Jy/pixel: both are the
feather of what the two instruments say (Rau, Naik & Braun 2019, AJ 158, 3; CASA's sdintimaging), divided by the peak
the PSF has then. Mosaics are cleaned with flat noise, so that a model is the sky times the primary beam's response:
it is divided by it for the dish, and what the dish says is multiplied with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging.beam import Beam, beam_area_pixels, gaussian
from fringeflow_imaging.dish import Dish
from fringeflow_imaging.minor import Plane, convolve

Cube = NDArray[np.float32]
Bools = NDArray[np.bool_]


class Joint:
    """Brings in the single dish.

    Parameters
    ----------
    dish
        Its cube on the grid of the images; a channel it does not have is cleaned without it.
    psf
        Of the interferometer, (channels, ny, nx); a channel without data is 0.
    response, valid
        Of the primary beam, and where the image is valid.
    found
        Beam of every channel of the interferometer.
    cell_arcsec
        Pixel.
    weight
        Of the dish against the interferometer; 1 as they are calibrated.
    """

    def __init__(
        self,
        dish: Dish,
        psf: Cube,
        response: Cube,
        valid: Bools,
        found: Sequence[Beam | None],
        *,
        cell_arcsec: float,
        weight: float = 1.0,
    ) -> None:
        self._dish, self._response = dish.cube, np.where(valid, response, np.float32(0))
        self._peaked = gaussian(dish.beam, cell_arcsec)
        self._smooth = np.asarray(self._peaked / self._peaked.sum(dtype=np.float64), dtype=np.float32)
        area = beam_area_pixels(dish.beam, cell_arcsec)
        self._share = [
            weight * beam_area_pixels(beam, cell_arcsec) / area if beam and np.isfinite(plane).any() else 0.0
            for beam, plane in zip(found, dish.cube, strict=True)
        ]
        both = [self._with_dish(plane, share) for plane, share in zip(psf, self._share, strict=True)]
        self._peak = [float(plane.max()) or 1.0 for plane in both]
        self.psf = np.array([plane / np.float32(peak) for plane, peak in zip(both, self._peak, strict=True)])

    def residual(self, residual: Cube, model: Cube) -> Cube:
        """Return what both say is left of the sky, from the interferometer's residual of a model."""
        together = residual.copy()
        for index, share in enumerate(self._share):
            if not share:
                continue
            response = self._response[index]
            seen = response > 0
            sky = np.where(seen, model[index] / np.where(seen, response, 1), np.float32(0))
            left = np.nan_to_num(self._dish[index] - convolve(sky, self._peaked)) * response
            own = np.where(seen, residual[index], np.float32(0))
            both = own - convolve(own, self._smooth) + np.float32(share) * left
            together[index] = np.where(seen, both / np.float32(self._peak[index]), np.float32(0))
        return together

    def major_cycle(self, residual_of: Callable[[Cube], Cube]) -> Callable[[Cube], Cube]:
        """Return the major cycle with both, made of the interferometer's."""
        return lambda model: self.residual(residual_of(model), model)

    def _with_dish(self, psf: Plane, share: float) -> Plane:
        if not share:
            return psf
        peak = np.unravel_index(int(np.argmax(psf)), psf.shape)
        point = np.zeros_like(psf)
        point[peak] = 1.0
        return psf - convolve(psf, self._smooth) + np.float32(share) * convolve(point, self._peaked)
