"""Tile-compressed FITS images (FITS standard 4.0, section 10), written a plane, which is a tile, at a time; no loss.

The same planes and header always give the same bytes. Any FITS reader that knows compressed images reads them back.
"""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fringeflow.fitscards import BLOCK, Cards, keyword_of
from fringeflow.fitschecksum import Sum

_LEVEL = 1  # noise does not get smaller with more effort
_GZIP = 16 + zlib.MAX_WBITS


class TileWriter:
    """Writes the extension that holds a compressed image, after an empty primary one.

    Parameters
    ----------
    stream
        To write to, from its beginning; must be seekable.
    cards
        Header of the image, as it would stand in an uncompressed file, with BITPIX and NAXIS.
    planes
        How many there will be.
    """

    def __init__(self, stream: BinaryIO, cards: Cards, planes: int) -> None:
        self._stream = stream
        self._table = np.zeros((planes, 2), ">i8")
        self._cards = _table_header(cards, planes)
        self._done = self._size = 0
        self._sum = Sum()
        from astropy.io import fits  # takes a third of a second to load, and few files are compressed

        primary = fits.PrimaryHDU()
        stream.write(primary.header.tostring().encode("ascii"))
        self._start = stream.tell()
        self._room = stream.write(header_bytes(self._cards, 0))
        stream.write(self._table.tobytes())

    def append(self, stored: NDArray[Any]) -> None:
        """Write the next plane, in the byte order of FITS."""
        shuffled = stored.reshape(-1).view(np.uint8).reshape(-1, stored.itemsize).T
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        tile = packer.compress(np.ascontiguousarray(shuffled).data) + packer.flush()
        self._table[self._done] = len(tile), self._size
        self._stream.write(tile)
        self._sum.add(tile)
        self._done += 1
        self._size += len(tile)

    def finish(self, limits: tuple[float, float]) -> None:
        """Write what is known only after the last plane, with the smallest and the largest value (see `put_limits`)."""
        padding = b"\0" * (-(self._table.nbytes + self._size) % BLOCK)
        self._stream.write(padding)
        # Whole words are summed, and the table before the tiles is so many of them.
        self._sum.add(padding)
        self._sum.add(self._table.tobytes())
        put_limits(self._cards, limits)
        self._cards["PCOUNT"] = self._size
        self._cards["TFORM1"] = f"1QB({int(self._table[:, 0].max(initial=0))})"
        self._cards["DATASUM"] = str(self._sum.value)
        whole = Sum(self._sum.value)
        whole.add(header_bytes(self._cards, self._room))
        self._cards["CHECKSUM"] = whole.encoded_complement()
        self._stream.seek(self._start)
        self._stream.write(header_bytes(self._cards, self._room))
        self._stream.write(self._table.tobytes())


def header_bytes(cards: Cards, room: int) -> bytes:
    """Return the header as it stands on disk, filled with blank cards to `room` bytes should it have shrunk."""
    text = cards.text().ljust(room - BLOCK) + "END".ljust(80)
    return str(text + " " * (-len(text) % BLOCK)).encode("ascii")


def put_limits(cards: Cards, limits: tuple[float, float]) -> None:
    """Set DATAMIN and DATAMAX, which are there; take them away if the smallest value is larger than the largest."""
    if limits[0] > limits[1]:
        cards.remove("DATAMAX")
        cards.remove("DATAMIN")
    else:
        cards["DATAMIN"], cards["DATAMAX"] = limits


def _table_header(image: Cards, planes: int) -> Cards:
    """Return the header of the table whose rows are the tiles, with that of the image in it."""
    header = Cards.new(
        ("XTENSION", "BINTABLE", "compressed image"),
        *(("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 16), ("NAXIS2", planes), ("PCOUNT", 0), ("GCOUNT", 1)),
        *(("TFIELDS", 1), ("TTYPE1", "COMPRESSED_DATA"), ("TFORM1", "1QB(0)")),
        *(("ZIMAGE", True), ("ZSIMPLE", True), ("ZCMPTYPE", "GZIP_2")),
        *(("ZBITPIX", image["BITPIX"]), ("ZNAXIS", image["NAXIS"])),
    )
    for axis in range(1, image["NAXIS"] + 1):
        header[f"ZNAXIS{axis}"] = image[f"NAXIS{axis}"]
        header[f"ZTILE{axis}"] = image[f"NAXIS{axis}"] if axis <= 2 else 1
    if image["BITPIX"] < 0:
        header["ZQUANTIZ"] = "NONE"
    own = {"SIMPLE", "BITPIX", "NAXIS", *(f"NAXIS{axis}" for axis in range(1, image["NAXIS"] + 1))}
    return Cards([*header.texts, *(card for card in image.texts if keyword_of(card) not in own)])
