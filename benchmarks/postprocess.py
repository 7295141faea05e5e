"""Sends a large simulated cube through every step of post-processing; prints memory and time of each.

    python benchmarks/postprocess.py --side 4096 --channels 5 10
    python benchmarks/postprocess.py --side 512 --channels 500 --steps feather
    python benchmarks/postprocess.py --side 4096 --channels 500 --sparse --scratch /a/compressed/disk

Every step runs in a process of its own, as in a job. Two halves of a field overlap by half; a single dish of 28 arcsec
sees both. With several numbers of channels the last lines say how time and memory grow. With `--sparse` each half is 25
small fields far apart, so that most pixels are blank (not most work: planes have the same size), and a cube that would
not fit takes little room on a disk that compresses.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow import names
from fringeflow.fitsio import write_cube
from fringeflow.graph import combining, postprocess
from fringeflow.graph.model import Need, Unit, UnitId
from fringeflow.jobs.order import Job, Order
from fringeflow_postprocess import stage

PIXEL_ARCSEC, BEAM_ARCSEC, DISH_ARCSEC = 0.5, 2.0, 28.0
PARTS = ("half_1", "half_2")
REST_HZ, CHANNEL_HZ = 230.538e9, 2e6
PRODUCT = ("12m", "co21")


class Bench:
    """The files of one run, and what each step took."""

    def __init__(self, folder: Path, side: int, channels: int, *, sparse: bool = False) -> None:
        self._folder = folder
        self._side, self._channels, self._sparse = side, channels, sparse
        self._made: dict[UnitId, dict[str, Path]] = {}
        self._facts: dict[str, dict[str, object]] = {}
        self._leaves: dict[str, Path] = {}
        self.rows: dict[str, tuple[float, float, float]] = {}
        """Step -> seconds, processor seconds, MB."""

    def simulate(self) -> None:
        """Write imaged halves with their responses, and the dish's cube."""
        rng = np.random.default_rng(1)
        response = self._response()
        noise = rng.normal(0, 0.01, (self._side, self._side)).astype(np.float32) + np.where(
            np.isnan(response), np.nan, 0
        )
        shape = (self._channels, self._side, self._side)
        for number, part in enumerate(PARTS):
            header = self._header(BEAM_ARCSEC, PIXEL_ARCSEC, self._side, shift=number * self._side / 2)
            imaged = UnitId("imaging", part, *PRODUCT)
            files = {names.cube(part, *PRODUCT, ext): self._folder / f"{part}{ext}.fits" for ext in ("", "pb")}
            for path, plane in zip(files.values(), (noise, response), strict=True):
                write_cube(path, header, (plane for _ in range(self._channels)), shape)
            self._made[imaged] = files
        small = max(32, int(1.6 * self._side * PIXEL_ARCSEC / (DISH_ARCSEC / 4)))
        dish = self._folder / "dish.fits"
        header = self._header(
            DISH_ARCSEC, DISH_ARCSEC / 4, small, shift=self._side / 4 * 4 * PIXEL_ARCSEC / DISH_ARCSEC
        )
        plane = rng.normal(0, 0.05, (small, small)).astype(np.float32)
        plane[~self._seen_by_dish(header, small)] = np.nan
        write_cube(dish, header, (plane for _ in range(self._channels)), (self._channels, small, small))
        self._leaves["singledish/dish.fits"] = dish

    def _response(self) -> NDArray[np.float32]:
        """Return the primary beam of a half: of one field, or of 25, of which the next half shares 15."""
        fields, width = ((0.0, 0.25, 0.5, 0.75, 1.0), 0.02) if self._sparse else ((0.5,), 0.3)
        pixels = np.arange(self._side, dtype=np.float32)
        profiles = [
            np.exp(-0.5 * ((pixels - place * (self._side - 1)) / (width * self._side)) ** 2) for place in fields
        ]
        along = np.max(profiles, axis=0)
        response = np.outer(along, along).astype(np.float32)
        response[response < 0.2] = np.nan
        return response

    def _seen_by_dish(self, header: fits.Header, small: int) -> NDArray[np.bool_]:
        """Return where the dish has looked: everywhere, or about the 25 fields of each half."""
        if not self._sparse:
            return np.ones((small, small), bool)
        dish_arcsec = DISH_ARCSEC / 4
        spacing = self._side * PIXEL_ARCSEC / 4
        y = (np.arange(small) + 1 - header["CRPIX2"]) * dish_arcsec % spacing
        x = (np.arange(small) + 1 - header["CRPIX1"]) * dish_arcsec % spacing
        away = np.hypot(np.minimum(y, spacing - y)[:, None], np.minimum(x, spacing - x)[None])
        return np.asarray(away < 0.036 * self._side * PIXEL_ARCSEC + DISH_ARCSEC)

    def run(self, wanted: Sequence[str]) -> None:
        """Run the steps, in the order in which they need each other."""
        left = dict(units())
        for name, unit in units().items():
            del left[name]
            if (
                not wanted
                or name.split()[0] in wanted
                or any(step in wanted for step in _AFTER.get(name.split()[0], ()))
            ):
                self._step(name, unit)
            self._forget({need.unit for each in left.values() for need in each.needs})

    def _forget(self, needed: Collection[UnitId]) -> None:
        """Remove the files that no later step needs."""
        for made in [unit for unit in self._made if unit not in needed]:
            for path in self._made.pop(made).values():
                path.unlink()

    def _step(self, name: str, unit: Unit) -> None:
        scratch = self._folder / str(unit.id).replace("/", "_")
        scratch.mkdir()
        order = Order(
            unit=unit,
            work_key="0" * 64,
            inputs={str(need.unit): self._made[need.unit] for need in unit.needs},
            leaves={leaf: self._leaves[leaf] for leaf in unit.leaves},
            facts={str(need.unit): self._facts.get(str(need.unit), {}) for need in unit.needs},
        )
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=_make, args=(order, scratch, theirs))
        process.start()
        theirs.close()
        outputs, facts, took = ours.recv()
        process.join()
        self._made[unit.id], self._facts[str(unit.id)] = outputs, facts
        self.rows[name] = took
        print(f"{self._channels:5d} {name:22s} {took[0]:8.1f} s {took[1]:8.1f} s cpu {took[2]:7.0f} MB", flush=True)

    def _header(self, beam: float, pixel: float, side: int, shift: float) -> fits.Header:
        header = fits.Header()
        header.update({"BMAJ": beam / 3600, "BMIN": beam / 3600, "BPA": 0.0, "BUNIT": "Jy/beam", "OBJECT": "FIELD"})
        header.update({"CTYPE1": "RA---SIN", "CRVAL1": 150.0, "CDELT1": -pixel / 3600, "CUNIT1": "deg"})
        header.update({"CTYPE2": "DEC--SIN", "CRVAL2": -30.0, "CDELT2": pixel / 3600, "CUNIT2": "deg"})
        header.update({"CRPIX1": side / 2 + 1 + shift, "CRPIX2": side / 2 + 1})
        header.update({"CTYPE3": "FREQ", "CRVAL3": 230e9, "CDELT3": CHANNEL_HZ, "CRPIX3": 1.0, "CUNIT3": "Hz"})
        header.update({"RESTFRQ": REST_HZ, "SPECSYS": "LSRK", "RADESYS": "ICRS"})
        return header


_AFTER: Mapping[str, tuple[str, ...]] = {
    "round": ("mosaic", "singledish", "feather"),
    "mosaic": ("singledish", "feather"),
    "singledish": ("feather",),
}


def units() -> dict[str, Unit]:
    """Return a unit of every step, in an order in which they can be made."""
    found: dict[str, Unit] = {}
    for part in PARTS:
        imaged = UnitId("imaging", part, *PRODUCT)
        recipe = combining.RoundRecipe(kind="line", pblimit=0.2).model_dump(mode="json")
        found[f"round {part}"] = _unit(UnitId("postprocess", part, *PRODUCT, combining.ROUND), recipe, (imaged,))
    single = postprocess.PostprocessRecipe(kind="line", pblimit=0.2).model_dump(mode="json")
    imaged = UnitId("imaging", PARTS[0], *PRODUCT)
    found["field"] = _unit(
        UnitId("postprocess", PARTS[0], *PRODUCT), single, (imaged,), ("pbcorr_trimmed_k", "trimmed_pb")
    )
    rounds = [UnitId("postprocess", part, *PRODUCT, combining.ROUND) for part in PARTS]
    recipe = combining.MosaicRecipe(parts=PARTS).model_dump(mode="json")
    mosaic = UnitId("postprocess", "whole", *PRODUCT, combining.MOSAIC)
    found["mosaic"] = _unit(mosaic, recipe, rounds)
    dish = mosaic.at(combining.SINGLEDISH)
    found["singledish"] = _unit(dish, {}, (mosaic,), (combining.SINGLEDISH,), leaves=("singledish/dish.fits",))
    feathered = UnitId("postprocess", "whole", "12m+tp", "co21", combining.FEATHER)
    found["feather"] = _unit(feathered, combining.FeatherRecipe().model_dump(mode="json"), (mosaic, dish))
    final = postprocess.FinishRecipe(kind="line").model_dump(mode="json")
    found["finish"] = _unit(
        UnitId("postprocess", "whole", "12m+tp", "co21"), final, (feathered,), ("pbcorr_trimmed_k", "trimmed_pb")
    )
    return found


def _unit(
    unit: UnitId,
    recipe: Mapping[str, object],
    needs: Sequence[UnitId],
    exts: Sequence[str] = (combining.IMAGE, combining.WEIGHT),
    leaves: tuple[str, ...] = (),
) -> Unit:
    outputs = tuple(names.cube(unit.target, unit.config, unit.product, ext) for ext in exts)
    return Unit(unit, 1, dict(recipe), tuple(Need(need) for need in needs), leaves, outputs)


def _make(order: Order, scratch: Path, channel: Connection) -> None:
    started = time.monotonic()
    job = Job((order,), scratch)
    stage.make(job)
    made = job.made[str(order.unit.id)]
    used = resource.getrusage(resource.RUSAGE_SELF)
    took = time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    channel.send((dict(made.outputs), dict(made.facts), took))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--channels", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--steps", nargs="*", default=[], help="only these, and what they need")
    parser.add_argument("--scratch", type=Path, help="folder on a large disk")
    parser.add_argument("--sparse", action="store_true", help="small fields far apart, most pixels blank")
    given = parser.parse_args()
    print(f"planes of {given.side} x {given.side}; channels, step, seconds, processor seconds, memory")
    runs = []
    for channels in given.channels:
        folder = Path(tempfile.mkdtemp(prefix="postprocess-", dir=given.scratch))
        try:
            bench = Bench(folder, given.side, channels, sparse=given.sparse)
            bench.simulate()
            bench.run(given.steps)
        finally:
            shutil.rmtree(folder)
        runs.append((channels, bench.rows))
    (few, first), (many, last) = runs[0], runs[-1]
    if many > few:
        print("step, processor seconds a channel more, MB a channel more")
        for name in first:
            cpu, memory = ((last[name][column] - first[name][column]) / (many - few) for column in (1, 2))
            print(f"{name:22s} {cpu:8.2f} {memory:8.2f}")


if __name__ == "__main__":
    main()
