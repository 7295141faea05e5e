from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

from fringeflow_derived import convolved, maps, products, samples, sources
from fringeflow_derived.collapse import Inputs, Wanted, compute
from fringeflow_derived.kinds import KINDS
from fringeflow_derived.masks import StrictOptions, strict_blocks
from fringeflow_derived.moments import Spectra
from fringeflow_derived.noise import NoiseOptions
from fringeflow_derived.signalfree import measure
from fringeflow_derived.sources import ArrayCube, ScratchMask
from tests.derived.derived_support import beam_noise, header, write


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
    wanted = [Wanted(name) for name in KINDS]
    compute(Inputs(cube, model, {}, np.arange(30.0), channel_kms=1.0), wanted)
    with pytest.raises(AssertionError, match="rows at once"):
        cube.rows(0, 200)


def peak_bytes(folder, channels):
    """Return the most memory that making all kinds of files of a cube takes."""
    folder.mkdir()
    shape = (channels, 120, 100)
    data = beam_noise(np.random.default_rng(1), shape, 5.0)
    data[2:9, 50:70, 40:60] += 6
    cube = write(folder / "cube.fits", data, header())
    del data
    smooth, coverage, image = (folder / f"{name}.fits" for name in ("smooth", "coverage", "coverage2d"))
    noise, strict, broad = (folder / f"{name}.fits" for name in ("noise", "strict", "broad"))
    wanted = [maps.Request(kind, "broad", folder / f"{kind}.fits", folder / f"e{kind}.fits") for kind in KINDS]
    tracemalloc.start()
    try:
        convolved.convolve(cube, smooth, coverage, image, fwhm_arcsec=7.0)
        products.noise(smooth, noise, folder, options=NoiseOptions(iterations=1, signal_rounds=1))
        products.strict_mask(smooth, noise, strict, folder, coverage=coverage)
        products.broad_mask(strict, [strict], broad)
        maps.write(smooth, noise, {"broad": broad}, wanted)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_channels(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 500_000)
    monkeypatch.setattr(samples, "_KEPT_BYTES", 0)
    peak_bytes(tmp_path / "warm", 10)  # what is imported and cached on the way is not counted
    few, many = peak_bytes(tmp_path / "few", 12), peak_bytes(tmp_path / "many", 96)
    grown = (96 - 12) * 120 * 100 * 4
    assert many - few < 0.5 * grown


def test_spectra_are_gone_with_their_last_name() -> None:
    """What refers to itself waits for the collector, which many blocks of a large cube do not wake."""
    data = np.random.default_rng(1).normal(size=(9, 20)).astype(np.float32)
    spectra = Spectra(data, np.arange(9.0), data > 0, np.ones_like(data))
    for kind in KINDS.values():
        kind.make(spectra)
    known = weakref.ref(spectra)
    gc.disable()
    try:
        del spectra
        assert known() is None
    finally:
        gc.enable()
