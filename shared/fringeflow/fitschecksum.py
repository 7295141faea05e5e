"""The checksum of FITS files (FITS standard 4.0, appendix J), computed while they are written. Knows only bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ALL_ONES = 0xFFFFFFFF


class Sum:
    """The ones' complement sum of 32-bit words, begun at `value`.

    `value` is that of all whole words added so far; a FITS file, header or data, always ends with one.
    """

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Add the bytes that come next."""
        data = self._rest + data
        whole = len(data) - len(data) % 4
        self._rest = data[whole:]
        self._carry(int(np.frombuffer(data[:whole], dtype=">u4").sum(dtype=np.uint64)))

    def add_words(self, words: NDArray[np.uint32]) -> None:
        """Add the words that come next, as numbers; what was added before must have been whole words."""
        if self._rest:
            raise ValueError("the bytes added before do not end with a whole word")
        self._carry(int(words.sum(dtype=np.uint64)))

    def _carry(self, amount: int) -> None:
        self.value += amount
        while self.value > _ALL_ONES:
            self.value = (self.value & _ALL_ONES) + (self.value >> 32)

    def encoded_complement(self) -> str:
        """Return the value of CHECKSUM that makes the sum of the whole all ones.

        Each byte of the complement becomes four characters that add up to it and are letters or digits.
        """
        characters = [""] * 16
        for place, byte in enumerate((_ALL_ONES - self.value).to_bytes(4, "big")):
            quarter, rest = divmod(byte, 4)
            codes = [ord("0") + quarter + rest, *[ord("0") + quarter] * 3]
            for first in (0, 2):
                while not all(chr(code).isalnum() for code in codes[first : first + 2]):
                    codes[first] += 1
                    codes[first + 1] -= 1
            for turn, code in enumerate(codes):
                characters[(4 * turn + place + 1) % 16] = chr(code)
        return "".join(characters)
