"""Combined velocity fields: the best map first, each further one only where there is nothing yet.

Nothing is blended or smoothed; a second image says which map each pixel is from (derived specification, section 11).
`combine` works on arrays, `write` on FITS files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import DataError
from fringeflow.fitsio import write_cube
from fringeflow_derived import headers
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.flat import read_field
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.sources import Array

MAX_LAYERS = 255
"""The image that tells where pixels are from has one byte for each."""


@dataclass(frozen=True)
class Layer:
    """One velocity field, and what to do with it first (derived specification, section 14).

    Velocities with an error above `max_error_kms` are left out. With `align`, the median difference to what is there
    already is taken off: other tracers have other definitions of the rest frame.
    """

    field: Path
    error: Path | None = None
    max_error_kms: float | None = None
    align: bool = False
    label: str = ""

    @property
    def name(self) -> str:
        """What to call it."""
        return self.label or self.field.stem


def combine(fields: Iterable[Array], align: Sequence[bool] | None = None) -> tuple[Array, Array]:
    """Return velocities and where they are from.

    Parameters
    ----------
    fields
        (ny, nx) velocities, the best first, each looked at once; NaN where unknown. 0 is a velocity like any other.
    align
        Which fields are to be shifted by the median difference to those before.

    Returns
    -------
    velocities
        float32, NaN where no field has any.
    source
        uint8: the number of the field from 1; 0 where there is none.
    """
    found = source = np.empty(0)
    for number, values in enumerate(fields, start=1):
        if number == 1:
            found, source = np.full(values.shape, np.nan, np.float32), np.zeros(values.shape, np.uint8)
        known = np.isfinite(values)
        both = known & np.isfinite(found)
        shifted = values
        if align is not None and align[number - 1] and both.any():
            shifted = values - np.median((values - found)[both])
        new = known & (source == 0)
        found[new], source[new] = shifted[new], number
    return found, source


def write(layers: Sequence[Layer], out: Path, out_source: Path, *, stamp: Stamp = no_stamp) -> dict[str, Any]:
    """Write a combined velocity field, in km/s, on the grid of the first layer.

    Parameters
    ----------
    layers
        The best first.
    out
        File to write.
    out_source
        File for the number of the layer each pixel is from, from 1; cards LAYER1, LAYER2, ... name them.
    stamp
        Adds provenance to the headers.

    Returns
    -------
    dict
        ``pixels`` with a velocity, and ``layers``: name -> how many are from it.

    Raises
    ------
    DataError
        There is no layer, or there are too many, or one is not an image of velocities.
    """
    if not 0 < len(layers) <= MAX_LAYERS:
        raise DataError(f"{len(layers)} maps for one velocity field", remedy=f"give from 1 to {MAX_LAYERS}")
    with FitsCube(layers[0].field) as grid:
        fields, source = combine((_read(layer, grid) for layer in layers), [layer.align for layer in layers])
        used = {"layers": [_record(layer) for layer in layers]}
        header = headers.of_map(grid, "Moment1", "km s-1")
        stamp(header, used)
        write_cube(out, header, [fields], fields.shape)
        header["BTYPE"], header["BUNIT"] = "Source", " "
        for number, layer in enumerate(layers, start=1):
            header[f"LAYER{number}"] = layer.name[:68]
        write_cube(out_source, header, [source], fields.shape, dtype="uint8")
    counts = np.bincount(source.ravel(), minlength=len(layers) + 1)[1:]
    shares = {layer.name: int(count) for layer, count in zip(layers, counts, strict=True)}
    return {"pixels": int(counts.sum()), "layers": shares}


def _read(layer: Layer, grid: FitsCube) -> Array:
    values = read_field(layer.field, grid)
    if layer.error is not None and layer.max_error_kms is not None:
        with np.errstate(invalid="ignore"):
            values = np.where(read_field(layer.error, grid) <= layer.max_error_kms, values, np.nan)
    return values


def _record(layer: Layer) -> dict[str, Any]:
    return {name: value.name if isinstance(value, Path) else value for name, value in asdict(layer).items()}
