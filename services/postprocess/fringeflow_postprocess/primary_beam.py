"""Primary-beam correction of one plane. No files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def usable(image: NDArray[np.float32], response: NDArray[np.float32], cutoff: float) -> NDArray[np.bool_]:
    """Return where `image` is valid and the primary beam's `response` is at least `cutoff` (and positive)."""
    found: NDArray[np.bool_] = np.isfinite(image) & (response >= cutoff) & (response > 0)
    return found


def corrected(image: NDArray[np.float32], response: NDArray[np.float32], cutoff: float) -> NDArray[np.float32]:
    """Return ``image / response``, blank where not usable (postprocess specification, 6.3).

    Parameters
    ----------
    image, response
        Of one shape; NaN where blank.
    cutoff
        Least response kept: the `pblimit` that imaging used.
    """
    result = np.full(image.shape, np.nan, dtype=np.float32)
    np.divide(image, response, out=result, where=usable(image, response, cutoff))
    return result
