"""One channel of a block on its way through the cycles of the clean loop. Knows no other channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging.automask import AutoMask
from fringeflow_imaging.minor import Cleaner, CycleControl, Mask, Plane, Scales
from fringeflow_imaging.noise import robust_sigma
from fringeflow_imaging.noisetest import NoiseTest
from fringeflow_imaging.stopping import Reason, Row, Stopping, verdict


@dataclass(frozen=True)
class ChannelState:
    """Where a channel is between two cycles: figures as JSON can hold them, and arrays by name."""

    figures: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


_BEST = ("best_model", "best_residual")


class Channel:
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

    def state(self) -> ChannelState:
        """Return where the channel is, between `cycle` and `look`."""
        arrays: dict[str, NDArray[Any]] = dict(zip(_BEST, self.best, strict=True))
        figures = {
            "rows": [asdict(row) for row in self.rows],
            "since": self.since,
            "reason": self.reason,
            "components": self.components,
        }
        if self.automask is not None:
            arrays |= {"mask": self.mask, "found": self.automask.mask, "core": self.automask.core}
            figures["settled"] = self.automask.settled
        if self.noise_test is not None:
            arrays |= {f"taken{i}": taken for i, taken in enumerate(self.noise_test.taken)}
        return ChannelState(figures, arrays)

    def go_on_from(self, state: ChannelState) -> None:
        """Be where a channel of the same data and parameters was."""
        figures, arrays = state.figures, state.arrays
        self.rows = [Row(**row) for row in figures["rows"]]
        self.since, self.reason, self.components = figures["since"], figures["reason"], figures["components"]
        self.best = (arrays[_BEST[0]], arrays[_BEST[1]])
        if self.automask is not None:
            self.automask.go_on_from(arrays["found"], arrays["core"], settled=figures["settled"])
            self.mask = arrays["mask"]
            if not self.reason:
                self.cleaner.look_in(self.mask)
        if self.noise_test is not None:
            for i in range(sum(name.startswith("taken") for name in arrays)):
                self.noise_test.add(arrays[f"taken{i}"])

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
