"""Remembers in a folder what was made there of what, so that nothing is made twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Product:
    """One file: what it is, the key of what it was made of, its size, what is known of it and how long it took."""

    name: str
    what: str
    key: str
    size: int
    facts: Mapping[str, Any]
    seconds: float


def digest_of(content: Any) -> str:
    """Return the sha256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Record:
    """The record of one folder, kept in `path` as JSON; a damaged one counts as empty.

    The digest of an input is only computed again if its size or its time of change is another.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._products: dict[str, Product] = {}
        self._inputs: dict[str, dict[str, Any]] = {}
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            self._products = {row["name"]: Product(**row) for row in known["products"]}
            self._inputs = known["inputs"]
        except (OSError, ValueError, KeyError, TypeError):
            self._products, self._inputs = {}, {}

    def has(self, name: str, key: str) -> bool:
        """Return whether the file is there as it was made with `key`."""
        known = self._products.get(name)
        path = self.path.with_name(name)
        return known is not None and known.key == key and path.is_file() and path.stat().st_size == known.size

    def __getitem__(self, name: str) -> Product:
        return self._products[name]

    def __contains__(self, name: str) -> bool:
        return name in self._products

    def add(self, name: str, what: str, key: str, facts: Mapping[str, Any], seconds: float) -> None:
        """Take in a file that was just made."""
        size = self.path.with_name(name).stat().st_size
        self._products[name] = Product(name, what, key, size, dict(facts), round(seconds, 3))
        self._write()

    def forget(self) -> None:
        """Take nothing as made."""
        self._products = {}

    def input_digest(self, path: Path) -> str:
        """Return the sha256 of a file, or of all files of a folder with their names."""
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        stats = [[str(one.relative_to(path)), one.stat().st_size, one.stat().st_mtime_ns] for one in files]
        known = self._inputs.get(str(path.resolve()))
        if known is None or known["files"] != stats:
            sums = [[name, _sha256(one)] for one, (name, _, _) in zip(files, stats, strict=True)]
            known = {"files": stats, "sha256": digest_of(sums) if path.is_dir() else sums[0][1]}
            self._inputs[str(path.resolve())] = known
        return str(known["sha256"])

    def _write(self) -> None:
        products = [asdict(self._products[name]) for name in sorted(self._products)]
        draft = self.path.with_name(f".{self.path.name}.part")
        draft.write_text(json.dumps({"inputs": self._inputs, "products": products}, indent=1), encoding="utf-8")
        draft.replace(self.path)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
