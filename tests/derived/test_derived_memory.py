from __future__ import annotations

import numpy as np
import pytest

from fringeflow_derived import maps, sources
from fringeflow_derived.masks import StrictOptions, strict_blocks
from fringeflow_derived.noise import NoiseOptions
from fringeflow_derived.signalfree import measure
from fringeflow_derived.sources import ArrayCube, ScratchMask


class Guarded(ArrayCube):
    """A cube that refuses to hand out much of itself at once."""

    limit = 10_000_000

    def rows(self, start, stop):
        found = super().rows(start, stop)
        assert found.size <= self.limit, f"{stop - start} rows at once"
        return found


def test_no_step_asks_for_more_than_a_block(monkeypatch, tmp_path):
    shape = (30, 200, 60)
    data = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    data[10:14, 90:110, 20:40] += 8
    monkeypatch.setattr(sources, "BLOCK_BYTES", 1_000_000)
    monkeypatch.setattr(Guarded, "limit", 70_000)  # a fifth of the cube
    cube = Guarded(data)
    made = []

    def store(size):
        made.append(ScratchMask(tmp_path / str(len(made)), size))
        return made[-1]

    model = measure(cube, 10.0, NoiseOptions(iterations=1), store=store).model
    assert sum(block.sum() for _, block in strict_blocks(cube, model, StrictOptions())) > 1000
    wanted = [(name, None, {}) for name in maps.KINDS]
    maps.compute(cube, model, {}, wanted, velocity_kms=np.arange(30.0), channel_kms=1.0)
    with pytest.raises(AssertionError, match="rows at once"):
        cube.rows(0, 200)
