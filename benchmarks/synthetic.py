"""A survey whose units are nothing but names, for benchmarks of what is not science."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fringeflow.graph.model import Graph, Lookup, Need, Unit, UnitId
from fringeflow.intake import leaves
from fringeflow.jobs.request import UnitResult
from fringeflow.keys.model import InterfConfig, Project, Roots, Target
from fringeflow.manifest import Artefact, Manifest
from fringeflow.store.ledger import Ledger
from fringeflow.store.objects import Store

PER_TARGET = 10
KEYS = {
    "master_key.txt": "key_dir .\nms_key ms.txt\ntarget_key targets.txt\nconfig_key configs.txt\n",
    "configs.txt": (
        "line_product   p  {'line_tag':'co21','channel_kms':2.6}\n"
        "interf_config  c  {'array_tags':['12m'],'clean_scales_arcsec':[0,1]}\n"
    ),
}


def units(target: str) -> Iterator[Unit]:
    """Yield the units of a target: three blocks of a cube, the cube, and four maps of it in one job."""

    def unit(stage: str, step: str = "", *needs: UnitId, **members: Any) -> Unit:
        fact = {"staging": "visibilities.staged", "imaging": "cube.imaged", "postprocess": "cube.postprocessed"}
        return Unit(
            id=UnitId(stage, target, "c", "p", step),
            revision=1,
            recipe={"step": step},
            needs=tuple(Need(unit=need) for need in needs),
            outputs=(f"{stage}{step}.fits",),
            fact=fact.get(stage, "products.derived") if not step else "unit.made",
            **members,
        )

    yield (staged := unit("staging", leaves=(f"incoming/{target}.ms",)))
    blocks = [unit("imaging", f"block{number}", staged.id) for number in range(3)]
    yield from blocks
    yield (imaged := unit("imaging", "", *(block.id for block in blocks)))
    yield (cube := unit("postprocess", "", imaged.id))
    yield from (unit("derived", f"map{number}", cube.id, group=f"{target} maps") for number in range(4))


def build(_: Project, target: str, dropped: Mapping[str, str], lookup: Lookup) -> Graph:
    """Return the graph of a target."""
    graph = Graph(dropped, lookup)
    for unit in units(target):
        graph.add(unit)
    return graph


def names(count: int) -> list[str]:
    """Return the names of as many targets as `count` units need."""
    return [f"t{number:06d}" for number in range(count // PER_TARGET)]


def project_of(folder: Path, targets: Sequence[str]) -> Project:
    """Return a project of these targets."""
    return Project(
        master_key=folder / "master_key.txt",
        roots=Roots(key_dir=folder, ms=(folder,)),
        targets={
            name: Target(name=name, ra="0h", dec="0d", vsys_kms=0, vwidth_kms=10, directory=name) for name in targets
        },
        interf_configs={"c": InterfConfig(name="c", array_tags=("a",), clean_scales_arcsec=(0,))},
    )


def result_of(unit: Unit, key: str) -> UnitResult:
    """Return that `unit` was made of nothing in no time."""
    outputs = tuple(
        Artefact(name=name, kind="file", key=f"artefacts/{unit.id}/{key}/{name}", size=1000, sha256=key)
        for name in unit.outputs
    )
    return UnitResult(unit.id, key, outputs, {}, "2026-01-01T00:00:00+00:00", 0.0, {}, 0.0, 0.0, {})


def write_keys(store: Store, targets: Sequence[str]) -> None:
    """Put the keys of these targets into the bucket."""
    lines = {
        "targets.txt": "".join(f"{name}  01h00m00s  -01d00m00s  1000  200\n" for name in targets),
        "ms.txt": "".join(f"{name}  p  all  12m  1  {name}.ms\n" for name in targets),
    }
    for name, text in {**lines, **KEYS}.items():
        store.put_bytes(f"keys/{name}", text.encode())


def as_if_made(store: Store, targets: Sequence[str]) -> list[Manifest]:
    """Put inputs into the bucket and the manifests of everything that follows from them."""
    ledger = Ledger(store)
    for target in targets:
        store.put_bytes(f"incoming/{target}.ms", target.encode())
    project = project_of(Path("/"), targets)
    drops = leaves.scan(store, project, [f"incoming/{target}.ms" for target in targets])
    digests = {name: drop.sha256 for name, drop in drops.items()}
    manifests = []
    for target in targets:
        graph = build(project, target, digests, lambda *_: {})
        for unit in graph:
            key = graph.key(unit.id) or ""
            result = result_of(unit, key)
            manifest = Manifest(
                unit=unit.id,
                work_key=key,
                revision=unit.revision,
                fact=unit.fact,
                recipe=unit.recipe,
                outputs=result.outputs,
                started=result.started,
                seconds=0.0,
            )
            manifests.append(ledger.commit(manifest))
    return manifests
