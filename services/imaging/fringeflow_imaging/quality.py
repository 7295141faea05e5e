"""How well an image was cleaned: noise by channel, what is left in the mask, why it ended. Takes planes one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging.noise import robust_sigma

_PERCENTILES = (99.0, 95.0, 90.0)


class CubeQuality:
    """Figures of the residual (imaging specification, section 13.3)."""

    def __init__(self) -> None:
        self._noise: list[float] = []
        self._inside: list[NDArray[np.floating[Any]]] = []

    def add(self, residual: NDArray[np.floating[Any]], mask: NDArray[np.bool_]) -> None:
        """Take in one channel of the residual, blank where invalid."""
        good = np.isfinite(residual)
        self._noise.append(robust_sigma(residual[good & ~mask]))
        self._inside.append(residual[good & mask])

    def watch(
        self, residuals: Iterable[NDArray[np.floating[Any]]], masks: Iterable[NDArray[np.bool_]]
    ) -> Iterator[NDArray[np.floating[Any]]]:
        """Pass planes on, each looked at with its mask."""
        for residual, mask in zip(residuals, masks, strict=True):
            self.add(residual, np.asarray(mask))
            yield residual

    def report(self) -> dict[str, Any]:
        """Return noise by channel (Jy/beam) and the residual inside the mask: rms, maximum, percentiles."""
        inside = np.concatenate(self._inside) if self._inside else np.zeros(0)
        figures: dict[str, Any] = {"noise": self._noise, "noise_median": float(np.median(self._noise))}
        if inside.size:
            figures["residual_in_mask"] = {
                "rms": float(np.sqrt(np.mean(np.square(inside, dtype=np.float64)))),
                "max": float(inside.max()),
                **{f"p{level:.0f}": float(np.percentile(inside, level)) for level in _PERCENTILES},
            }
        return figures


def stop_counts(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return for how many channels cleaning stopped for which reason, and for which channels if it was not the aim."""
    reasons: dict[str, list[str]] = {}
    for record in records:
        for channel, reason in record["stop"].items():
            reasons.setdefault(reason, []).append(channel)
    expected = ("threshold", "empty mask", "noise")
    return {
        reason: str(len(found)) if reason in expected else f"{len(found)}: channels {', '.join(found)}"
        for reason, found in sorted(reasons.items())
    }
