"""All maps of one cube in one pass over its rows (derived specification, section 9).

`compute` works on sources of rows; `write` is its file side. A map does not depend on which others are made with it,
nor on how many rows are read at once.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from fringeflow.errors import DataError
from fringeflow.fitsio import write_cube
from fringeflow_derived import headers, moments, peaks
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.headers import Stamp, no_stamp
from fringeflow_derived.moments import MapPair, Spectra
from fringeflow_derived.parallel import ordered
from fringeflow_derived.products import read_rho
from fringeflow_derived.regrid import onto_grid
from fringeflow_derived.sources import Array, CubeSource, ScratchCube, is_true, row_blocks

_BYTES_PER_VOXEL = 20
"""Of cube, noise and masks as they are read: in long rows, as short ones take longer to ask for than to read."""

_VOXELS_AT_ONCE = 1 << 19
"""What is computed at once: few enough for the processor's cache, many enough for what a call costs not to count."""

_PEAK_BIAS = "Where there is no emission, this is the largest value of the noise."


@dataclass(frozen=True)
class Kind:
    """One kind of map: what makes it, its unit and its name in headers."""

    make: Callable[..., MapPair]
    bunit: str
    btype: str


KINDS: Mapping[str, Kind] = {
    "mom0": Kind(moments.mom0, "K km s-1", "Moment0"),
    "mom1": Kind(moments.mom1, "km s-1", "Moment1"),
    "mom2": Kind(moments.mom2, "km s-1", "Moment2"),
    "ew": Kind(moments.ew, "km s-1", "VelDisp EW"),
    "tpeak": Kind(peaks.tpeak, "K", "Tpeak"),
    "vpeak": Kind(peaks.vpeak, "km s-1", "Vmax"),
    "vquad": Kind(peaks.vquad, "km s-1", "Vmax"),
}


@dataclass(frozen=True)
class Request:
    """One map to make, and where it goes.

    `mask` names one of the masks given, or is None for all of the cube. `options` are those of the algorithm as the
    keys give them: velocity widths are texts with a unit or numbers in km/s.
    """

    algorithm: str
    mask: str | None
    out: Path
    out_error: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stamp: Stamp = no_stamp


def write(
    cube: Path, noise: Path | None, masks: Mapping[str, Path], requests: Sequence[Request], *, cores: int = 1
) -> list[dict[str, Any]]:
    """Make maps of one cube and write them; return facts of each: ``pixels``, ``median``, ``total``.

    Parameters
    ----------
    cube
        In K or Jy/beam.
    noise
        Its noise, on the same grid; None: no maps of uncertainty.
    masks
        Name -> file; those on other grids are looked up.
    requests
        The maps.
    cores
        Blocks of rows worked on at once; the maps do not depend on it.

    Raises
    ------
    DataError
        An algorithm or an option is unknown, or a header lacks a card.
    """
    with ExitStack() as stack:
        source = stack.enter_context(FitsCube(cube))
        sigma = stack.enter_context(FitsCube(noise)) if noise else None
        opened = {name: stack.enter_context(FitsCube(path)) for name, path in masks.items()}
        made = blocks(
            source,
            sigma,
            {name: onto_grid(mask, source) for name, mask in opened.items()},
            [(request.algorithm, request.mask, options_of(request.algorithm, request.options)) for request in requests],
            velocity_kms=source.velocity_kms,
            channel_kms=source.channel_kms,
            rho=read_rho(sigma) if sigma else (1.0,),
            scale=source.to_kelvin(),
            cores=cores,
        )
        # A map is written when all its rows are there; until then, many large ones would not fit into memory.
        shape = (2 * len(requests), *source.shape[1:])
        rows = stack.enter_context(ScratchCube(requests[0].out.with_suffix(".rows"), shape, np.float32))
        for start, pairs in made:
            for number, pair in enumerate(pairs):
                for side, part in enumerate(pair):
                    if part is not None:
                        rows.write_part(2 * number + side, start, part)
        return [
            _write_one(source, request, rows.plane(2 * number), rows.plane(2 * number + 1) if sigma else None)
            for number, request in enumerate(requests)
        ]


def compute(
    cube: CubeSource,
    noise: CubeSource | None,
    masks: Mapping[str, CubeSource],
    wanted: Sequence[tuple[str, str | None, Mapping[str, Any]]],
    *,
    velocity_kms: Array,
    channel_kms: float,
    rho: tuple[float, ...] = (1.0,),
    scale: float = 1.0,
    rows: int | None = None,
    cores: int = 1,
) -> list[MapPair]:
    """Return (map, error) for each of `wanted`, float64; see `blocks` for the parameters."""
    made = blocks(
        cube,
        noise,
        masks,
        wanted,
        velocity_kms=velocity_kms,
        channel_kms=channel_kms,
        rho=rho,
        scale=scale,
        rows=rows,
        cores=cores,
    )
    parts = [pairs for _, pairs in made]
    values = [np.concatenate([pair[0] for pair in column]) for column in zip(*parts, strict=True)]
    if noise is None:
        return [(image, None) for image in values]
    errors = [
        np.concatenate([pair[1] for pair in column if pair[1] is not None]) for column in zip(*parts, strict=True)
    ]
    return list(zip(values, errors, strict=True))


def blocks(
    cube: CubeSource,
    noise: CubeSource | None,
    masks: Mapping[str, CubeSource],
    wanted: Sequence[tuple[str, str | None, Mapping[str, Any]]],
    *,
    velocity_kms: Array,
    channel_kms: float,
    rho: tuple[float, ...] = (1.0,),
    scale: float = 1.0,
    rows: int | None = None,
    cores: int = 1,
) -> Iterator[tuple[int, list[MapPair]]]:
    """Yield the first row and (map, error) for each of `wanted`, block by block, each row of all inputs read once.

    Parameters
    ----------
    cube, noise, masks
        Sources on one grid; masks by name.
    wanted
        (algorithm, name of the mask or None, its keyword arguments).
    velocity_kms, channel_kms
        Channel centres and width.
    rho
        Correlation of the noise over channels.
    scale
        What cube and noise are multiplied by to be in K.
    rows
        Rows per block; the maps do not depend on it.
    cores
        Blocks worked on at once; the maps do not depend on it.
    """
    spectral = _Spectral(velocity_kms, channel_kms, rho)
    names = list(dict.fromkeys(mask for _, mask, _ in wanted))
    ranges = {name: None if name is None else channel_range(masks[name]) for name in names}

    def make(block: tuple[int, int]) -> tuple[int, list[MapPair]]:
        start, stop = block
        data = _scaled(cube.rows(start, stop), scale)
        sigma = None if noise is None else _scaled(noise.rows(start, stop), scale)
        true = {name: None if name is None else is_true(masks[name].rows(start, stop)) for name in names}
        pairs = [(np.full(data.shape[1:], np.nan), np.full(data.shape[1:], np.nan)) for _ in wanted]
        for piece in _pieces(data.shape):
            pixels = _Pixels(_spectra_of(data, piece), None if sigma is None else _spectra_of(sigma, piece))
            for name in names:
                mask = true[name]
                part = _Masked(pixels, None if mask is None else _spectra_of(mask, piece), spectral, ranges[name])
                for (algorithm, own, options), pair in zip(wanted, pairs, strict=True):
                    if own == name:
                        for side, found in zip(pair, part.make(algorithm, options), strict=True):
                            side[piece] = found.reshape(side[piece].shape)
        return start, [(values, None if noise is None else errors) for values, errors in pairs]

    return ordered(make, row_blocks(cube.shape, _BYTES_PER_VOXEL, rows), cores)


def channel_range(mask: CubeSource) -> tuple[int, int] | None:
    """Return the first and the last channel with a true voxel, None if there is none (derived, section 9.4)."""
    found = [channel for channel in range(mask.shape[0]) if is_true(mask.plane(channel)).any()]
    return (found[0], found[-1]) if found else None


def options_of(algorithm: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of an algorithm from what the keys say.

    Raises
    ------
    DataError
        The algorithm or an option is unknown, or a width is not one.
    """
    if algorithm not in KINDS:
        raise DataError(f"no algorithm is called {algorithm!r}", remedy=f"choose from {', '.join(KINDS)}")
    parameters = inspect.signature(KINDS[algorithm].make).parameters
    return keyword_arguments(algorithm, [name for name in parameters if name not in ("spectra", "channels")], given)


def keyword_arguments(algorithm: str, known: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments out of `known` from what the keys say: ``window`` for ``window_kms`` and so on.

    Raises
    ------
    DataError
        An option is unknown, or a width is not one.
    """
    options = {}
    for name, value in given.items():
        with_unit = f"{name}_kms" in known
        if not with_unit and name not in known:
            raise DataError(
                f"{algorithm} has no option {name!r}", remedy=f"its options are {', '.join(known) or 'none'}"
            )
        options[f"{name}_kms" if with_unit else name] = width_kms(value) if with_unit and value is not None else value
    return options


def width_kms(value: float | str) -> float:
    """Return a velocity width: a number is in km/s, a text has a unit ('12.5km/s', '2500 m/s')."""
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(km/s|km s-1|m/s|m s-1)?\s*", value)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if not found or not number > 0:
        raise DataError(f"{value!r} is not a velocity width", remedy="write it like '12.5km/s'")
    return number * (1e-3 if (found[2] or "").startswith("m") else 1.0)


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of parts of a block (nchan, ny, nx)."""
    channels, height, width = shape
    across = min(width, max(1, _VOXELS_AT_ONCE // channels))
    down = max(1, _VOXELS_AT_ONCE // (channels * across))
    for top, left in product(range(0, height, down), range(0, width, across)):
        yield np.s_[top : top + down, left : left + across]


def _spectra_of(block: Array, piece: tuple[slice, slice]) -> Array:
    """Return part of a block as (nchan, pixels)."""
    return block[:, *piece].reshape(len(block), -1)


class _Pixels:
    """Some pixels of the cube and its noise, (nchan, pixels), and what all masks share."""

    def __init__(self, data: Array, noise: Array | None) -> None:
        self.data = data
        self.noise = noise

    @cached_property
    def footprint(self) -> Array:
        """Pixels with data."""
        return np.asarray(np.isfinite(self.data).any(axis=0))

    @cached_property
    def median_noise(self) -> Array | None:
        """Median noise over channels."""
        return None if self.noise is None else moments.median_channel(self.noise)


class _Masked:
    """Some pixels under one mask: only those that it reaches are computed, unless an algorithm looks at all."""

    def __init__(
        self, pixels: _Pixels, mask: Array | None, spectral: _Spectral, channels: tuple[int, int] | None
    ) -> None:
        self._pixels = pixels
        self._mask = mask
        self._spectral = spectral
        self._channels = channels
        self._blank = mask is not None and channels is None
        self._reached = np.ones(pixels.data.shape[1], bool) if mask is None else np.asarray(mask.any(axis=0))

    def make(self, algorithm: str, options: Mapping[str, Any]) -> tuple[Array, Array]:
        """Return the map of these pixels and its errors."""
        values, errors = np.full((2, self._pixels.data.shape[1]), np.nan)
        kind = KINDS[algorithm].make
        if algorithm == "tpeak" and not options.get("masked"):
            footprint = self._pixels.footprint
            if not self._blank and footprint.any():
                _put(footprint, kind(self._all, channels=self._channels, **options), values, errors)
            return values, errors
        if self._reached.any():
            _put(self._reached, kind(self._few, **options), values, errors)
        if algorithm == "mom0" and options.get("include_limits", True):
            empty = self._pixels.footprint & ~self._reached
            values[empty] = 0.0
            if self._pixels.median_noise is not None:
                errors[empty] = moments.limit_error(
                    self._pixels.median_noise[empty],
                    self._spectral.channel_kms,
                    self._spectral.rho,
                    options.get("line_width_kms", moments.LINE_WIDTH_KMS),
                )
        return values, errors

    @cached_property
    def _all(self) -> Spectra:
        """Spectra of all pixels with data, unmasked; few of them have blanks."""
        return self._some(self._pixels.footprint, None)

    @cached_property
    def _few(self) -> Spectra:
        """Spectra of the pixels that the mask reaches."""
        return self._some(self._reached, self._mask)

    def _some(self, where: Array, mask: Array | None) -> Spectra:
        data, noise = self._pixels.data, self._pixels.noise
        if not where.all():
            data = data.compress(where, axis=1)
            mask, noise = (None if part is None else part.compress(where, axis=1) for part in (mask, noise))
        return self._spectral.spectra(data, mask, noise)


@dataclass(frozen=True)
class _Spectral:
    """What all spectra of a cube share."""

    velocity_kms: Array
    channel_kms: float
    rho: tuple[float, ...]

    def spectra(self, data: Array, mask: Array | None, noise: Array | None) -> Spectra:
        """Return spectra of some pixels."""
        return Spectra(data, self.velocity_kms, mask, noise, self.rho, self.channel_kms)


def _put(where: Any, pair: MapPair, values: Array, errors: Array) -> None:
    values[where] = pair[0]
    if pair[1] is not None:
        errors[where] = pair[1]


def _scaled(values: Array, scale: float) -> Array:
    return values if scale == 1.0 else (values * scale).astype(np.float32)


def _write_one(source: FitsCube, request: Request, values: Array, errors: Array | None) -> dict[str, Any]:
    kind = KINDS[request.algorithm]
    for path, image, suffix in ((request.out, values, ""), (request.out_error, errors, " Error")):
        if path is None or image is None:
            continue
        comments = (_PEAK_BIAS,) if request.algorithm == "tpeak" and not request.options.get("masked") else ()
        header = headers.of_moment(source, kind.btype + suffix, kind.bunit, comments)
        request.stamp(header, {"algorithm": request.algorithm, "mask": request.mask, "kwargs": dict(request.options)})
        write_cube(path, header, [image], image.shape)
    finite = values[np.isfinite(values)]
    return {
        "pixels": int(finite.size),
        "median": float(np.median(finite)) if finite.size else None,
        "total": float(finite.sum(dtype=np.float64)) if finite.size else None,
    }
