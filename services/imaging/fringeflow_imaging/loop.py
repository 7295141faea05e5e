"""The clean loop: minor cycles on every channel by itself, then one major cycle for all, until each has converged.

Every channel has its own noise, threshold, budget of components and verdict, so that the result of a channel does not
depend on which others it is cleaned with. Knows arrays and a function that makes residuals of models; no CASA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging.automask import AutoMask
from fringeflow_imaging.channel import Channel
from fringeflow_imaging.checkpoint import Checkpoint, State
from fringeflow_imaging.minor import CycleControl, Scales
from fringeflow_imaging.stopping import Reason, Row, Stopping

Cube = NDArray[np.float32]


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
    checkpoint: Checkpoint | None = None,
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
    checkpoint
        Where the state is kept between cycles. If there is one already, it is gone on from, not from `start`.

    Returns
    -------
    Outcome
        A channel that diverged is returned as it was at its lowest residual peak.
    """
    model, residual = start[0].copy(), start[1]
    channels = [
        Channel(
            i, psf[i], mask[i], valid[i], scales, control, sidelobes[i], stopping, automasks[i] if automasks else None
        )
        for i in range(len(psf))
    ]
    earlier = None if checkpoint is None else checkpoint.load()
    if earlier is not None:
        model, residual = earlier.model, earlier.residual
        for channel, state in zip(channels, earlier.channels, strict=True):
            channel.go_on_from(state)
    while True:
        for i, channel in enumerate(channels):
            channel.look(model[i], residual[i])
        if all(channel.reason for channel in channels):
            break
        for i, channel in enumerate(channels):
            if not channel.reason:
                model[i] += channel.cycle(residual[i])
        residual = residual_of(model)
        if checkpoint is not None and checkpoint.due():
            checkpoint.save(State(model, residual, tuple(channel.state() for channel in channels)))
    for i, channel in enumerate(channels):
        model[i], residual[i] = channel.best
    rows = tuple(row for channel in channels for row in channel.rows)
    reasons = tuple(channel.reason or "cycles" for channel in channels)
    return Outcome(model, residual, rows, reasons, np.array([channel.mask for channel in channels]))
