"""The inputs that lie in a bucket: which objects they are, and their digests.

A measurement set ``a/b.ms`` of the ms key is the object ``incoming/a/b.ms.tar.zst`` (or ``.tar``, ``.tar.gz``); a plain
file is an object of its own name. Nothing is unpacked here.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from fringeflow.drops import Drops
from fringeflow.errors import MissingInputError
from fringeflow.intake.digests import Digests
from fringeflow.keys.locate import ARCHIVES
from fringeflow.keys.model import Project
from fringeflow.manifest import Artefact
from fringeflow.store.base import ObjectInfo, Store

INCOMING = "incoming"
_LOOKUPS = 8  # at once; each is a small object


def names_in(project: Project) -> tuple[str, ...]:
    """Return the name of every input that the key files name, sorted."""
    found: set[str] = set()
    for target in project.targets.values():
        found |= {f"{INCOMING}/{item.path}" for item in target.measurements}
        found |= {f"cleanmask/{path}" for path in target.cleanmask.values()}
        found |= {f"singledish/{path}" for path in target.singledish.values()}
        found |= {f"vfield/{target.vfield_file}"} if target.vfield_file else set()
    return tuple(sorted(found))


def names_of(key: str) -> tuple[str, ...]:
    """Return the names of the inputs that the object `key` can be: its own, and that without the archive's ending."""
    return (key, *(key.removesuffix(ending) for ending in ARCHIVES if key.endswith(ending)))


def keys_of(name: str) -> tuple[str, ...]:
    """Return the objects that the input `name` can be; the first that is there counts."""
    return (name, *(name + ending for ending in ARCHIVES))


def scan(
    store: Store,
    project: Project,
    wanted: Iterable[str] | None = None,
    *,
    digests: Digests | None = None,
    measure: bool = True,
) -> Drops:
    """Return what lies in the store of the `wanted` inputs, by default of all that `project` names.

    Parameters
    ----------
    digests
        Where digests are looked up; given again, it spares asking the store again.
    measure
        Read the objects whose digest is not known yet (that may take long); without it they are left out.
    """
    chosen = sorted(set(names_in(project) if wanted is None else wanted))
    objects = [(name, info) for name, info in _located(store, chosen) if info is not None]
    found = digests or Digests(store)
    with ThreadPoolExecutor(_LOOKUPS) as pool:
        known = list(pool.map(found.known, (info for _, info in objects)))
    drops: dict[str, Artefact] = {}
    for (name, info), noted in zip(objects, known, strict=True):
        sha256 = found.measure(info) if noted is None and measure else noted
        if sha256 is not None:
            drops[name] = artefact(name, info, sha256)
    return drops


def find(store: Store, name: str, digests: Digests) -> Artefact | None:
    """Return the input `name` if it is in the store; its digest is measured if need be."""
    for key in keys_of(name):
        try:
            info = store.info(key)
        except (MissingInputError, ValueError):
            continue
        sha256 = digests.known(info) or digests.measure(info)
        return None if sha256 is None else artefact(name, info, sha256)
    return None


def artefact(name: str, info: ObjectInfo, sha256: str) -> Artefact:
    """Return the record of the input `name`."""
    return Artefact(name=name, kind="file", key=info.key, size=info.size, sha256=sha256)


def _located(store: Store, names: Iterable[str]) -> list[tuple[str, ObjectInfo | None]]:
    wanted = list(names)
    objects = {
        info.key: info for folder in sorted({name.partition("/")[0] for name in wanted}) for info in store.list(folder)
    }
    return [(name, next((objects[key] for key in keys_of(name) if key in objects), None)) for name in wanted]
