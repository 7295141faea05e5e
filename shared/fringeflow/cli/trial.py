"""The `test-imaging` command: stages one cube of the keys and images a few channels of it with many weightings."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # imported when it is needed: other commands do not wait for it
    from rich.console import Console

    from fringeflow.keys.model import Project
    from fringeflow.manifest import Artefact
    from fringeflow.workdir import Workdir

_WEIGHTINGS = ["natural", "briggs:0.5", "briggs:0", "uniform"]


@dataclass(frozen=True)
class Wishes:
    """What is to be tried on which cube; names that are None are those of the only one there is."""

    target: str | None = None
    config: str | None = None
    product: str | None = None
    weightings: tuple[str, ...] = tuple(_WEIGHTINGS)
    tapers_arcsec: tuple[float, ...] = (0.0,)
    channels: tuple[int, int] | None = None
    clean_snr: float | None = None
    resolution_arcsec: float | None = None
    force: bool = False

    def options(self) -> dict[str, Any]:
        """Return what the tool of the imaging service is told."""
        return {
            "weightings_asked": self.weightings,
            "tapers_arcsec": self.tapers_arcsec,
            "channels": self.channels,
            "clean_snr": self.clean_snr,
            "resolution_arcsec": self.resolution_arcsec,
            "force": self.force,
        }


def try_weightings(
    master_key: Annotated[Path, typer.Argument(metavar="MASTER_KEY", help="The master key file of a project.")],
    *,
    workdir: Annotated[Path, typer.Option(metavar="DIR", help="The folder of a run: what is staged there is used.")],
    target: Annotated[str | None, typer.Option(metavar="T", help="Not needed if there is only one.")] = None,
    config: Annotated[str | None, typer.Option(metavar="C", help="Not needed if there is only one.")] = None,
    product: Annotated[str | None, typer.Option(metavar="P", help="Not needed if there is only one.")] = None,
    weighting: Annotated[
        list[str] | None, typer.Option(metavar="W", help="`natural`, `uniform`, `briggs:0.5`, ...; may be repeated.")
    ] = None,
    taper: Annotated[
        list[float] | None, typer.Option(metavar="ARCSEC", min=0, help="0 is none; may be repeated.")
    ] = None,
    channels: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="QUIET BRIGHT", help="From 0; without it those with the least and the most power."),
    ] = None,
    clean: Annotated[
        float | None, typer.Option(metavar="SNR", min=1, help="Clean so deep; without it images stay dirty.")
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(metavar="ARCSEC", min=0, help="Suggest what comes closest to this beam.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make again what is made.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Image two channels of a cube with every weighting and taper: beam, noise, peak, PSF, time, in a table and a page.

    Example: `fringeflow test-imaging keys/master_key.txt --workdir out --weighting briggs:0.5 --taper 0 --taper 2`

    Everything lies in DIR/test_imaging/TARGET. What is there already is not made again, unless data or recipe changed.
    """
    wishes = Wishes(
        target,
        config,
        product,
        tuple(weighting or _WEIGHTINGS),
        tuple(taper or (0.0,)),
        channels,
        clean,
        resolution,
        force,
    )
    result = make(master_key, workdir, wishes, quiet=as_json)
    if as_json:
        json.dump(result, sys.stdout, indent=1)
        sys.stdout.write("\n")
    raise typer.Exit(1 if any(row["status"] == "failed" for row in result["rows"]) else 0)


def make(master_key: Path, directory: Path, wishes: Wishes, *, quiet: bool) -> dict[str, Any]:
    """Stage the cube, try all weightings on it, write table and page, and print them unless `quiet`.

    Raises
    ------
    KeysError, DataError
        The keys are wrong; a name is not in them, or not said though there are several; staging failed.
    """
    from fringeflow import names, tools
    from fringeflow.cli.console import console
    from fringeflow.graph.imaging_recipes import recipe_of
    from fringeflow.jobs.host import JobHost
    from fringeflow.keys.project import KeysError, load
    from fringeflow.store.artefacts import fetch
    from fringeflow.store.objects import StoreSettings, open_store
    from fringeflow.workdir import Workdir

    shown = console(stderr=quiet)
    project, problems = load(master_key)
    if any(problem.severity == "error" for problem in problems):
        raise KeysError(problems)
    target = _the_one("target", wishes.target, [name for name, one in project.targets.items() if one.measurements])
    config = _the_one("config", wishes.config, project.configs_with_data(target))
    product = _the_one("product", wishes.product, project.products)
    workdir = Workdir(directory.absolute())
    artefact = _staged(project, workdir, (target, config, product), shown)
    out, stem = workdir.root / "test_imaging" / target, names.cube(target, config, product, suffix="")
    page = out / f"{stem}_test_report.html"
    settings = StoreSettings(url=workdir.store.as_uri())
    with (
        JobHost(workdir.scratch, settings, log_folder=workdir.logs) as host,
        tempfile.TemporaryDirectory(dir=workdir.scratch) as folder,
        shown.status("test imaging") as status,
    ):
        given = {
            "ms": fetch(open_store(settings), artefact, Path(folder)),
            "out": out,
            "stem": stem,
            "recipe": recipe_of(project, target, config, product).model_dump(mode="json"),
            "data": artefact.sha256,
            **wishes.options(),
        }
        result: dict[str, Any] = host.call(
            tools.find("test-imaging"), given, on_progress=lambda step, _: status.update(step)
        )
        drawn = {"out": page, "folder": out, "stem": stem, "title": f"{target} {config} {product}: test imaging"}
        host.call(tools.find("test-imaging-page"), drawn | result)
    result |= {"table": str(out / f"{stem}_test_summary.csv"), "page": str(page)}
    if not quiet:
        _print(result, shown)
    return result


def _staged(project: Project, workdir: Workdir, cube: tuple[str, str, str], shown: Console) -> Artefact:
    """Stage the visibilities of a cube, unless they are, and return them."""
    from fringeflow import names
    from fringeflow.cli import run
    from fringeflow.errors import DataError
    from fringeflow.graph.model import UnitId
    from fringeflow.workdir import survey

    target, config, product = cube
    request = run.Request(targets=(target,), configs=(config,), products=(product,), until="staging")
    outcome = run.make(project, workdir.root, request, shown)
    staged = survey(project, run.selected(project, request), workdir).manifest(UnitId("staging", *cube))
    found = [one for one in staged.outputs if one.name == names.visibilities(*cube)] if staged else []
    if not outcome.complete or not found:
        run.report(outcome, workdir.root, shown)
        raise DataError(f"{' '.join(cube)} could not be staged", remedy="see what is said above, or `fringeflow plan`")
    return found[0]


def _the_one(what: str, asked: str | None, known: Sequence[str]) -> str:
    from fringeflow.errors import DataError

    if asked is None and len(known) == 1:
        return known[0]
    if asked is None or asked not in known:
        problem = f"which {what}?" if asked is None else f"no {what} with data is called {asked!r}"
        raise DataError(problem, remedy=f"--{what}, one of: {', '.join(known)}")
    return asked


def _print(result: Mapping[str, Any], shown: Console) -> None:
    from rich.table import Table

    table = Table("set", "beam (arcsec)", "noise (mJy/beam)", "predicted", "peak", "epsilon", "seconds", "status")
    for row in result["rows"]:
        if row["status"] == "failed":
            table.add_row(row["test_name"], *("" for _ in range(6)), f"failed: {row['message']}")
            continue
        table.add_row(
            row["test_name"],
            f"{row['bmaj_arcsec']:.3g} x {row['bmin_arcsec']:.3g}",
            f"{1e3 * row['rms']:.3g}",
            f"{1e3 * row['predicted_rms']:.3g}",
            f"{1e3 * row['max']:.3g}",
            f"{row['epsilon']:.3f}",
            f"{row['seconds']:.1f}",
            row["status"],
        )
    shown.print(table)
    if result["suggestion"]:
        shown.print(f"suggested: [bold]{result['suggestion']}[/]")
    shown.print(f"[bold]look at[/] {Path(result['page']).as_uri()}")
