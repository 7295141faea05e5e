"""FITS images written one plane at a time, with checksums and provenance in the header; knows no science.

The same planes and header always give the same bytes: no date, host or order of work enters a file.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from fringeflow import fitsstokes
from fringeflow.errors import DataError
from fringeflow.fitscards import BLOCK, Cards, is_remark, keyword_of
from fringeflow.fitschecksum import Sum
from fringeflow.fitsplanes import Planes
from fringeflow.fitstiles import TileWriter, header_bytes, put_limits

if TYPE_CHECKING:
    from astropy.io import fits

PixelType = Literal["float32", "int16", "uint8"]

_BITPIX: Mapping[PixelType, tuple[int, str]] = {"float32": (-32, ">f4"), "int16": (16, ">i2"), "uint8": (8, "u1")}
_STRUCTURE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|[PG]COUNT|GROUPS|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|DATAMAX|DATAMIN|END"
)
_PREFIX = "fringeflow: "
_PIECE = 72 - len(_PREFIX) - 1


@contextlib.contextmanager
def cube_writer(
    path: Path,
    header: fits.Header | Cards,
    shape: tuple[int, ...],
    *,
    dtype: PixelType = "float32",
    stokes: fitsstokes.Stokes = fitsstokes.ALONE,
) -> Iterator[CubeWriter]:
    """Give what an image or cube is written with plane by plane (see `write_cube`); several may be open at once.

    The file appears when the context ends without an error. If its name ends in ``.fz`` it is tile-compressed,
    without loss (see `fitstiles`).
    """
    if stokes != fitsstokes.ALONE:
        header, shape = fitsstokes.with_axis(header, len(shape) + 1, stokes), (len(stokes), *shape)
    with _draft(path) as draft, draft.open("wb") as stream:
        writer = CubeWriter(stream, header, shape, dtype, compress=path.suffix == ".fz")
        yield writer
        writer.finish()


def tile_compress(path: Path, out: Path) -> None:
    """Write the image or cube in `path` as `out`, tile-compressed without loss: the same values, the same cards.

    Raises
    ------
    MissingInputError, CorruptInputError, DataError
        As `Planes`.
    """
    with Planes(path, stokes="all") as image:
        kinds: Mapping[int, PixelType] = {bits: name for name, (bits, _) in _BITPIX.items()}
        if image.bits not in kinds:
            raise DataError(f"{path} has BITPIX {image.bits}: not written here", remedy="compress it with fpack")
        sides = image.shape[1:]
        shape = (image.channels, *sides) if image.is_cube else sides
        with cube_writer(out, image.cards, shape, dtype=kinds[image.bits], stokes=image.stokes) as writer:
            for plane in image:
                writer.append(plane)


class CubeWriter:
    """Writes a FITS file plane by plane (see `cube_writer`)."""

    def __init__(
        self,
        stream: BinaryIO,
        header: fits.Header | Cards,
        shape: tuple[int, ...],
        dtype: PixelType = "float32",
        *,
        compress: bool = False,
    ) -> None:
        self._stream = stream
        self._shape = tuple(shape)
        self._count = int(np.prod(shape[:-2]))
        self._disk = np.dtype(_BITPIX[dtype][1])
        self._cards = _framed(header, _BITPIX[dtype][0], shape)
        self._tiles = TileWriter(stream, self._cards, self._count) if compress else None
        self._room = 0 if compress else stream.write(header_bytes(self._cards, 0))
        self._total = Sum()
        self._limits = (np.inf, -np.inf)
        self._done = 0

    def append(self, plane: NDArray[Any]) -> None:
        """Write the next plane.

        Raises
        ------
        ValueError
            It has not the shape of a plane, or is one too many.
        """
        if plane.shape != self._shape[-2:] or self._done == self._count:
            raise ValueError(f"plane {self._done} has shape {plane.shape}: not one of a cube of shape {self._shape}")
        native = np.ascontiguousarray(plane, dtype=self._disk.newbyteorder("="))
        stored = native if self._disk.isnative else native.byteswap()
        if self._tiles:
            self._tiles.append(stored)
        else:
            self._write(native, stored)
        low, high = _limits(native)
        self._limits = (min(self._limits[0], low), max(self._limits[1], high))
        self._done += 1

    def finish(self) -> None:
        """Write what is known only after the last plane.

        Raises
        ------
        ValueError
            Planes are missing.
        """
        if self._done != self._count:
            raise ValueError(f"{self._done} planes instead of {self._count}")
        if self._tiles:
            self._tiles.finish(self._limits)
            return
        padding = b"\0" * (-self._stream.tell() % BLOCK)
        self._stream.write(padding)
        self._total.add(padding)
        self._stream.seek(0)
        self._stream.write(_finished(self._cards, self._room, self._total.value, self._limits))

    def _write(self, native: NDArray[Any], stored: NDArray[Any]) -> None:
        data = stored.data.cast("B") if stored.size else b""
        self._stream.write(data)
        if native.itemsize == 4:
            self._total.add_words(native.view(np.uint32))
        else:
            self._total.add(bytes(data))


def write_cube(
    path: Path,
    header: fits.Header | Cards,
    planes: Iterable[NDArray[Any]],
    shape: tuple[int, ...],
    *,
    dtype: PixelType = "float32",
    stokes: fitsstokes.Stokes = fitsstokes.ALONE,
) -> None:
    """Write an image or cube plane by plane, whole or not at all.

    DATAMAX and DATAMIN (of the finite values, where there are any), DATASUM and CHECKSUM are computed on the way.

    Parameters
    ----------
    path
        The file; one that is there already is replaced in one step at the end.
    header
        All other cards; those that describe the array itself are set from `shape` and `dtype`.
    planes
        Arrays of shape ``shape[-2:]``, in order.
    shape
        (y, x) or (planes, y, x), of one Stokes parameter.
    dtype
        Type of the pixels on disk.
    stokes
        Parameters whose planes follow each other; a Stokes axis, the last, says which. I alone needs none.

    Raises
    ------
    ValueError
        The planes are not of that shape or not that many.
    DataError
        Stokes parameters that no axis can hold.
    """
    with cube_writer(path, header, shape, dtype=dtype, stokes=stokes) as writer:
        for plane in planes:
            writer.append(plane)


def provenance(
    header: fits.Header | Cards,
    *,
    unit: str,
    work_key: str,
    parameters: Mapping[str, Any],
    software: Mapping[str, str],
    inputs: Mapping[str, str],
) -> None:
    """Say in `header` what an image was made of and how: plain cards FFUNIT and FFKEY, and HISTORY lines.

    Each line is ``fringeflow: <section> <name> <value>``, the last two as JSON; a line that ends in ``&`` goes on in
    the next. `read_provenance` reads them back.

    Parameters
    ----------
    header
        Changed in place; an earlier provenance of ours is replaced.
    unit, work_key
        What made it.
    parameters
        Anything JSON can hold.
    software
        Name -> version.
    inputs
        Name of a dropped input -> its sha256.
    """
    kept = [str(line) for line in header.get("HISTORY", []) if not str(line).startswith(_PREFIX)]
    header.remove("HISTORY", ignore_missing=True, remove_all=True)
    header["FFUNIT"] = (unit[:68], "unit that made this" if len(unit) < 45 else "")
    header["FFKEY"] = work_key
    sections: Mapping[str, Mapping[str, Any]] = {
        "unit": {"id": unit, "work_key": work_key},
        "software": software,
        "parameters": parameters,
        "inputs": inputs,
    }
    for section, entries in sections.items():
        for name in sorted(entries):
            text = f"{section} {json.dumps(name)} {json.dumps(entries[name], sort_keys=True)}"
            pieces = [_PREFIX + text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
            kept += [f"{piece}&" for piece in pieces[:-1]] + pieces[-1:]
    header.extend([("HISTORY", line) for line in kept], end=True)


def read_provenance(header: fits.Header | Cards) -> dict[str, dict[str, Any]]:
    """Return what `provenance` wrote: section -> name -> value, with sections unit, software, parameters, inputs."""
    found: dict[str, dict[str, Any]] = {"unit": {}, "software": {}, "parameters": {}, "inputs": {}}
    text = ""
    for line in map(str, header.get("HISTORY", [])):
        if not line.startswith(_PREFIX):
            continue
        text += line[len(_PREFIX) :]
        if text.endswith("&"):
            text = text[:-1]
            continue
        section, _, rest = text.partition(" ")
        name, end = json.JSONDecoder().raw_decode(rest)
        found[section][name] = json.loads(rest[end:])
        text = ""
    return found


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Give a name to write to, which becomes `path` at the end or, after an error, vanishes."""
    draft = path.with_name(f".{path.name}.part")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _limits(values: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and the largest finite value (smallest > largest if there is none)."""
    if not values.size:
        return np.inf, -np.inf
    low, high = float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)


def _framed(header: fits.Header | Cards, bitpix: int, shape: tuple[int, ...]) -> Cards:
    """Return `header` as that of an array, with room for what is known at the end; comments stay behind."""
    described = Cards.of(header).only(lambda keyword: not _STRUCTURE.fullmatch(keyword))
    return Cards(
        [
            *Cards.new(
                *(("SIMPLE", True, "conforms to FITS standard"), ("BITPIX", bitpix), ("NAXIS", len(shape))),
                *((f"NAXIS{axis}", int(length)) for axis, length in enumerate(reversed(shape), start=1)),
            ).texts,
            *(card for card in described.texts if not is_remark(keyword_of(card))),
            *Cards.new(
                *(("DATAMAX", 0.0, "largest finite value"), ("DATAMIN", 0.0, "smallest finite value")),
                *(("DATASUM", "0", "checksum of the data"), ("CHECKSUM", "0" * 16, "checksum of the whole")),
            ).texts,
            *(card for card in described.texts if is_remark(keyword_of(card))),
        ]
    )


def _finished(cards: Cards, room: int, datasum: int, limits: tuple[float, float]) -> bytes:
    put_limits(cards, limits)
    cards["DATASUM"] = str(datasum)
    whole = Sum(datasum)
    whole.add(header_bytes(cards, room))
    cards["CHECKSUM"] = whole.encoded_complement()
    return header_bytes(cards, room)
