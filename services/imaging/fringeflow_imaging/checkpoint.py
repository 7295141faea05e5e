"""The state of a clean between two cycles as one file, so that an attempt that was killed is gone on with.

What is kept goes on to the same bits: the state is whole, and its numbers are kept as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from fringeflow_imaging.channel import ChannelState


class Keeper(Protocol):
    """Keeps one file somewhere that outlives this process and its folders."""

    def due(self) -> bool:
        """Return whether it is time to keep another."""

    def save(self, path: Path) -> None:
        """Keep the file at `path` in place of what was kept before."""

    def load(self, path: Path) -> bool:
        """Write what was kept to `path`; return False where there is nothing."""


@dataclass(frozen=True)
class State:
    """A block after a major cycle: model (Jy/pixel), its residual (Jy/beam), and every channel."""

    model: NDArray[np.float32]
    residual: NDArray[np.float32]
    channels: tuple[ChannelState, ...]


class Checkpoint:
    """Writes states to the file `path` and has `keeper` keep it.

    The arrays go to the file one by one, so that memory holds no second copy of them.
    """

    def __init__(self, path: Path, keeper: Keeper) -> None:
        self._path = path
        self._keeper = keeper

    def due(self) -> bool:
        """Return whether it is time for another."""
        return self._keeper.due()

    def save(self, state: State) -> None:
        """Keep `state` in place of what was kept before."""
        arrays: dict[str, NDArray[Any]] = {"model": state.model, "residual": state.residual}
        for i, channel in enumerate(state.channels):
            arrays[f"{i}.figures"] = np.array(json.dumps(dict(channel.figures)))
            arrays |= {f"{i}.{name}": array for name, array in channel.arrays.items()}
        try:
            with ZipFile(self._path, "w") as archive:
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            self._keeper.save(self._path)
        finally:
            self._path.unlink(missing_ok=True)

    def load(self) -> State | None:
        """Return what was kept; None where there is nothing, or what there is has been damaged."""
        if not self._keeper.load(self._path):
            return None
        try:
            with np.load(self._path, allow_pickle=False) as found:
                count = sum(name.endswith(".figures") for name in found.files)
                return State(found["model"], found["residual"], tuple(_channel(found, i) for i in range(count)))
        except (BadZipFile, ValueError, EOFError):  # then the clean is begun again, to the same end
            return None
        finally:
            self._path.unlink()


def _channel(found: Mapping[str, NDArray[Any]], index: int) -> ChannelState:
    own = f"{index}."
    arrays = {name.removeprefix(own): found[name] for name in found if name.startswith(own)}
    return ChannelState(json.loads(str(arrays.pop("figures"))), arrays)
