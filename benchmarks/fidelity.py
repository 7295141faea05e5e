"""Measures how far two product trees of the same project are apart, product by product, and prints a table.

    python benchmarks/fidelity.py OURS REFERENCE [--root ngc5921_vla_hi21cm] [--continuum ngc5921_vla_cont]

Arrays must be on the same grid. `corr` is the Pearson correlation over the pixels that are finite in both. `ratio` is
the sum of ours over the sum of the reference inside the reference's native strict mask (for maps: where it has any
channel), where the signal is; for a continuum image above 3 sigma of the reference's. `overlap` is intersection over
union of masks. `noise` is the median ratio of noise cubes outside the reference's broad mask. `beam` is the relative
difference of BMAJ.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRODUCTS = (
    ("imaging", ""), ("imaging", "_residual"), ("imaging", "_psf"), ("imaging", "_mask"),
    ("postprocess", "_pbcorr_trimmed_k"), ("postprocess", "_trimmed_pb"),
    ("derived", "_noise"), ("derived", "_strictmask"), ("derived", "_broadmask"),
    *(("derived", f"{tag}_{name}") for tag in ("", "_75as", "_90as", "_12kpc") for name in
      ("strict_mom0", "strict_mom1", "strict_mom2", "strict_ew", "strict_vpeak", "strict_vquad",
       "broad_mom0", "broad_mom1", "broad_tpeak")),
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """Pixels and header of one product."""

    data: Array
    header: Any


def load(root: Path, stage: str, name: str) -> Image | None:
    """Return the product `name` of a stage below `root`, compressed or not, or None."""
    found = [*(root / stage).rglob(f"{name}.fits"), *(root / stage).rglob(f"{name}.fits.gz")]
    if not found:
        return None
    with fits.open(found[0]) as hdus:
        return Image(np.asarray(hdus[0].data, dtype=float), hdus[0].header)


def row(ours: Image, theirs: Image, name: str, signal: NDArray[np.bool_], broad: NDArray[np.bool_]) -> dict[str, float]:
    """Return the figures of one product."""
    a, b = ours.data, theirs.data
    if a.shape != b.shape:
        return {}
    figures: dict[str, float] = {}
    if name.endswith("mask"):
        return {"overlap": float(((a > 0.5) & (b > 0.5)).sum() / max(1, ((a > 0.5) | (b > 0.5)).sum()))}
    both = np.isfinite(a) & np.isfinite(b)
    figures["corr"] = float(np.corrcoef(a[both], b[both])[0, 1])
    region = signal if a.ndim == signal.ndim else signal.any(axis=0)
    if a.shape == region.shape and "residual" not in name and "psf" not in name:
        inside = both & region
        figures["ratio"] = float(a[inside].sum() / b[inside].sum())
    if name.endswith("noise"):
        figures["noise"] = float(np.median((a / b)[both & ~broad]))
    if "BMAJ" in ours.header and "BMAJ" in theirs.header:
        figures["beam"] = ours.header["BMAJ"] / theirs.header["BMAJ"] - 1
    return figures


def robust_sigma(data: Array) -> float:
    """Return the width of `data` by its median absolute deviation."""
    good = data[np.isfinite(data)]
    return float(1.4826 * np.median(np.abs(good - np.median(good))))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--root", default="ngc5921_vla_hi21cm")
    parser.add_argument("--continuum", default="ngc5921_vla_cont")
    options = parser.parse_args()
    masks = [load(options.reference, "derived", f"{options.root}_{name}") for name in ("strictmask", "broadmask")]
    if masks[0] is None or masks[1] is None:
        print(f"no masks of {options.root} below {options.reference}", file=sys.stderr)
        return 1
    signal, broad = (mask.data > 0.5 for mask in masks if mask is not None)
    rows = [(options.root, stage, ext, signal, broad) for stage, ext in PRODUCTS]
    image = load(options.reference, "imaging", options.continuum)
    if image is not None:
        bright = np.abs(image.data) > 3 * robust_sigma(image.data)
        rows += [(options.continuum, "imaging", ext, bright, bright) for ext in ("", "_model", "_residual")]
    columns = ("corr", "ratio", "overlap", "noise", "beam")
    print(f"{'product':38} " + " ".join(f"{column:>8}" for column in columns))
    for root, stage, ext, region, outside in rows:
        pair = [load(tree, stage, root + ext) for tree in (options.ours, options.reference)]
        if pair[0] is None or pair[1] is None:
            continue
        figures = row(pair[0], pair[1], ext, region, outside)
        shown = " ".join(f"{figures[column]:8.3f}" if column in figures else " " * 8 for column in columns)
        name = ext.strip("_") or "cube" if root == options.root else f"continuum{ext}"
        print(f"{stage + '/' + name:38} {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
