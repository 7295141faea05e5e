"""The `fringeflow` command: reads the command line and calls what does the work. Errors become one clear message.

What does the work is imported when it is asked for: no command waits for the libraries of the others.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import fringeflow
from fringeflow.cli import bucket, coverage, noise, operators, put, trial
from fringeflow.collecting import no_garbage
from fringeflow.errors import DiskFullError, FringeflowError, ReadOnlyError

app = typer.Typer(
    name="fringeflow",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Radio-interferometry imaging as a streaming system: calibrated measurement sets in, science-ready cubes and "
    "moment maps with uncertainties out.\n\nStart with `fringeflow demo`, or with `fringeflow check MASTER_KEY`.",
)

MasterKey = Annotated[Path, typer.Argument(metavar="MASTER_KEY", help="The master key file of a project.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Lenient = Annotated[
    bool, typer.Option("--lenient", help="Take old key sets as they are: what is not understood is dropped and said.")
]


@app.command()
def check(master_key: MasterKey, *, json: AsJson = False, lenient: Lenient = False) -> None:
    """Print every problem in the key files, with file and line; exit 1 if any is an error.

    Also says which measurement sets, masks and other inputs are not where the keys say.
    """
    from fringeflow.cli import inspect

    raise typer.Exit(inspect.check(master_key, as_json=json, lenient=lenient))


@app.command(name="init")
def init_command(
    sets: Annotated[list[Path], typer.Argument(metavar="MS...", help="Calibrated measurement sets.")],
    *,
    out: Annotated[Path, typer.Option(metavar="KEYS", help="The folder to write the key files to.")],
    vsys: Annotated[
        float | None, typer.Option(metavar="KM_S", help="Systemic velocity of all targets: LSRK, radio convention.")
    ] = None,
    vwidth: Annotated[
        float, typer.Option(metavar="KM_S", min=1, help="Width of the window about it that is imaged.")
    ] = 500.0,
    velocities: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="Lines: FIELD VSYS [VWIDTH [DISTANCE_MPC]].")
    ] = None,
    line: Annotated[
        list[str] | None, typer.Option(metavar="L", help="Only this line or family, e.g. co21; may be repeated.")
    ] = None,
) -> None:
    """Write key files to start with, from what measurement sets hold: fields, arrays, lines that are covered.

    Without `--vsys` and `--velocities` the systemic velocities are asked for.
    """
    from fringeflow.cli import init

    request = init.Request(vsys=vsys, vwidth=vwidth, table=velocities, lines=tuple(line or ()))
    raise typer.Exit(init.init(sets, out, request))


@app.command()
def keys(
    arguments: Annotated[list[Path], typer.Argument(metavar="[push] MASTER_KEY", help="The master key file.")],
    *,
    json: AsJson = False,
    lenient: Lenient = False,
    explain: Annotated[
        str | None,
        typer.Option(metavar="TARGET/CONFIG/PRODUCT", help="Print what makes this cube, with the lines that say so."),
    ] = None,
) -> None:
    """Print the project that the key files describe: targets, configs, products, maps. Needs no data.

    `keys push MASTER_KEY` puts the key files into the bucket instead: workers then make what they ask for.
    """
    if len(arguments) > 1 and arguments[0] == Path("push"):
        raise typer.Exit(put.push_keys(arguments[1:]))
    if len(arguments) > 1:
        raise typer.BadParameter("give one master key, or: push MASTER_KEY")
    from fringeflow.cli import inspect

    raise typer.Exit(inspect.keys(arguments[0], as_json=json, lenient=lenient, explained=explain))


@app.command()
def plan(
    master_key: MasterKey,
    *,
    workdir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of a run: what is made there counts as made.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Print every unit of every stage, what it needs and what it waits for. Needs no data.

    Some units are only known once others are made: the channel blocks of a cube follow from its plan.
    """
    from fringeflow.cli import inspect

    raise typer.Exit(inspect.plan(master_key, workdir=workdir, as_json=json))


@app.command(name="run")
def run_command(
    master_key: MasterKey,
    *,
    workdir: Annotated[Path, typer.Option(metavar="DIR", help="Where the store and the products go.")],
    target: Annotated[list[str] | None, typer.Option(metavar="T", help="Only this target; may be repeated.")] = None,
    config: Annotated[list[str] | None, typer.Option(metavar="C", help="Only this config; may be repeated.")] = None,
    product: Annotated[list[str] | None, typer.Option(metavar="P", help="Only this product; may be repeated.")] = None,
    until: Annotated[
        str, typer.Option(metavar="STAGE", help="Stop after staging, imaging, postprocess or derived.")
    ] = "derived",
    jobs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Jobs at once; by default one a core.")] = None,
    force: Annotated[
        str | None, typer.Option(metavar="UNIT_GLOB", help="Make these units again, e.g. `'derived/*mom0*'`.")
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="`standard`, or `reference`: the PHANGS-ALMA pipeline's choices where ours are corrections.",
        ),
    ] = "standard",
    page: Annotated[bool, typer.Option(help="Also write DIR/index.html with pictures of the products.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON summary at the end instead of text.")] = False,
) -> None:
    """Make everything the keys ask for, here, with all four services in this process.

    Reads the measurement sets where the keys' `ms_root` says, keeps its store in DIR/store and lays the finished
    products out in DIR/products. What is made already is not made again; a run that was killed goes on where it was.
    Exits 0 only if all units are made.
    """
    from fringeflow.jobs.server import ForkServer

    server = ForkServer()  # first of all: it loads its libraries while this process loads its own
    with no_garbage():
        from fringeflow.cli import run

    request = run.Request(
        targets=tuple(target or ()),
        configs=tuple(config or ()),
        products=tuple(product or ()),
        until=until,
        jobs=jobs,
        force=force,
        page=page,
        profile=profile,
    )
    raise typer.Exit(run.run(master_key, workdir, request, as_json=json, server=server))


@app.command(name="products")
def products_command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    *,
    lineage: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print the ancestors of this product to the measurement sets.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Print what was made in the folder of a run."""
    from fringeflow.cli import products

    raise typer.Exit(products.products(directory, lineage=lineage, as_json=json))


@app.command(name="maps")
def maps(
    cube: Annotated[Path, typer.Argument(metavar="CUBE", help="A cube in K or Jy/beam, from any telescope.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the products go.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What file names begin with; by default the cube's file name.")
    ] = None,
    res: Annotated[
        list[str] | None,
        typer.Option(metavar="RES", help="Also at this beam: `7.5arcsec`, `1arcmin`, `100pc`; may be repeated."),
    ] = None,
    distance: Annotated[
        str | None, typer.Option(metavar="D", help="Distance, e.g. `10Mpc`; resolutions in parsec need it.")
    ] = None,
    moments: Annotated[
        str | None,
        typer.Option(
            metavar="M,M,...",
            help="Of mom0, mom1, mom2, ew, tpeak, vpeak and vquad, in both masks (`mom0`) or one (`strict_mom0`).",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="In place of the broad mask: a cube or image, 1 where there is signal, on any grid."
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="W", help="Smooth spectra this much before looking for their peak, e.g. `12.5km/s`."),
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Cores to use.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Make again what is made.")] = False,
    page: Annotated[bool, typer.Option(help="Also write DIR/NAME.html with pictures of the products.")] = True,
    json: AsJson = False,
) -> None:
    """Make noise, masks and maps with uncertainties of any cube with a beam, and a page of pictures. Needs no project.

    Example: `fringeflow maps ngc5921.fits --res 60arcsec --res 5kpc --distance 22.4Mpc --out maps`

    The strict mask holds what stands out at one resolution, the broad mask what stands out at any. What is in DIR
    already is not made again, unless the cube or what is asked of it has changed.
    """
    from fringeflow.cli import maps as maps_command

    request = maps_command.Request(
        name=name,
        resolutions=tuple(res or ()),
        distance=distance,
        moments=None if moments is None else tuple(moments.split(",")),
        mask=mask,
        window=window,
        jobs=jobs,
        force=force,
        page=page,
    )
    raise typer.Exit(maps_command.maps(cube, out, request, as_json=json))


@app.command(name="worker")
def worker_command(
    stages: Annotated[
        list[str], typer.Argument(metavar="STAGE...", help="Of staging, imaging, postprocess and derived.")
    ],
    *,
    classes: Annotated[
        str | None,
        typer.Option(metavar="C,C,...", help="Take only tasks of these memory classes: small,medium,large; or `none`."),
    ] = None,
    dispatch: Annotated[
        bool, typer.Option(help="Also turn events into tasks; of all workers of a stage, one does so at a time.")
    ] = True,
    drain: Annotated[bool, typer.Option("--drain", help="End when the queues are empty.")] = False,
    max_tasks: Annotated[
        int | None, typer.Option("--max-tasks", metavar="N", min=1, help="End after so many jobs.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Jobs at once; by default one.")] = None,
) -> None:
    """Run services on a broker and a bucket, as containers do. All settings come from the environment.

    FRINGEFLOW_BUS__URL and FRINGEFLOW_STORE__URL say where they are. SIGTERM: take nothing more, let jobs finish for
    FRINGEFLOW_JOBS__GRACE_SECONDS, give back what has not finished.
    """
    from fringeflow.cli import worker

    raise typer.Exit(
        worker.worker(stages, classes=classes, dispatch=dispatch, drain=drain, max_tasks=max_tasks, jobs=jobs)
    )


app.command(name="coverage")(coverage.coverage)
app.command(name="put")(put.put)
app.command(name="noise-map")(noise.noise_map)
app.command(name="test-imaging")(trial.try_weightings)
app.add_typer(bucket.app, name="bucket")


@app.command(name="demo")
def demo(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to do it.")] = Path("demo"),
    *,
    jobs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Jobs at once; by default one a core.")] = None,
    calibrate_only: Annotated[
        bool, typer.Option("--calibrate-only", help="Stop once data and keys are there.")
    ] = False,
) -> None:
    """Image the HI line of NGC 5921, from VLA visibilities to moment maps and a page of pictures.

    Calibrates the observation that CASA ships, writes key files for it and runs all four services.
    """
    from fringeflow.cli import demo as demo_command

    raise typer.Exit(demo_command.demo(directory, jobs=jobs, calibrate_only=calibrate_only))


operators.add_to(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(fringeflow.__version__)
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    del version


def explained(error: OSError) -> FringeflowError | None:
    """Return what an operating system's error means for the user, if it is one that can happen to anybody."""
    where = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return DiskFullError(f"no space left on the disk{where}", remedy="free some space, then run again: it goes on")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyError(f"cannot write{where}: read-only or not permitted", remedy="choose another folder")
    return None


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; every error we know ends as one message that names cause and remedy, and exit status 1."""
    # Else pydantic would look for plug-ins in all that is installed, which takes longer than most commands do.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        app(args=arguments)
    except FringeflowError as error:
        complain(error)
    except OSError as error:
        known = explained(error)
        if known is None:
            raise
        complain(known)
    finally:
        gc.freeze()  # else all that was loaded is searched for garbage before the process ends: an eighth of a second


def complain(error: FringeflowError) -> None:
    """Print `error` on standard error and exit with status 1."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("[bold red]error:[/] ", end="")
    console.print(error.message, markup=False)
    if error.remedy:
        console.print(f"  remedy: {error.remedy}", markup=False)
    sys.exit(1)
