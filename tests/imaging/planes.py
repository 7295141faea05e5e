"""One plane of a simulated image: a PSF with sidelobes, sources and noise seen through it, and its clean."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from fringeflow_imaging.loop import clean
from fringeflow_imaging.minor import CycleControl, Scales

SIZE, HALF = 96, 48


def make_psf():
    """Return the PSF, (SIZE, SIZE)."""
    y, x = np.mgrid[:SIZE, :SIZE] - HALF
    radius = np.hypot(x, y)
    shape = np.exp(-(radius**2) / 12) + 0.08 * np.cos(radius) * np.exp(-radius / 12)
    return (shape / shape.max()).astype(np.float32)


def seen(plane, psf):
    return fftconvolve(plane, psf)[HALF : HALF + SIZE, HALF : HALF + SIZE].astype(np.float32)


def noise_plane(psf, seed):
    plane = seen(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), psf)
    return plane / plane.std()


def cleaned(dirty, psf, stopping, **options):
    valid = np.ones((1, SIZE, SIZE), dtype=bool)
    return clean(
        (np.zeros((1, SIZE, SIZE), dtype=np.float32), dirty[None]),
        psf[None],
        valid,
        valid,
        lambda model: (dirty - seen(model[0], psf))[None],
        scales=Scales((0,)),
        control=CycleControl(cyclefactor=3.0, minpsffraction=0.6, cycleniter=30),
        sidelobes=[0.1],
        stopping=stopping,
        **options,
    )
