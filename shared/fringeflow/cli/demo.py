"""The `demo` command: NGC 5921 from VLA visibilities to maps and a page of pictures, on this machine."""

from __future__ import annotations

import shutil
import time
from importlib.resources import files
from pathlib import Path

from rich.console import Console

from fringeflow import tools
from fringeflow.cli.console import console
from fringeflow.cli.products import products
from fringeflow.cli.run import Request, make, report
from fringeflow.jobs.host import JobHost
from fringeflow.keys.project import load_or_raise
from fringeflow.store.settings import StoreSettings
from fringeflow.workdir import Workdir

MEASUREMENT_SET = "ngc5921.ms"


def demo(directory: Path, *, jobs: int | None, calibrate_only: bool) -> int:
    """Calibrate, write keys, run all services, write the page; return 0 only if everything was made."""
    started = time.monotonic()
    out = console()
    root = directory.absolute()
    workdir = Workdir(root)
    workdir.create()
    write_keys(root / "keys")
    calibrate(root / "data" / MEASUREMENT_SET, workdir, out)
    if calibrate_only:
        return 0
    project = load_or_raise(root / "keys" / "master_key.txt")
    outcome = make(project, root, Request(jobs=jobs, page=True), out)
    if not outcome.complete:
        report(outcome, directory, out)
        return 1
    products(root, lineage=None, as_json=False)
    report(outcome, directory, out)
    out.print(f"everything took {time.monotonic() - started:.1f} s")
    out.print(f"[bold]look at[/] {(root / 'index.html').as_uri()}")
    return 0


def write_keys(folder: Path) -> None:
    """Write the demo's key files to `folder`; files that are there are kept, so that they can be played with."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in files("fringeflow.cli").joinpath("demo_keys").iterdir():
        target = folder / source.name
        if not target.exists():
            target.write_bytes(source.read_bytes())


def calibrate(measurement_set: Path, workdir: Workdir, out: Console) -> None:
    """Calibrate the observation that CASA ships and drop the measurement set, unless that was done before."""
    if measurement_set.exists():
        out.print(f"[green]calibrated[/] before: {measurement_set}")
        return
    measurement_set.parent.mkdir(parents=True, exist_ok=True)
    draft = workdir.scratch / f"calibration-{MEASUREMENT_SET}"
    shutil.rmtree(draft, ignore_errors=True)
    settings = StoreSettings(url=workdir.store.as_uri())
    with JobHost(workdir.scratch, settings, log_folder=workdir.logs) as host, out.status("calibrating") as status:
        host.call(
            tools.find("calibrate-ngc5921"),
            {"measurement_set": draft},
            on_progress=lambda step, _: status.update(f"calibrating NGC 5921: {step}"),
        )
    draft.rename(measurement_set)
    out.print(f"[green]calibrated[/] {measurement_set}")
