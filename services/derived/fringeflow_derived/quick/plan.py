"""The steps from one cube to its maps, each with the files it makes and the key of what goes into them.

A key follows from the cube's digest and the options alone, so what need not be made is known before anything is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fringeflow import fitsio, names, software
from fringeflow.fitscards import Cards
from fringeflow_derived.quick import work
from fringeflow_derived.quick.record import digest_of
from fringeflow_derived.quick.wanted import Resolution, Wanted

_SOFTWARE = ("fringeflow", "fringeflow-derived", "astropy", "numpy", "scipy")
_WITH_WINDOW = ("tpeak", "vpeak", "vquad")

Facts = Mapping[str, Mapping[str, Any]]
"""File name -> what is known of it."""


@dataclass(frozen=True)
class Source:
    """What there is: the cube with its digest, its number of channels, and the mask that was given."""

    cube: Path
    sha256: str
    channels: int
    mask: Path | None = None
    mask_sha256: str = ""

    @property
    def digests(self) -> dict[str, str]:
        """Name -> digest of every file that was given."""
        return {self.cube.name: self.sha256} | ({self.mask.name: self.mask_sha256} if self.mask else {})


@dataclass(frozen=True)
class Step:
    """One call that makes files, `outputs`: name -> key. If `separate`, some can be made without the others."""

    name: str
    outputs: Mapping[str, str]
    function: Callable[..., Facts]
    arguments: Mapping[str, Any]
    sources: Mapping[str, str]
    separate: bool = False

    def run(self, folder: Path, wanted: tuple[str, ...], cores: int) -> tuple[Facts, float]:
        """Make the files `wanted` in `folder`; return what is known of them, and the seconds it took."""
        started = time.monotonic()
        stamps = {name: Stamp(f"maps/{self.name}", self.outputs[name], self.sources) for name in wanted}
        with TemporaryDirectory(prefix=".scratch-", dir=folder) as scratch:
            facts = self.function(work.Room(folder, Path(scratch), cores), stamps, **self.arguments)
        return facts, time.monotonic() - started


@dataclass(frozen=True)
class Stamp:
    """Writes where a file comes from into its header."""

    unit: str
    key: str
    sources: Mapping[str, str]

    def __call__(self, header: Cards, parameters: Mapping[str, Any]) -> None:
        """Add it."""
        own = software.versions(_SOFTWARE)
        fitsio.provenance(
            header, unit=self.unit, work_key=self.key, parameters=parameters, software=own, inputs=self.sources
        )
        header["ORIGIN"] = f"fringeflow {own['fringeflow']}"


def steps(root: str, source: Source, wanted: Wanted) -> list[Step]:
    """Return all steps, each after those it needs."""
    plan = _Plan(root, source, wanted)
    return [
        plan.native(),
        *(plan.convolved(one) for one in wanted.resolutions),
        *(plan.noise(tag) for tag in wanted.tags),
        *(plan.strict(tag) for tag in wanted.tags),
        plan.broad(),
        *(plan.maps(tag) for tag in wanted.tags),
    ]


class _Plan:
    def __init__(self, root: str, source: Source, wanted: Wanted) -> None:
        self._root = root
        self._source = source
        self._wanted = wanted
        self._keys: dict[str, str] = {}

    def native(self) -> Step:
        return self._step("cube", (), ("",), work.native, {"cube": self._source.cube}, salt=self._source.sha256)

    def convolved(self, resolution: Resolution) -> Step:
        tag = resolution.tag
        files = (tag, f"{tag}_coverage", f"{tag}_coverage2d")
        arguments = {"native": self._file(""), "resolution": resolution}
        return self._step(_at("cube", tag), ("cube",), files, work.convolved, arguments)

    def noise(self, tag: str) -> Step:
        return self._step(_at("noise", tag), (_at("cube", tag),), (f"{tag}_noise",), work.noise, self._cube(tag))

    def strict(self, tag: str) -> Step:
        needs = (_at("cube", tag), _at("noise", tag))
        arguments = self._cube(tag) | {
            "noise": self._file(f"{tag}_noise"),
            "coverage": self._file(f"{tag}_coverage") if tag else None,
            "channels": self._source.channels,
        }
        return self._step(_at("strictmask", tag), needs, (f"{tag}_strictmask",), work.strict, arguments)

    def broad(self) -> Step:
        source = self._source
        if source.mask is not None:
            arguments = self._cube("") | {"mask": source.mask}
            salt = source.mask_sha256
            return self._step("broadmask", ("cube",), ("broadmask",), work.given_mask, arguments, salt=salt)
        masks = [self._file(f"{tag}_strictmask") for tag in self._wanted.tags]
        needs = tuple(_at("strictmask", tag) for tag in self._wanted.tags)
        return self._step("broadmask", needs, ("broadmask",), work.broad, {"masks": masks})

    def maps(self, tag: str) -> Step:
        needs = (_at("cube", tag), _at("noise", tag), _at("strictmask", tag), "broadmask")
        pairs = []
        outputs: dict[str, str] = {}
        for mask, algorithm in self._wanted.moments:
            window = self._wanted.window_kms
            options = {"window": window} if window and algorithm in _WITH_WINDOW else {}
            pair = (self._file(f"{tag}_{mask}_{algorithm}"), self._file(f"{tag}_{mask}_e{algorithm}"))
            pairs.append((mask, algorithm, pair, options))
            kept = [self._keys[name] for name in (*needs[:2], needs[2 if mask == "strict" else 3])]
            outputs |= dict.fromkeys(pair, digest_of([self._version, kept, algorithm, options]))
        files = {"strict": self._file(f"{tag}_strictmask"), "broad": self._file("broadmask")}
        arguments = self._cube(tag) | {"noise": self._file(f"{tag}_noise"), "masks": files, "pairs": pairs}
        return Step(_at("maps", tag), outputs, work.maps, arguments, self._source.digests, separate=True)

    def _step(
        self,
        name: str,
        needs: tuple[str, ...],
        exts: tuple[str, ...],
        function: Callable[..., Facts],
        arguments: Mapping[str, Any],
        salt: str = "",
    ) -> Step:
        said = {word: str(value) for word, value in arguments.items() if word not in ("cube", "mask")}
        key = digest_of([self._version, name, [self._keys[one] for one in needs], said, salt])
        self._keys[name] = key
        outputs = {self._file(ext): key for ext in exts}
        return Step(name, outputs, function, arguments, self._source.digests)

    @property
    def _version(self) -> str:
        return software.installed()["fringeflow-derived"]

    def _cube(self, tag: str) -> dict[str, Any]:
        return {"cube": self._file(tag)}

    def _file(self, ext: str) -> str:
        return names.cube(self._root, "", "", ext)


def _at(name: str, tag: str) -> str:
    return f"{name}@{tag}" if tag else name
