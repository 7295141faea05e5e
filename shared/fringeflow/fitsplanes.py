"""FITS images read one plane at a time, compressed or not, with the axes that matter; knows no science."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from fringeflow.errors import CorruptInputError, DataError, MissingInputError

_WORLD = re.compile(r"(?P<name>CTYPE|CRVAL|CDELT|CRPIX|CUNIT|CROTA|PC|CD|PV)(?P<axis>\d+)(?P<rest>_\d+)?")


class Planes:
    """A FITS image opened for reading by planes, whatever the order of its axes and however many are degenerate.

    `header` describes the axes that remain: two celestial ones and, for a cube, the spectral one as the third;
    `shape` is (planes, y, x), with one plane for an image; `bits` is BITPIX; `is_plain` tells whether the pixels lie in
    the file as they are, uncompressed. Use as a context manager.

    Parameters
    ----------
    path
        The file; the first HDU that holds an image is read. It may be compressed: by tiles or, at the price of speed,
        as a whole with gzip.

    Raises
    ------
    MissingInputError, CorruptInputError
        The file is not there, not a FITS image, or cut short.
    DataError
        More than one Stokes plane, or axes that are neither celestial nor spectral.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise MissingInputError(f"{path} is not there")
        try:
            self.hdus = fits.open(path, memmap=False)  # mapped pages would count as memory of this process
        except OSError as error:
            raise CorruptInputError(f"{path} is not a FITS file: {error}", remedy="make it again") from error
        try:
            self.hdu = _image_of(self.hdus, path)
            original = self.hdu.header
            self._spectral = _spectral_axis(original, path)
        except BaseException:
            self.hdus.close()
            raise
        self.is_plain = not isinstance(self.hdu, fits.CompImageHDU) and not _is_gzipped(path)
        self.bits = int(original["BITPIX"])
        self.is_cube = self._spectral is not None
        depth = original[f"NAXIS{self._spectral}"] if self._spectral else 1
        self.shape: tuple[int, int, int] = (depth, original["NAXIS2"], original["NAXIS1"])
        self.header = _without_extra_axes(original, self._spectral)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hdus.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self.plane(index) for index in range(len(self)))

    def plane(self, index: int) -> NDArray[np.float32]:
        """Return plane `index`, shape (y, x), in native byte order; blanks are NaN."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        axes = self.hdu.header["NAXIS"]
        chosen = [index if axis == self._spectral else 0 for axis in range(axes, 2, -1)]
        return np.asarray(self.hdu.section[(*chosen, slice(None), slice(None))], dtype=np.float32)


def _is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _image_of(hdus: fits.HDUList, path: Path) -> Any:
    """Return the first HDU with an image, all of which must be there."""
    found = next((hdu for hdu in hdus if hdu.is_image and hdu.header["NAXIS"] >= 2), None)
    if found is None:
        raise CorruptInputError(f"{path} holds no image", remedy="make it again")
    place = found.fileinfo()
    size = place["datSpan"] if isinstance(found, fits.CompImageHDU) else found.size
    if path.suffix != ".gz" and path.stat().st_size < place["datLoc"] + size:
        raise CorruptInputError(f"{path} is shorter than its header says", remedy="make it again")
    return found


def _spectral_axis(header: fits.Header, path: Path) -> int | None:
    """Return the number of the spectral axis; None for an image (a spectral axis of length one is kept)."""
    found = None
    for axis in range(3, header["NAXIS"] + 1):
        kind = str(header.get(f"CTYPE{axis}", "")).split("-")[0].strip().upper()
        if kind in {"FREQ", "VRAD", "VELO", "VOPT", "FELO", "WAVE"}:
            found = axis
        elif header[f"NAXIS{axis}"] > 1:
            raise DataError(
                f"{path}: axis {axis} (CTYPE{axis} {kind or 'missing'}) has {header[f'NAXIS{axis}']} planes",
                remedy="only celestial and spectral axes may be longer than one; select Stokes I",
            )
    return found


def _without_extra_axes(original: fits.Header, spectral: int | None) -> fits.Header:
    """Return the header with axes 1, 2 and, as the third, the spectral one."""
    moved = {1: 1, 2: 2} | ({spectral: 3} if spectral else {})
    header = original.copy(strip=True)
    if any(_on_axes(card.keyword, moved) != card.keyword for card in header.cards):
        header = fits.Header(list(_moved_cards(header, moved)))
    if "WCSAXES" in header:
        header["WCSAXES"] = len(moved)
    return header


def _moved_cards(header: fits.Header, moved: Mapping[int, int]) -> Iterator[fits.Card]:
    for card in header.cards:
        keyword = _on_axes(card.keyword, moved)
        if keyword:
            yield card if keyword == card.keyword else fits.Card(keyword, card.value, card.comment)


def _on_axes(keyword: str, moved: Mapping[int, int]) -> str | None:
    """Return `keyword` with its axes renumbered; None if it speaks of one that is gone."""
    match = _WORLD.fullmatch(keyword)
    if not match:
        return keyword
    axis, rest = moved.get(int(match["axis"])), match["rest"] or ""
    if match["name"] in {"PC", "CD"} and rest:
        other = moved.get(int(rest[1:]))
        axis, rest = (axis, f"_{other}") if other else (None, "")
    return f"{match['name']}{axis}{rest}" if axis else None
