"""The page of pictures of a run: says which cubes there are and lets the derived service draw them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fringeflow import tools
from fringeflow.catalogue import Catalogue
from fringeflow.graph.build import Selection
from fringeflow.graph.model import UnitId, digest_of
from fringeflow.jobs.host import JobHost
from fringeflow.keys.model import Project
from fringeflow.store.settings import StoreSettings
from fringeflow.workdir import Workdir, survey

PAGE = "index.html"


def write(project: Project, workdir: Workdir, selection: Selection) -> Path:
    """Write `index.html` in the folder of a run, unless it shows the present products already."""
    out = workdir.root / PAGE
    catalogue = survey(project, selection, workdir)
    made = [unit for target in catalogue.targets for unit in catalogue.units(target) if catalogue.manifest(unit.id)]
    shown = digest_of([catalogue.key(unit.id) for unit in made])
    stamp = workdir.root / ".page"
    if out.exists() and stamp.exists() and stamp.read_text() == shown:
        return out
    manifests = [manifest for unit in made if (manifest := catalogue.manifest(unit.id)) is not None]
    seconds: dict[str, float] = {}
    for manifest in manifests:
        seconds[manifest.unit.stage] = seconds.get(manifest.unit.stage, 0.0) + manifest.seconds
    with JobHost(workdir.scratch, StoreSettings(url=workdir.store.as_uri()), log_folder=workdir.logs) as host:
        host.call(
            tools.find("page"),
            {
                "products": workdir.products,
                "out": out,
                "rows": entries(project, selection, catalogue),
                "title": ", ".join(catalogue.targets),
                "timings": seconds,
            },
        )
    stamp.write_text(shown)
    return out


def entries(project: Project, selection: Selection, catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return a row for every cube or image that was imaged."""
    rows = []
    for target in selection.targets or tuple(project.targets):
        for config in selection.configs or project.configs_with_data(target):
            for product in selection.products or project.products:
                imaged = UnitId(stage="imaging", target=target, config=config, product=product)
                if catalogue.unit(imaged) is None or catalogue.manifest(imaged) is None:
                    continue
                derived = project.derived.get(config, {}).get(product)
                tags = (*derived.ang_res_arcsec, *derived.phys_res_pc) if derived else ()
                rows.append(
                    {
                        "target": target,
                        "directory": project.targets[target].directory,
                        "config": config,
                        "product": product,
                        "tags": tags,
                        "kind": project.product(product).kind,
                        "distance_mpc": project.targets[target].distance_mpc,
                    }
                )
    return rows
