"""When a channel is finished: its history of cycles, and the verdict on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "threshold", "flux", "noise", "stalled", "diverged", "negative", "components", "cycles", "empty mask", "no data"
]


@dataclass(frozen=True)
class Stopping:
    """When a channel is finished.

    Parameters
    ----------
    snr
        The residual peak, in units of the channel's noise, at which it has converged.
    max_cycles, max_components
        The budget of one channel.
    fracflux, patience
        It has stalled when over the last `patience` cycles neither the peak fell by this part nor the model's flux
        changed by this part.
    margin
        Below 1, a cycle that can reach the threshold goes on to this part of it, and of what the noise is expected to
        fall to, so that the next residual is not left just above a threshold that falls with every cycle. With 1 it
        ends at the threshold, as tclean's does.
    growth
        It diverges when the residual peak exceeds the lowest one so far by this factor.
    stop_at_negative
        Stop when the model's total is negative.
    exclude_mask
        Measure the noise outside the clean mask: right where the mask holds just the signal.
    totalflux, fluxpercomponent
        If given, it has converged when over the last `patience` cycles the model's flux changed by less than this (Jy),
        or by less than this for every component (Jy).
    noise_z
        If given, it has converged when what the last `patience` cycles took is what noise gives; see `noisetest`.
    """

    snr: float
    max_cycles: int = 40
    max_components: int = 15000
    fracflux: float = 0.01
    patience: int = 3
    margin: float = 1.0
    growth: float = 1.2
    stop_at_negative: bool = False
    exclude_mask: bool = False
    totalflux: float | None = None
    fluxpercomponent: float | None = None
    noise_z: float | None = None


@dataclass(frozen=True)
class Row:
    """One channel after one major cycle (imaging specification, section 9.6)."""

    channel: int
    cycle: int
    components: int
    threshold: float
    noise: float
    peak: float
    model_flux: float


def verdict(rows: Sequence[Row], stopping: Stopping) -> Reason | None:
    """Return why a channel with this history is finished, or None while it is not.

    The last row is the present state. Nothing is judged by the signed total alone: a flux change is compared with the
    flux and the peak with the noise (imaging specification, W18, W19).
    """
    last = rows[-1]
    if last.peak <= last.threshold:
        return "threshold"
    if last.peak > stopping.growth * min(row.peak for row in rows):
        return "diverged"
    if stopping.stop_at_negative and last.model_flux < 0:
        return "negative"
    if last.components >= stopping.max_components:
        return "components"
    if last.cycle >= stopping.max_cycles:
        return "cycles"
    return _settled(last, rows[-1 - stopping.patience], stopping) if len(rows) > stopping.patience else None


def _settled(last: Row, before: Row, stopping: Stopping) -> Reason | None:
    change, components = abs(last.model_flux - before.model_flux), last.components - before.components
    if stopping.totalflux is not None and change < stopping.totalflux:
        return "flux"
    if stopping.fluxpercomponent is not None and change < stopping.fluxpercomponent * components:
        return "flux"
    still = last.peak > (1 - stopping.fracflux) * before.peak
    return "stalled" if still and change <= stopping.fracflux * abs(before.model_flux) else None
