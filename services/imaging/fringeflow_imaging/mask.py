"""The signal mask: significant peaks grown into their fainter surroundings, connected through the whole cube.

Planes come one by one and are kept as bits, so that memory does not grow with a cube of floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bits = NDArray[np.uint8]
Bools = NDArray[np.bool_]


def signal_mask(
    snr_plane: Callable[[int], NDArray[np.floating]],
    shape: tuple[int, int, int],
    *,
    high_snr: float,
    low_snr: float,
    absolute: bool,
    roll: bool = True,
    min_pixels: float = 0.0,
    min_channels: int = 1,
    seed_channels: int = 1,
) -> Iterator[Bools]:
    """Yield the planes of the mask, (ny, nx).

    Seeds are pixels above `high_snr`. The candidates are those above `low_snr`, with those of the channel before and
    after if `roll`; the ends of the cube are not neighbours (imaging specification, section 11, W12). The mask is every
    seed, and every group of candidates, touching by faces in all three axes, that holds a seed.

    Parameters
    ----------
    snr_plane
        The image of a channel in units of its noise; not finite where blank.
    shape
        (channels, ny, nx).
    absolute
        Whether negative features count.
    min_pixels, min_channels
        A group must cover so many pixels in one channel at least, and so many channels.
    seed_channels
        A pixel is a seed only together with its neighbours in so many channels in a row: noise rarely is.
    """
    channels, _, nx = shape
    seeds, low = _thresholds(snr_plane, channels, high_snr, min(low_snr, high_snr), absolute=absolute)
    seeds = _runs(seeds, seed_channels)

    def candidates(channel: int) -> Bools:
        near = range(max(0, channel - 1), min(channels, channel + 2)) if roll else (channel,)
        packed = np.bitwise_or.reduce([low[i] for i in near])
        return np.unpackbits(packed, axis=-1, count=nx).astype(bool)

    def seed(channel: int) -> Bools:
        return np.unpackbits(seeds[channel], axis=-1, count=nx).astype(bool)

    groups = _Groups()
    previous: NDArray[np.int64] | None = None
    for channel in range(channels):
        previous = groups.add_plane(candidates(channel), seed(channel), previous)
    wanted = groups.kept(min_pixels, min_channels)
    offset = 1
    for channel in range(channels):
        labels, count = ndimage.label(candidates(channel))
        yield np.concatenate([[False], wanted[offset : offset + count]])[labels]
        offset += count


def _thresholds(
    snr_plane: Callable[[int], NDArray[np.floating]], channels: int, high: float, low: float, *, absolute: bool
) -> tuple[list[Bits], list[Bits]]:
    seeds, candidates = [], []
    for channel in range(channels):
        plane = np.nan_to_num(snr_plane(channel), nan=0.0, posinf=0.0, neginf=0.0)
        plane = np.abs(plane) if absolute else plane
        seeds.append(np.packbits(plane > high, axis=-1))
        candidates.append(np.packbits(plane > low, axis=-1))
    return seeds, candidates


def grown(plane: Bools, radius_pixels: float) -> Bools:
    """Return the pixels of `plane` and all that are no further from one than `radius_pixels`."""
    if radius_pixels < 1 or not plane.any():
        return plane
    return np.asarray(ndimage.distance_transform_edt(~plane) <= radius_pixels)


def _runs(planes: list[Bits], length: int) -> list[Bits]:
    """Return of each pixel those channels that are set together with others, `length` in a row at least."""
    if length <= 1:
        return planes
    whole = [np.bitwise_and.reduce(planes[i : i + length]) for i in range(len(planes) - length + 1)]
    none = np.zeros_like(planes[0])
    return [np.bitwise_or.reduce([none, *whole[max(0, i - length + 1) : i + 1]]) for i in range(len(planes))]


class _Groups:
    """Joins the labelled regions of neighbouring planes (union-find) and keeps the measures of each group."""

    def __init__(self) -> None:
        self.parent = [0]
        self.seeded = [False]
        self.area = [0]
        self.channel = [0]
        self.planes = 0

    def add_plane(self, candidates: Bools, seeds: Bools, previous: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Take in the next plane; return its labels, which go on from those before."""
        labels, count = ndimage.label(candidates)
        first = len(self.parent)
        index = np.arange(1, count + 1)
        self.parent.extend(range(first, first + count))
        self.seeded.extend(bool(x) for x in np.atleast_1d(ndimage.maximum(seeds & candidates, labels, index))[:count])
        self.area.extend(int(x) for x in np.bincount(labels.ravel(), minlength=count + 1)[1:])
        self.channel.extend([self.planes] * count)
        self.planes += 1
        numbered = np.where(labels > 0, labels.astype(np.int64) + (first - 1), 0)
        if previous is not None:
            touching = (numbered > 0) & (previous > 0)
            for here, there in np.unique(np.stack([numbered[touching], previous[touching]]), axis=1).T:
                self._join(int(here), int(there))
        return numbered

    def kept(self, min_pixels: float, min_channels: int) -> Bools:
        """Return, for every label, whether its group holds a seed and is large enough."""
        roots = np.array([self._root(i) for i in range(len(self.parent))])
        seeded, area = np.zeros(len(roots), dtype=bool), np.zeros(len(roots), dtype=np.int64)
        first, last = np.full(len(roots), self.planes), np.full(len(roots), -1)
        np.logical_or.at(seeded, roots, self.seeded)
        np.maximum.at(area, roots, self.area)
        np.minimum.at(first, roots, self.channel)
        np.maximum.at(last, roots, self.channel)
        good = seeded & (area >= min_pixels) & (last - first + 1 >= min_channels)
        good[0] = False
        return np.asarray(good[roots] & (roots > 0))

    def _root(self, label: int) -> int:
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label

    def _join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self.parent[high] = low
