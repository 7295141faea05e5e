"""Measures how near cubes of a simulated galaxy are to the truth, beside those of another product tree.

    python benchmarks/truth.py OURS TRUTH.fits [--reference TREE] [--target simgal] [--product co21] [--vsys 1000]

The truth is a cube in Jy/pixel. Three tables, each with ours and, if given, the reference's figures:

own beam     each cube at its own beam, in its own footprint: `flux`, that of the truth convolved to the beam, `corr` of
             the integrated maps, `diff`, the rms of (cube - truth) in units of the noise (of the line-free channels at
             both ends), `noise` in mK, and `dish`, the flux over the true one, both smoothed to the dish's beam, where
             the truth is above half its peak.
equal beam   both brought to one beam, first to the larger of their own, where both are valid: `flux` over the true one,
             `corr`, `inner`, the same where the noise is below 1.5 of its median, `rms` of (cube - truth) in mK, and
             `signal`, the same where the truth is above a tenth of its peak.
velocity     the maps of the mean velocity (`strict_mom1`) against the truth's own moment at the same beam, where both
             have one: how many pixels, rms and robust rms in km/s. Maps at a resolution `refas` of ours, which the
             derived key may set to the reference's own beam, are compared with its maps at that beam.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_FWHM = float(np.sqrt(8 * np.log(2)))
_LIGHT_KMS = 299792.458
_CO21_GHZ = 230.538
_DISH_ARCSEC = 28.0
_EQUAL_ARCSEC = {"12m": 3.0, "12m+7m": 3.0, "12m+7m+tp": 3.0, "7m": 8.0, "7m+tp": 8.0}


@dataclass(frozen=True)
class Cube:
    """A cube in K, channels first, NaN where blank."""

    data: Array
    header: Any

    @staticmethod
    def read(path: Path) -> Cube:
        """Read a FITS file, compressed or not."""
        with fits.open(path) as hdus:
            return Cube(np.squeeze(np.asarray(hdus[0].data, dtype=float)), hdus[0].header)

    @property
    def beam(self) -> float:
        """FWHM in arcsec."""
        return float(self.header["BMAJ"]) * 3600

    @property
    def cell(self) -> float:
        """Pixel in arcsec."""
        return abs(float(self.header["CDELT2"])) * 3600

    def velocities(self) -> tuple[Array, float]:
        """Return velocity of each channel and width of one, km/s."""
        header = self.header
        scale = 1e-3 if abs(header["CDELT3"]) > 50 else 1.0
        places = np.arange(header["NAXIS3"]) + 1 - header.get("CRPIX3", 1)
        first, step = float(header["CRVAL3"]), float(header["CDELT3"])
        return np.asarray((places * step + first) * scale), abs(step) * scale

    def positions(self, other: Cube) -> Array:
        """Return row and column in `other`'s image of each pixel of this one's."""
        rows, columns = np.mgrid[: self.data.shape[-2], : self.data.shape[-1]]
        sky = WCS(self.header).celestial.wcs_pix2world(columns, rows, 0)
        x, y = WCS(other.header).celestial.wcs_world2pix(*sky, 0)
        return np.array([y, x], dtype=float)


@dataclass(frozen=True)
class Truth:
    """The sky in Jy/pixel, and its systemic velocity (km/s)."""

    sky: Cube
    vsys: float

    def seen(self, like: Cube, beam: float) -> Array:
        """Return it in K on the grid of `like`, as a round beam (arcsec) sees it, channels weighted by overlap."""
        ours, width = self.sky.velocities()
        theirs, wide = like.velocities()
        return np.array([self._plane(like, beam, self._overlap(ours, width, v, wide)) for v in theirs])

    def velocity(self, like: Cube, beam: float) -> Array:
        """Return the mean velocity, km/s, on the grid of `like`, NaN where there is less than 1 % of the peak."""
        velocities, _ = self.sky.velocities()
        total = self._plane(like, beam, np.ones(len(velocities)))
        first = self._plane(like, beam, velocities)
        return np.where(total > 0.01 * total.max(), first / np.where(total > 0, total, 1), np.nan)

    @staticmethod
    def _overlap(ours: Array, width: float, centre: float, wide: float) -> Array:
        low = np.maximum(centre - wide / 2, ours - width / 2)
        return np.asarray(np.clip(np.minimum(centre + wide / 2, ours + width / 2) - low, 0, None) / wide)

    def _plane(self, like: Cube, beam: float, weights: Array) -> Array:
        sigma = beam / _FWHM / self.sky.cell
        plane = gaussian_filter(np.tensordot(weights, self.sky.data, axes=(0, 0)), sigma) * 2 * np.pi * sigma**2
        found = map_coordinates(plane, like.positions(self.sky), order=1, cval=0.0)
        return np.asarray(found * self.kelvin(beam))

    def kelvin(self, beam: float) -> float:
        """Return K per Jy/beam."""
        return float(1.222e6 / (_CO21_GHZ * (1 - self.vsys / _LIGHT_KMS)) ** 2 / beam**2)


def own_beam(cube: Cube, truth: Truth, *, dish: bool) -> str:
    """Return the row of a cube at its own beam."""
    model, good = truth.seen(cube, cube.beam), np.isfinite(cube.data)
    width, foot = cube.velocities()[1], np.isfinite(cube.data).any(axis=0)
    ours, true = (np.where(good, planes, 0).sum(axis=0) * width for planes in (cube.data, model))
    scale = (cube.cell / cube.beam) ** 2 / 1.1331 / truth.kelvin(cube.beam)
    noise = mad(np.concatenate([plane[np.isfinite(plane)] for plane in cube.data[[0, -1]]]))
    diff = float(np.sqrt(np.mean((cube.data - model)[good] ** 2)) / noise)
    row = f"{cube.beam:6.2f} {ours.sum() * scale:7.1f} {true.sum() * scale:7.1f} {ours.sum() / true.sum():6.3f}"
    row += f" {correlation(ours[foot], true[foot]):6.3f} {diff:6.2f} {1e3 * noise:6.1f}"
    if not dish:
        return row
    sigma = np.sqrt(_DISH_ARCSEC**2 - cube.beam**2) / _FWHM / cube.cell
    ours, true = (gaussian_filter(plane, sigma) for plane in (ours, true))
    inner = foot & (true > 0.5 * true[foot].max())
    return f"{row} {ours[inner].sum() / true[inner].sum():6.3f}"


def equal_beam(cubes: list[Cube], truth: Truth, beam: float) -> list[str]:
    """Return the rows of cubes at one beam, where all of them are valid, on the grid of the first."""
    first = cubes[0]
    planes = [smoothed(cube, first, beam) for cube in cubes]
    model = truth.seen(first, beam)
    common = np.all([np.isfinite(each) for each in planes], axis=0)
    foot, width = common.any(axis=0), first.velocities()[1]
    true = np.where(common, model, 0).sum(axis=0) * width
    edge = noise_map(planes)
    inner = foot & (edge < 1.5 * np.median(edge[foot]))
    signal = common & (model > 0.1 * model.max())
    rows = []
    for each in planes:
        ours = np.where(common, each, 0).sum(axis=0) * width
        off = 1e3 * (each - model)
        rms, bright = (float(np.sqrt(np.mean(off[where] ** 2))) for where in (common, signal))
        corr = [correlation(ours[where], true[where]) for where in (foot, inner)]
        rows.append(
            f"{beam:5.1f} {ours.sum() / true.sum():6.3f} {corr[0]:6.3f} {corr[1]:6.3f} {rms:7.1f} {bright:7.1f}"
        )
    return rows


def smoothed(cube: Cube, like: Cube, beam: float) -> Array:
    """Return a cube at a round beam on the grid of `like`, nearest channel; NaN less than a beam from its edge."""
    sigma = np.sqrt(max(beam**2 - cube.beam**2, 0.0)) / _FWHM / cube.cell
    places = like.positions(cube)
    mine, wanted = cube.velocities()[0], like.velocities()[0]
    found = np.full(like.data.shape, np.nan)
    for index, velocity in enumerate(wanted):
        nearest = int(np.argmin(np.abs(mine - velocity)))
        if abs(mine[nearest] - velocity) > 0.1 * cube.velocities()[1]:
            continue
        plane = cube.data[nearest]
        good = np.isfinite(plane)
        weight = gaussian_filter(good.astype(float), sigma, mode="constant")
        value = gaussian_filter(np.where(good, plane, 0), sigma, mode="constant") / np.where(weight > 0, weight, 1)
        inside = map_coordinates((good & (weight > 0.99)).astype(float), places, order=1, cval=0.0) > 0.99
        found[index] = np.where(inside, map_coordinates(value, places, order=1, cval=0.0), np.nan)
    return found


def noise_map(cubes: list[Array]) -> Array:
    """Return how the noise changes over the sky: the larger of the cubes' local rms in the first and last channels."""
    maps = []
    for cube in cubes:
        ends = [cube[index] for index in np.flatnonzero(np.isfinite(cube).any(axis=(1, 2)))[[0, -1]]]
        squares = np.nanmean(np.square(ends), axis=0)
        weight = gaussian_filter(np.isfinite(squares).astype(float), 8.0)
        local = np.sqrt(gaussian_filter(np.nan_to_num(squares), 8.0) / np.where(weight > 0, weight, 1))
        maps.append(np.where(np.isfinite(squares), local / np.median(local[np.isfinite(squares)]), np.inf))
    return np.asarray(np.max(maps, axis=0))


def velocity(paths: list[Path], truth: Truth) -> list[str]:
    """Return the rows of maps of the mean velocity, each over its own pixels and over those of all."""
    maps = [Cube.read(path) for path in paths]
    off = [each.data - truth.velocity(each, each.beam) for each in maps]
    rows = []
    for one, own in zip(maps, off, strict=True):
        common = np.isfinite(own)
        for other, theirs in zip(maps, off, strict=True):
            near = map_coordinates(np.isfinite(theirs).astype(float), one.positions(other), order=0, cval=0.0) > 0.5
            common &= near
        area = (one.cell / one.beam) ** 2 / 1.1331
        parts = [
            f"{values.size * area:6.0f} {np.sqrt(np.mean(values**2)):6.2f} {mad(values):6.2f}"
            for values in (own[np.isfinite(own)], own[common])
        ]
        rows.append("  ".join(parts))
    return rows


def correlation(one: Array, other: Array) -> float:
    """Return Pearson's correlation."""
    return float(np.corrcoef(one, other)[0, 1])


def mad(values: Array) -> float:
    """Return the robust rms."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def find(tree: Path, name: str) -> Path | None:
    """Return the product `name` below `tree`, compressed or not."""
    return next((path for path in sorted(tree.rglob(f"{name}.fits*"))), None)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--target", default="simgal")
    parser.add_argument("--product", default="co21")
    parser.add_argument("--vsys", type=float, default=1000.0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    truth = Truth(Cube.read(args.truth), args.vsys)
    trees = {"ours": args.ours, **({"reference": args.reference} if args.reference else {})}
    print(f"{'own beam':28s}   beam    flux    true  ratio   corr   diff  noise   dish")
    equal, moving = [], []
    for config, beam in _EQUAL_ARCSEC.items():
        name = f"{args.target}_{config}_{args.product}"
        found = {tree: find(path, f"{name}_pbcorr_trimmed_k") for tree, path in trees.items()}
        cubes = {tree: Cube.read(path) for tree, path in found.items() if path}
        for tree, cube in cubes.items():
            print(f"{config:12s} {tree:15s} {own_beam(cube, truth, dish='tp' in config)}")
        for same in (max(cube.beam for cube in cubes.values()), beam) if cubes else ():
            rows = equal_beam(list(cubes.values()), truth, same)
            equal += [f"{config:12s} {tree:15s} {row}" for tree, row in zip(cubes, rows, strict=True)]
        for tag in ("", "_refas", "_3as", "_8as", "_12as"):
            tags = {"ours": tag, "reference": tag.removeprefix("_refas")}
            maps = {tree: find(path, f"{name}{tags[tree]}_strict_mom1") for tree, path in trees.items()}
            if all(maps.values()):
                rows = velocity([path for path in maps.values() if path], truth)
                moving += [f"{config + tag:15s} {tree:12s} {row}" for tree, row in zip(maps, rows, strict=True)]
    print(f"\n{'equal beam':28s}  beam   flux   corr  inner     rms  signal", *equal, sep="\n")
    print(f"\n{'velocity':28s}  beams   rms robust   common   rms robust", *moving, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
