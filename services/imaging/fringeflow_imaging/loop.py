"""The clean loop: minor cycles on every channel by itself, then one major cycle for all, until each has converged.

Every channel has its own noise, threshold, budget of components and verdict, so that the result of a channel does not
depend on which others it is cleaned with. Knows arrays and a function that makes residuals of models; no CASA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging.automask import AutoMask
from fringeflow_imaging.minor import Cleaner, CycleControl, Mask, Plane, Scales
from fringeflow_imaging.noise import robust_sigma
from fringeflow_imaging.noisetest import NoiseTest

Cube = NDArray[np.float32]
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


@dataclass(frozen=True)
class Outcome:
    """What became of a block of channels; `masks` is where they were cleaned at the end."""

    model: Cube
    residual: Cube
    rows: tuple[Row, ...]
    reasons: tuple[Reason, ...]
    masks: NDArray[np.bool_]

    def report(self, first_channel: int) -> dict[str, Any]:
        """Return the record as plain data, with channels counted from the start of the cube."""
        rows = [asdict(row) | {"channel": row.channel + first_channel} for row in self.rows]
        return {"rows": rows, "stop": {str(first_channel + i): reason for i, reason in enumerate(self.reasons)}}


def clean(
    start: tuple[Cube, Cube],
    psf: Cube,
    mask: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    residual_of: Callable[[Cube], Cube],
    *,
    scales: Scales,
    control: CycleControl,
    sidelobes: Sequence[float],
    stopping: Stopping,
    automasks: Sequence[AutoMask | None] = (),
) -> Outcome:
    """Clean the channels of a block to their thresholds.

    Parameters
    ----------
    start
        Model (Jy/pixel) and residual (Jy/beam), (channels, ny, nx): the state to go on from.
    psf, mask, valid
        (channels, ny, nx): PSF, where components may lie, where the image is valid.
    residual_of
        The major cycle: the residual cube of a model cube.
    sidelobes
        Largest sidelobe of every channel's PSF.
    automasks
        For every channel what finds its mask, within `mask`, cycle by cycle; None, or none at all, where `mask` is it.

    Returns
    -------
    Outcome
        A channel that diverged is returned as it was at its lowest residual peak.
    """
    model, residual = start[0].copy(), start[1]
    channels = [
        _Channel(
            i, psf[i], mask[i], valid[i], scales, control, sidelobes[i], stopping, automasks[i] if automasks else None
        )
        for i in range(len(psf))
    ]
    while True:
        for i, channel in enumerate(channels):
            channel.look(model[i], residual[i])
        if all(channel.reason for channel in channels):
            break
        for i, channel in enumerate(channels):
            if not channel.reason:
                model[i] += channel.cycle(residual[i])
        residual = residual_of(model)
    for i, channel in enumerate(channels):
        model[i], residual[i] = channel.best
    rows = tuple(row for channel in channels for row in channel.rows)
    reasons = tuple(channel.reason or "cycles" for channel in channels)
    return Outcome(model, residual, rows, reasons, np.array([channel.mask for channel in channels]))


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


class _Channel:
    """One channel on its way."""

    def __init__(
        self,
        index: int,
        psf: Plane,
        mask: Mask,
        valid: Mask,
        scales: Scales,
        control: CycleControl,
        sidelobe: float,
        stopping: Stopping,
        automask: AutoMask | None,
    ) -> None:
        self.index, self.valid, self.mask, self.control, self.stopping = index, valid, mask, control, stopping
        self.automask = automask
        self.quiet = valid & ~mask if stopping.exclude_mask else valid
        self.fraction = control.fraction(sidelobe)
        self.rows: list[Row] = []
        self.since = 0  # the row from which on the mask has been what it is: peaks in other masks are no measure
        self.reason: Reason | None = None
        self.noise_test: NoiseTest | None = None
        if not psf.any() or not valid.any():
            self.reason = "no data"
        elif not mask.any():
            self.reason = "empty mask"
        else:
            self.cleaner = Cleaner(psf, mask, scales)
            if stopping.noise_z is not None:
                size = int(mask.sum())
                self.noise_test = NoiseTest(psf, scales.pixels, size, stopping.noise_z, stopping.patience)
        self.components = 0
        self.best: tuple[Plane, Plane]

    def look(self, model: Plane, residual: Plane) -> None:
        """Measure the present state and decide whether to go on."""
        if self.reason:
            if not self.rows:
                self.best = (model.copy(), residual.copy())
            return
        noise = robust_sigma(residual[self.quiet])
        if self.automask is not None and not self._mask_anew(residual, noise, self.automask):
            self.reason, self.best = "empty mask", (model.copy(), residual.copy())
            return
        peak = self.cleaner.peak(residual)
        flux = float(model.sum(dtype=np.float64))
        threshold = self.stopping.snr * noise
        self.rows.append(Row(self.index, len(self.rows), self.components, threshold, noise, peak, flux))
        comparable = self.rows[self.since :]
        self.reason = verdict(comparable, self.stopping)
        if not self.reason and self.noise_test is not None and self.noise_test.is_noise(peak / noise):
            self.reason = "noise"
        if peak <= min(row.peak for row in comparable):
            self.best = (model.copy(), residual.copy())

    def _mask_anew(self, residual: Plane, noise: float, automask: AutoMask) -> bool:
        """Let the mask follow the residual; return whether there is one."""
        mask = automask.follow(residual, noise)
        if mask.any() and (mask != self.mask).any():
            self.cleaner.look_in(mask)
            self.since = len(self.rows)
        self.mask = mask
        return bool(mask.any())

    def cycle(self, residual: Plane) -> Plane:
        """Run one minor cycle and return what it adds to the model."""
        row = self.rows[-1]
        floor = max(self._aim() * row.threshold, self.fraction * row.peak)
        taken = None if self.noise_test is None else np.zeros_like(self.cleaner.weight)
        added, count = self.cleaner.run(residual, self.control, floor, taken)
        if self.noise_test is not None and taken is not None:
            self.noise_test.add(taken)
        self.components += count
        return added

    def _aim(self) -> float:
        """Return to which part of the threshold to go: the noise falls while sidelobes are taken away, further yet."""
        margin, noise = self.stopping.margin, [row.noise for row in self.rows[-2:]]
        if margin == 1.0 or len(noise) < 2 or not noise[0]:
            return margin
        return margin * min(1.0, noise[1] / noise[0])
