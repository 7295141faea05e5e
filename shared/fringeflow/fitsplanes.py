"""FITS images read one plane at a time, compressed or not, with the axes that matter; knows no science."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fringeflow import fitsstokes
from fringeflow.errors import CorruptInputError, DataError, MissingInputError
from fringeflow.fitscards import BLOCK, Cards, keyword_of, read_primary

if TYPE_CHECKING:
    from astropy.io import fits

_WORLD = re.compile(r"(?P<name>CTYPE|CRVAL|CDELT|CRPIX|CUNIT|CROTA|PC|CD|PV)(?P<axis>\d+)(?P<rest>_\d+)?")


_ARRAY = re.compile(r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|[PG]COUNT|GROUPS|BSCALE|BZERO|TFIELDS")


class Planes:
    """A FITS image opened for reading by planes, whatever the order of its axes and however many are degenerate.

    `cards` (and `header`, the same as astropy's) describe the axes that remain: two celestial ones and, for a cube, the
    spectral one as the third; `shape` is (planes, y, x), with one plane for an image; `bits` is BITPIX; `stored` the
    cards of the array as it is stored; `is_plain` tells whether its pixels lie in the file as they are, uncompressed:
    the first plane at the byte `offset`, the next channel `step` planes on. Use as a context manager.

    Of several Stokes parameters the planes are counted channel by channel of the first one, then of the next:
    `stokes` are their numbers, `channels` says how many planes each has. The cards are those of one of them.

    Parameters
    ----------
    path
        The file; the first HDU that holds an image is read. It may be compressed: by tiles or, at the price of speed,
        as a whole with gzip.
    stokes
        Which Stokes parameters: "only" the one there is, "I" of several, or "all".

    Raises
    ------
    MissingInputError, CorruptInputError
        The file is not there, not a FITS image, or cut short.
    DataError
        More Stokes parameters than wanted, or axes that are neither celestial nor spectral.
    """

    def __init__(self, path: Path, *, stokes: fitsstokes.Choice = "only") -> None:
        self.path = path
        if not path.is_file():
            raise MissingInputError(f"{path} is not there")
        self._hdus: fits.HDUList | None = None
        self._end = 0
        try:
            found = self._plain()
            self.is_plain = found is not None
            self.stored, start = found or self._packed()
            self._polarised = fitsstokes.axis_of(self.stored)
            self._spectral = _spectral_axis(self.stored, self._polarised, path)
            self._all_stokes = fitsstokes.numbers(self.stored, path)
            self.stokes = fitsstokes.chosen(self._all_stokes, stokes, path)
        except BaseException:
            self.close()
            raise
        self.bits = int(self.stored["BITPIX"])
        self.is_cube = self._spectral is not None
        self.channels = int(self.stored[f"NAXIS{self._spectral}"]) if self._spectral else 1
        sides = (int(self.stored["NAXIS2"]), int(self.stored["NAXIS1"]))
        self.shape: tuple[int, int, int] = (len(self.stokes) * self.channels, *sides)
        self.step = len(self._all_stokes) if (self._polarised or 0) < (self._spectral or 0) else 1
        apart = 1 if self.step > 1 else self.channels
        first = self._place_of(self.stokes[0]) * apart
        self.offset = start + first * math.prod(sides) * abs(self.bits) // 8
        self.cards = _without_extra_axes(self.stored, self._spectral)

    def _plain(self) -> tuple[Cards, int] | None:
        """Return the cards of an image at the beginning of the file and where its pixels are, if there is one."""
        try:
            found = read_primary(self.path)
        except OSError as error:
            raise CorruptInputError(f"{self.path} cannot be read: {error}", remedy="make it again") from error
        if found is None or found[0].get("NAXIS", 0) < 2 or found[0].get("GROUPS", False):
            return None
        cards, offset = found
        self._end = offset + _bytes_of(cards)
        if self.path.stat().st_size < self._end:
            raise _cut_short(self.path)
        return cards, offset

    def _packed(self) -> tuple[Cards, int]:
        """Return the same of an image elsewhere in the file, or compressed."""
        from astropy.io import fits

        place = self.hdu.fileinfo()
        is_tiled = isinstance(self.hdu, fits.CompImageHDU)
        size = place["datSpan"] if is_tiled else self.hdu.size
        if self.path.suffix != ".gz" and self.path.stat().st_size < place["datLoc"] + size:
            raise _cut_short(self.path)
        self.is_plain = not is_tiled and not _is_gzipped(self.path)
        return Cards.of(self.hdu.header), int(place["datLoc"])

    @cached_property
    def hdus(self) -> fits.HDUList:
        """The file as astropy opens it."""
        from astropy.io import fits  # takes a third of a second to load; plain files are read without it

        try:
            self._hdus = fits.open(self.path, memmap=False)  # mapped pages would count as memory of this process
        except OSError as error:
            raise CorruptInputError(f"{self.path} is not a FITS file: {error}", remedy="make it again") from error
        return self._hdus

    @cached_property
    def hdu(self) -> Any:
        """The first HDU with an image."""
        found = next((hdu for hdu in self.hdus if hdu.is_image and hdu.header["NAXIS"] >= 2), None)
        if found is None:
            raise CorruptInputError(f"{self.path} holds no image", remedy="make it again")
        return found

    @cached_property
    def header(self) -> fits.Header:
        """`cards` as astropy's header."""
        return self.cards.header()

    @property
    def has_more(self) -> bool:
        """Whether there may be other HDUs in the file, a table of beams for one."""
        return not self.is_plain or self.path.stat().st_size > self._end + -self._end % BLOCK

    def close(self) -> None:
        """Close the file."""
        if self._hdus is not None:
            self._hdus.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self.plane(index) for index in range(len(self)))

    def plane(self, index: int) -> NDArray[np.float32]:
        """Return plane `index`, shape (y, x), in native byte order; blanks are NaN."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        stokes, channel = divmod(index, self.channels)
        places = {self._spectral: channel, self._polarised: self._place_of(self.stokes[stokes])}
        chosen = [places.get(axis, 0) for axis in range(self.stored["NAXIS"], 2, -1)]
        return np.asarray(self.hdu.section[(*chosen, slice(None), slice(None))], dtype=np.float32)

    def first(self, stokes: int) -> int:
        """Return the first plane of a Stokes parameter, which must be there."""
        return self.stokes.index(stokes) * self.channels

    def beside(self, image: Planes, index: int) -> NDArray[np.float32]:
        """Return what goes with plane `index` of `image`: of the same Stokes parameter and channel, or the only one."""
        stokes, channel = divmod(index, image.channels)
        first = self.first(image.stokes[stokes]) if len(self.stokes) > 1 else 0
        return self.plane(first + (channel if self.channels > 1 else 0))

    def beam_rows(self) -> NDArray[Any] | None:
        """Return the rows of CASA's table of beams that belong to the planes, in their order; None if there is none.

        One row for each plane, unless the table has other channels than the image.
        """
        if not self.has_more or "BEAMS" not in self.hdus:
            return None
        table = np.asarray(self.hdus["BEAMS"].data)
        names = table.dtype.names or ()
        if "CHAN" in names:
            table = table[np.argsort(table["CHAN"], kind="stable")]
        if "POL" not in names or len(np.unique(table["POL"])) == 1:
            return np.concatenate([table] * len(self.stokes))
        return np.concatenate([table[table["POL"] == self._place_of(each)] for each in self.stokes])

    def _place_of(self, stokes: int) -> int:
        return self._all_stokes.index(stokes)


def _is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _bytes_of(cards: Cards) -> int:
    """Return how many bytes the array takes."""
    lengths = [int(cards[f"NAXIS{axis}"]) for axis in range(1, cards["NAXIS"] + 1)]
    return math.prod(lengths) * abs(int(cards["BITPIX"])) // 8


def _cut_short(path: Path) -> CorruptInputError:
    return CorruptInputError(f"{path} is shorter than its header says", remedy="make it again")


def _spectral_axis(header: Cards, polarised: int | None, path: Path) -> int | None:
    """Return the number of the spectral axis; None for an image (a spectral axis of length one is kept)."""
    found = None
    for axis in range(3, header["NAXIS"] + 1):
        kind = str(header.get(f"CTYPE{axis}", "")).split("-")[0].strip().upper()
        if kind in {"FREQ", "VRAD", "VELO", "VOPT", "FELO", "WAVE"}:
            found = axis
        elif axis != polarised and header[f"NAXIS{axis}"] > 1:
            raise DataError(
                f"{path}: axis {axis} (CTYPE{axis} {kind or 'missing'}) has {header[f'NAXIS{axis}']} planes",
                remedy="only celestial and spectral axes may be longer than one; select Stokes I",
            )
    return found


def _without_extra_axes(stored: Cards, spectral: int | None) -> Cards:
    """Return the cards of axes 1, 2 and, as the third, the spectral one; none that describe the array."""
    moved = {1: 1, 2: 2} | ({spectral: 3} if spectral else {})
    cards = Cards(_moved(stored.only(lambda keyword: not _ARRAY.fullmatch(keyword)), moved))
    if "WCSAXES" in cards:
        cards["WCSAXES"] = len(moved)
    return cards


def _moved(cards: Cards, axes: Mapping[int, int]) -> Iterator[str]:
    for card in cards.texts:
        keyword = _on_axes(keyword_of(card), axes)
        if keyword is not None:
            yield f"{keyword:<8}{card[8:]}"


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
