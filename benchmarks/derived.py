"""Times the derived stage on a simulated cube against what no program could do without, and prints where time goes.

    make bench-derived                               500 x 500 x 200 (200 MB), two resolutions besides the native one
    python benchmarks/derived.py --side 4096 --channels 10 --resolutions 1 --repeat 2 --no-floor
    python benchmarks/derived.py --side 4096 --channels 300 --lean --repeat 2 --no-floor

The last makes the products of a cube of 5 billion voxels in 43 GB of disk: see `--lean`.

The floor: read the cube, convolve it with FFTs once per resolution, write as many bytes as the products have.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from scipy import fft, ndimage

from fringeflow.fitsio import write_cube
from fringeflow_derived import convolved, maps, products
from fringeflow_derived.noise import NoiseOptions

BEAM_ARCSEC = 5.0
CHANNEL_KMS = 2.5
RESOLUTIONS_ARCSEC = (7.5, 11.0, 15.0)
INTEGER_STEP_K, INTEGER_BLANK = 1e-4, -32768
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MOMENTS = {
    "strict_mom0": ("mom0", "strictmask", {}),
    "strict_mom1": ("mom1", "strictmask", {}),
    "strict_mom2": ("mom2", "strictmask", {}),
    "strict_ew": ("ew", "strictmask", {}),
    "strict_vpeak": ("vpeak", "strictmask", {}),
    "strict_vquad": ("vquad", "strictmask", {}),
    "broad_mom0": ("mom0", "broadmask", {}),
    "broad_mom1": ("mom1", "broadmask", {}),
    "broad_tpeak": ("tpeak", "broadmask", {}),
    "broad_tpeak12p5kms": ("tpeak", "broadmask", {"window": "12.5km/s"}),
}


@dataclass
class Clock:
    """Seconds of each step, wall and processor."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of what is inside to step `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu

    def add(self, other: Clock) -> None:
        """Add the times of another."""
        for mine, theirs in ((self.wall, other.wall), (self.cpu, other.cpu)):
            for name, seconds in theirs.items():
                mine[name] = mine.get(name, 0.0) + seconds


def simulate(path: Path, side: int, rows: int, channels: int, different: int, *, integers: bool = False) -> None:
    """Write a rotating disc in noise with the correlation of the beam; after `different` planes the noise repeats.

    With `integers`, values are stored in 16 bits each.
    """
    header = fits.Header()
    header.update({"BMAJ": BEAM_ARCSEC / 3600, "BMIN": BEAM_ARCSEC / 3600, "BPA": 0.0, "BUNIT": "K", "OBJECT": "DISC"})
    header.update({"CTYPE1": "RA---SIN", "CRVAL1": 150.0, "CDELT1": -1 / 3600, "CRPIX1": side / 2, "CUNIT1": "deg"})
    header.update({"CTYPE2": "DEC--SIN", "CRVAL2": 2.0, "CDELT2": 1 / 3600, "CRPIX2": side / 2, "CUNIT2": "deg"})
    header.update({"CTYPE3": "VRAD", "CRVAL3": 1e6, "CDELT3": CHANNEL_KMS * 1e3, "CRPIX3": 1.0, "CUNIT3": "m/s"})
    header.update({"RESTFRQ": 230.538e9, "SPECSYS": "LSRK"})
    rng = np.random.default_rng(5921)
    sigma = BEAM_ARCSEC / np.sqrt(8 * np.log(2))
    y, x = (np.mgrid[0:rows, 0:side] - np.array([rows, side]).reshape(2, 1, 1) / 2) / side
    bright, centre = 2.0 * np.exp(-0.5 * (x**2 + y**2) / 0.1**2), channels / 2 + channels * 0.6 * x
    blank = np.hypot(x, y) > 0.49

    def noise() -> Any:
        plane = ndimage.gaussian_filter(rng.normal(size=(rows, side)).astype(np.float32), sigma, mode="wrap")
        return plane * np.float32(0.1 * 2 * sigma * np.sqrt(np.pi))

    kept = [noise() for _ in range(min(different, channels))]

    def planes() -> Iterator[Any]:
        for channel in range(channels):
            line = bright * np.exp(-0.5 * ((channel - centre) / 4.0) ** 2)
            yield np.where(blank, np.nan, kept[channel % len(kept)] + line).astype(np.float32)

    shape = (channels, rows, side)
    write_integers(path, header, planes(), shape) if integers else write_cube(path, header, planes(), shape)


def write_integers(path: Path, header: fits.Header, planes: Iterator[Any], shape: tuple[int, int, int]) -> None:
    """Write a cube as scaled integers of 16 bits, plane by plane."""
    cards: dict[str, Any] = {"SIMPLE": True, "BITPIX": 16, "NAXIS": 3} | {
        f"NAXIS{axis}": shape[3 - axis] for axis in (1, 2, 3)
    }
    cards |= {"BSCALE": INTEGER_STEP_K, "BZERO": 0.0, "BLANK": INTEGER_BLANK}
    hdu = fits.StreamingHDU(path, fits.Header(list((cards | dict(header)).items())))
    for plane in planes:
        stored = np.nan_to_num(np.rint(plane / INTEGER_STEP_K), nan=INTEGER_BLANK)
        hdu.write(stored.astype(">i2"))
    hdu.close()


Step = Callable[[str], tuple[Clock, float]]


def stage(cube: Path, folder: Path, resolutions: int, cores: int, *, lean: bool = False) -> tuple[Clock, float, float]:
    """Make every product of the cube: all but the copy of the cube if `lean`.

    As in a run, steps of several resolutions are made side by side, by as many processes as there are cores, and those
    of a single one on all cores. Returns what each step took, wall seconds of the whole, and the largest process in MB.
    """
    begun = time.perf_counter()
    tags = {"": None} | {f"{fwhm:g}as": fwhm for fwhm in RESOLUTIONS_ARCSEC[:resolutions]}
    workers = min(cores, len(tags))
    clock, largest = Clock(), 0.0
    one = Making(cube, folder, tags, cores // workers, lean=lean)
    with ExitStack() as life:
        pool = threads = None
        if workers > 1:
            context = multiprocessing.get_context("fork")  # with the libraries in memory, as a job's process has them
            pool = life.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            threads = life.enter_context(ThreadPoolExecutor(len(tags)))

        def made(tag: str, *steps: Step) -> list[tuple[Clock, float]]:
            return [pool.submit(step, tag).result() if pool else step(tag) for step in steps]

        each = threads.map if threads else map
        parts = list(each(made, tags, repeat(one.cube_at), repeat(one.noise), repeat(one.strict)))
        with clock.step("broad mask"):
            strict = [one.named(tag, "strictmask") for tag in tags]
            products.broad_mask(strict[0], strict, one.named("", "broadmask"))
        for part, resident in chain.from_iterable((*parts, *each(made, tags, repeat(one.maps)))):
            clock.add(part)
            largest = max(largest, resident)
    return clock, time.perf_counter() - begun, largest


@dataclass(frozen=True)
class Making:
    """Makes products of one cube in a folder, each step on so many cores; says what it took, and its process's MB."""

    cube: Path
    folder: Path
    resolutions: Mapping[str, float | None]
    cores: int
    lean: bool

    def named(self, tag: str, ext: str) -> Path:
        """Return where a product is."""
        if not ext and not tag and self.lean:
            return self.cube
        return self.folder / ("_".join(part for part in ("disc", tag, ext) if part) + ".fits")

    def cube_at(self, tag: str) -> tuple[Clock, float]:
        """Make the cube at a resolution."""
        clock, fwhm = Clock(), self.resolutions[tag]
        with clock.step("convolution"):
            if fwhm:
                extra = self.named(tag, "coverage"), self.named(tag, "coverage2d")
                convolved.convolve(self.cube, self.named(tag, ""), *extra, fwhm_arcsec=fwhm, cores=self.cores)
            elif not self.lean:
                convolved.copy(self.cube, self.named(tag, ""))
        return clock, resident_mb()

    def noise(self, tag: str) -> tuple[Clock, float]:
        """Make its noise."""
        clock, options = Clock(), NoiseOptions(iterations=3)
        with clock.step("noise"):
            scratch = self._scratch(tag)
            products.noise(self.named(tag, ""), self.named(tag, "noise"), scratch, options=options, cores=self.cores)
        return clock, resident_mb()

    def strict(self, tag: str) -> tuple[Clock, float]:
        """Make its strict mask."""
        clock = Clock()
        cube, noise, mask = (self.named(tag, ext) for ext in ("", "noise", "strictmask"))
        coverage = self.named(tag, "coverage") if self.resolutions[tag] else None
        with clock.step("strict masks"):
            products.strict_mask(cube, noise, mask, self._scratch(tag), coverage=coverage, cores=self.cores)
        return clock, resident_mb()

    def _scratch(self, tag: str) -> Path:
        scratch = self.folder / f"scratch{tag}"
        scratch.mkdir(exist_ok=True)
        return scratch

    def maps(self, tag: str) -> tuple[Clock, float]:
        """Make all maps of a resolution."""
        clock = Clock()
        with clock.step("maps"):
            requests = [
                maps.Request(kind, mask, self.named(tag, ext), self.named(tag, ext.replace("_", "_e")), options=given)
                for ext, (kind, mask, given) in MOMENTS.items()
            ]
            masks = {"strictmask": self.named(tag, "strictmask"), "broadmask": self.named("", "broadmask")}
            maps.write(self.named(tag, ""), self.named(tag, "noise"), masks, requests, cores=self.cores)
        return clock, resident_mb()


def resident_mb() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def floor(cube: Path, made: Path, folder: Path, resolutions: int, cores: int) -> Clock:
    """Read the cube, convolve it once per resolution, write as many bytes as lie in `made`; return what each took."""
    clock = Clock()
    with fits.open(cube, memmap=False) as hdus:
        _, height, width = shape = hdus[0].shape
        offset = hdus[0].fileinfo()["datLoc"]
    sizes = [fft.next_fast_len(size + 16, real=True) for size in (height, width)]
    transform = fft.rfft2(np.ones(sizes, np.float32))
    planes = np.empty((height, width), ">f4")
    with cube.open("rb") as stream:
        for _ in range(resolutions or 1):
            stream.seek(offset)
            for _ in range(shape[0]):
                with clock.step("read"):
                    stream.readinto(planes.data)
                    image = np.nan_to_num(planes.astype(np.float32))
                if resolutions:
                    with clock.step("convolve"):
                        fft.irfft2(fft.rfft2(image, s=sizes, workers=cores) * transform, s=sizes, workers=cores)
    block = bytes(1 << 20)
    with clock.step("write"):
        for path in made.glob("*.fits"):
            with (folder / path.name).open("wb") as stream_out:
                for start in range(0, path.stat().st_size, len(block)):
                    stream_out.write(block[: path.stat().st_size - start])
    return clock


def show(title: str, clock: Clock, wall: float) -> None:
    """Print what the whole took, and the steps: their seconds are added up where several ran at once."""
    print(f"{title:16} {wall:8.2f} s wall {sum(clock.cpu.values()):8.2f} s processor")
    for name, seconds in clock.wall.items():
        print(f"  {name:14} {seconds:8.2f}        {clock.cpu[name]:8.2f}")


def keep_memory() -> None:
    """Have this process and those forked from it keep what arrays leave, as the processes of jobs do."""
    libc = ctypes.CDLL(None)
    for parameter, value in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 128 << 20)):
        libc.mallopt(parameter, value)


def main() -> int:
    """Print the figures."""
    keep_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=500, help="pixels")
    parser.add_argument("--rows", type=int, help="pixels the other way; none: as many")
    parser.add_argument("--channels", type=int, default=200)
    parser.add_argument("--resolutions", type=int, default=2, choices=(0, 1, 2, 3))
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=20, help="planes of noise that differ (making them takes long)")
    parser.add_argument(
        "--lean",
        action="store_true",
        help="spare the disk: the cube has 16 bits per voxel and is not copied, and there is no other resolution",
    )
    parser.add_argument("--no-floor", action="store_true", help="time the stage alone")
    parser.add_argument("--folder", type=Path, help="for scratch; all is gone at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fringeflow-bench-", dir=options.folder) as name:
        folder = Path(name)
        made, written = folder / "made", folder / "written"
        made.mkdir()
        written.mkdir()
        cube, shape = folder / "cube.fits", (options.side, options.rows or options.side, options.channels)
        # In a process of its own, so that the memory of this one is that of the stage.
        resolutions = 0 if options.lean else options.resolutions
        maker = multiprocessing.get_context("spawn").Process(
            target=simulate, args=(cube, *shape, options.repeat), kwargs={"integers": options.lean}
        )
        maker.start()
        maker.join()
        before = resident_mb()
        took, wall, peak = stage(cube, made, resolutions, options.cores, lean=options.lean)
        least = None if options.no_floor else floor(cube, made, written, resolutions, options.cores)
    print(f"{platform.machine()}, {options.cores} cores, {' x '.join(map(str, shape))}")
    show("derived stage", took, wall)
    print(f"largest process {peak:.0f} MB (before the stage {before:.0f} MB)")
    if least is not None:
        total = sum(least.wall.values())
        show("floor", least, total)
        print(f"{wall / total:.1f} times the floor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
