"""The derived stage alone, on post-processed cubes that another pipeline made, with its keys.

usage: derived_fidelity.py KEYS CUBES WORKDIR [--profile NAME]

KEYS is a folder with a master_key.txt, CUBES one of `*_pbcorr_trimmed_k.fits[.gz]` at any depth. The products are laid
out in WORKDIR/products/derived. Example, with the reference's simulated galaxy:

    python benchmarks/derived_fidelity.py ../shared/reference/simgal/keys \
        ../shared/reference/simgal/products/postprocess work --profile reference
    python ../shared/reference/compare.py work/products ../shared/reference/simgal/products/derived
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path

from astropy.io import fits

from fringeflow.embedded import EmbeddedRun
from fringeflow.graph import derived
from fringeflow.graph.build import Selection
from fringeflow.graph.model import Graph, Lookup, Unit, UnitId
from fringeflow.jobs.order import Job
from fringeflow.keys.model import Project
from fringeflow.keys.profiles import with_profile
from fringeflow.keys.project import load_or_raise
from fringeflow.settings import JobSettings
from fringeflow.workdir import Workdir
from fringeflow.world import Observer
from fringeflow_derived import stage

_CUBE = "pbcorr_trimmed_k.fits"


def make(job: Job) -> None:
    """Make derived products; what post-processing would make is unpacked from the cube that was given."""
    given = [order for order in job.orders if order.unit.id.stage == "postprocess"]
    if not given:
        stage.make(job)
    for order in given:
        [path] = order.leaves.values()
        out = job.scratch / order.unit.outputs[0]
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as source, out.open("wb") as target:
            shutil.copyfileobj(source, target)
        header = fits.getheader(out)
        shape = [header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1)]
        beam = [header["BMAJ"] * 3600, header["BMIN"] * 3600, header.get("BPA", 0.0)]
        job.finish(order, {out.name: out}, {"beam_arcsec": beam, "shape": shape})


class Given:
    """Builds graphs that begin with the cubes in a folder."""

    def __init__(self, project: Project, folder: Path) -> None:
        configs = [*project.interf_configs, *project.feather_configs]
        whiches = ((target, config, product) for target in project.targets for config in configs
                   for product in project.products)  # fmt: skip
        self._whiches = {f"{'_'.join(which)}_{_CUBE}": which for which in whiches}
        self._files = {path.relative_to(folder) for path in folder.rglob(f"*_{_CUBE}*")}

    def build(self, project: Project, target: str, leaves: Mapping[str, str], lookup: Lookup) -> Graph:
        """Return the derived units of `target`."""
        graph = Graph(leaves, lookup)
        for path in sorted(self._files):
            name = path.name.removesuffix(".gz")
            which = self._whiches.get(name)
            if which is not None and which[0] == target:
                graph.add(Unit(UnitId("postprocess", *which), 1, {}, leaves=(f"incoming/{path}",), outputs=(name,)))
        for note in derived.add_units(project, target, graph):
            graph.note(note)
        return graph


def main() -> int:
    """Make the products and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("keys", "cubes", "workdir"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--profile", default="standard")
    given = parser.parse_args()
    project = with_profile(load_or_raise(given.keys / "master_key.txt"), given.profile)
    roots = project.roots.model_copy(update={"ms": (given.cubes.absolute(),)})
    run = EmbeddedRun(
        project.model_copy(update={"roots": roots}),
        Workdir(given.workdir.absolute()),
        Selection(),
        Observer(),
        jobs=JobSettings(),
        builder=Given(project, given.cubes.absolute()).build,
        make=f"{Path(__file__).stem}:make",  # by jobs
    )
    outcome = run.run()
    for letter in outcome.failed:
        print(f"failed: {letter.unit}: {letter.message}")
    print(f"{len(outcome.made)} of {outcome.wanted} units made in {outcome.seconds:.0f} s, {outcome.jobs} jobs")
    return 0 if outcome.complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
