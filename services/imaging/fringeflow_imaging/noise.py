"""How noisy a plane is, whatever signal is in it. Arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

_MAD_TO_SIGMA = 0.6744897501960817


def robust_sigma(values: NDArray[np.floating], rounds: int = 5) -> float:
    """Return the noise of `values` with Chauvenet's rejection of what is not noise.

    In every round the centre and the width of what is left are measured by the median and the median absolute
    deviation, and values are kept of which more than half a one would be expected that far out (derived from the
    imaging specification, section 13.1; the centre is the median, so that strong signal does not draw it away).

    Returns
    -------
    float
        0 if fewer than two finite values are there.
    """
    kept = np.asarray(values[np.isfinite(values)], dtype=np.float64)
    if kept.size < 2:
        return 0.0
    sigma = 0.0
    for _ in range(rounds):
        centre = np.median(kept)
        sigma = float(np.median(np.abs(kept - centre)) / _MAD_TO_SIGMA)
        if sigma == 0.0:
            return 0.0
        limit = sigma * np.sqrt(2.0) * special.erfcinv(0.5 / kept.size)
        inside = np.abs(kept - centre) < limit
        if inside.all():
            break
        kept = kept[inside]
    return sigma


def smooth_channels(sigma: NDArray[np.floating], width: int = 5) -> NDArray[np.float64]:
    """Return the running median of the channels' noise; channels without data (0) stay 0 and do not count."""
    good = np.flatnonzero(sigma > 0)
    smooth = np.zeros(len(sigma))
    if good.size:
        smooth[good] = ndimage.median_filter(np.asarray(sigma, dtype=np.float64)[good], size=width, mode="nearest")
    return smooth


def one_for_all(sigma: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the median of the channels' noise for each of them, as the reference does (imaging specification, W11).

    Channels without data (0) stay 0 and do not count.
    """
    good = sigma > 0
    return np.where(good, np.median(sigma[good]) if good.any() else 0.0, 0.0)
