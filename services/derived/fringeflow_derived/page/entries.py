"""What the page is about: one entry per cube or continuum image, and where each entry's files lie.

File names are built from `fringeflow.names`, never taken apart; nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fringeflow import names
from fringeflow.errors import MissingInputError

Stage = Literal["imaging", "postprocess", "derived"]


@dataclass(frozen=True)
class CubeEntry:
    """One (target, config, product) the page shows.

    Attributes
    ----------
    target, config, product
        The three words of the file names.
    directory
        The target's folder under ``products/{imaging,postprocess,derived}``.
    tags
        Tags of the convolved resolutions, e.g. ``("75as", "12kpc")``; the native one needs none.
    kind
        ``"line"`` for a cube, ``"continuum"`` for an image.
    distance_mpc
        Distance; without it the ``DIST_MPC`` card of any of the entry's cubes is used.
    facts
        Further rows of the table, e.g. ``{"Clean stopped": "flux change below 1 %"}``.
    flat
        All files lie beside each other in the products folder; there are none but derived ones, and a map that is not
        there was not asked for.
    """

    target: str
    directory: str
    config: str
    product: str
    tags: tuple[str, ...] = ()
    kind: Literal["line", "continuum"] = "line"
    distance_mpc: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    flat: bool = False

    @property
    def title(self) -> str:
        """The words people read."""
        return " · ".join(word for word in (self.target, self.config, self.product) if word)

    @property
    def root(self) -> str:
        """The words that begin every file name of the entry."""
        return names.cube(self.target, self.config, self.product, suffix="")


class Shelf:
    """Finds the files of one entry by what they hold, and remembers what was found and what was not."""

    def __init__(self, products: Path, entry: CubeEntry) -> None:
        self.products = products
        self.entry = entry
        self._asked: dict[str, Path | None] = {}

    @property
    def found(self) -> list[Path]:
        """Files asked for and there, in the order asked."""
        return [path for path in self._asked.values() if path is not None]

    @property
    def missing(self) -> list[str]:
        """Files asked for and not there, relative to the products folder."""
        return [name for name, path in self._asked.items() if path is None]

    def has(self, stage: Stage, *exts: str) -> bool:
        """Return whether one of `exts` is there, without asking for it."""
        return any(self._path(stage, ext, "").is_file() for ext in exts)

    def need(self, stage: Stage, *exts: str, tag: str = "") -> Path:
        """Return the first of `exts` that is there (no ext: the cube itself); if none is, the first counts as missing.

        Raises
        ------
        MissingInputError
            If none of them is there.
        """
        if self.entry.flat and stage != "derived":
            raise MissingInputError(f"nothing of {stage} is known here")
        paths = [self._path(stage, ext, tag) for ext in exts or ("",)]
        for path in paths:
            if path.is_file():
                return self._note(path)
        raise MissingInputError(f"{self._note(paths[0]).relative_to(self.products)} is not there")

    def find(self, stage: Stage, *exts: str, tag: str = "") -> Path | None:
        """Return what `need` returns, or None if nothing is there."""
        try:
            return self.need(stage, *exts, tag=tag)
        except MissingInputError:
            return None

    def _path(self, stage: Stage, ext: str, tag: str) -> Path:
        entry = self.entry
        words = "_".join(part for part in (tag, ext) if part)
        folder = self.products if entry.flat else self.products / stage / entry.directory
        return folder / names.cube(entry.target, entry.config, entry.product, words)

    def _note(self, path: Path) -> Path:
        self._asked[path.relative_to(self.products).as_posix()] = path if path.is_file() else None
        return path
