"""Test imaging as a tool of the command line: a recipe as data in, rows of a table out; images become FITS files."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from fringeflow import fitsio
from fringeflow.errors import DataError, FringeflowError
from fringeflow.graph.imaging_recipes import Sizing
from fringeflow.graph.model import digest_of
from fringeflow.jobs import casa
from fringeflow_imaging import orders, plan, trial, weightings
from fringeflow_imaging.align import sky_grid
from fringeflow_imaging.beam import Beam
from fringeflow_imaging.cube import Block
from fringeflow_imaging.export import finished_header
from fringeflow_imaging.weightings import Weighting

_REVISION = 1  # of what a test image is
_COLUMNS = (
    "test_name", "weighting", "robust", "taper_arcsec", "cell_arcsec", "bmaj_arcsec", "bmin_arcsec", "bpa_deg", "max",
    "min", "rms", "predicted_rms", "plain_rms", "mean", "median", "npts", "kappa", "skirt_level", "epsilon",
    "channel_rms", "channel_peak", "seconds", "status",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What all sets share: data, grid, channels, how deep to clean, and where files go."""

    out: Path
    stem: str
    recipe: Mapping[str, Any]
    parameters: Mapping[str, Any]
    facts: Mapping[str, Any]
    channels: tuple[int, int]
    clean_snr: float | None
    scratch: Path

    def path(self, one: Weighting, tail: str) -> Path:
        """Return the path of a file of one set."""
        return self.out / f"{self.stem}_test_{one.name}{tail}"


def make(
    ms: Path,
    out: Path,
    stem: str,
    recipe: Mapping[str, Any],
    *,
    data: str,
    weightings_asked: Sequence[str],
    tapers_arcsec: Sequence[float],
    channels: tuple[int, int] | None,
    clean_snr: float | None,
    resolution_arcsec: float | None,
    force: bool,
    scratch: Path,
    progress: Callable[[str, float | None], None],
) -> dict[str, Any]:
    """Image `ms` with every weighting and taper; return ``rows``, one for each, and the ``suggestion`` among them.

    Parameters
    ----------
    out, stem
        Where FITS files and the table go, and what their names begin with.
    recipe
        An imaging recipe, as plain data.
    data
        Digest of the measurement set: with the same data and parameters, what is in `out` already is not made again.
    channels
        One without signal and one with; chosen by the power of the visibilities if None.
    clean_snr
        Clean to so many times the noise; None leaves images dirty.
    """
    casa.enable(scratch / "casa")  # where the fork server has not loaded it
    casa.log_to(scratch / "casa.log")
    out.mkdir(parents=True, exist_ok=True)
    asked = weightings.grid(weightings_asked, tapers_arcsec)
    parameters, facts = _plan(ms, recipe)
    chosen = _channels(ms, recipe, channels, facts)
    ground = Ground(out, stem, recipe, parameters, facts, chosen, clean_snr, scratch)
    same = {"revision": _REVISION, "data": data, "recipe": recipe, "channels": chosen, "clean": clean_snr}
    rows = []
    for number, one in enumerate(asked):
        progress(f"imaging {one.name}", number / len(asked))
        key = digest_of({**same, "set": asdict(one)})
        row = None if force else _made_before(ground.path(one, ".json"), key)
        rows.append(row or _row(one, ground, key))
    _write_table(out / f"{stem}_test_summary.csv", rows)
    return {"rows": rows, "suggestion": weightings.suggestion(rows, resolution_arcsec)}


def _row(one: Weighting, ground: Ground, key: str) -> dict[str, Any]:
    """Make one set; what fails is a row that says so, and the others go on."""
    cell_arcsec = float(ground.facts["cell_arcsec"])
    row: dict[str, Any] = {
        "test_name": one.name, "weighting": one.weighting, "robust": one.robust, "taper_arcsec": one.taper_arcsec,
        "cell_arcsec": cell_arcsec, "channel_rms": ground.channels[0],
        "channel_peak": ground.channels[1],
    }  # fmt: skip
    stage = None
    if ground.clean_snr is not None:
        content = {**ground.recipe["multiscale"], "snr": ground.clean_snr, "scales_arcsec": [0.0], "automask": None}
        stage = orders.clean_stage(content, ground.facts, signal_only=False)
    folder = ground.scratch / one.name
    try:
        parameters = {**ground.parameters, **one.parameters()}
        found = trial.image(parameters, folder, ground.channels, cell_arcsec, stage)
    except (FringeflowError, RuntimeError, ValueError) as error:
        return {**row, "status": "failed", "message": str(error)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for kind, plane in (("", found.image), ("_quiet", found.quiet), ("_psf", found.psf)):
        header = _header(ground, found.beam, "" if kind == "_psf" else "Jy/beam")
        fitsio.write_cube(ground.path(one, f"{kind}.fits"), header, [plane], plane.shape)
    major, minor, angle = found.beam
    row |= {"bmaj_arcsec": major, "bmin_arcsec": minor, "bpa_deg": angle, **found.figures, "status": "completed"}
    row["profile"] = {name: [float(x) for x in getattr(found.profile, name)] for name in ("radius", "psf", "gaussian")}
    ground.path(one, ".json").write_text(json.dumps({"key": key, "row": row}, indent=1))
    return row


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([["" if row.get(name) is None else row[name] for name in _COLUMNS] for row in rows])


def _plan(ms: Path, recipe: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return tclean's parameters that all sets share, and the grid."""
    line = recipe["kind"] == "line"
    data = plan.describe(ms, line=line)
    grid = orders.grid_of(data, Sizing.model_validate(recipe["sizing"]), recipe["tclean"].get("pblimit", 0.2))
    facts = {
        "cell_arcsec": str(grid.cell_arcsec),
        "imsize": [grid.nx, grid.ny],
        "channels": data.channels if line else 1,
        "first_hz": data.first_hz,
        "width_hz": data.width_hz,
    }
    if line:
        return orders.cube_parameters(recipe, facts, ms, Block(Path(), 0, 0)), facts
    own = {"specmode": "mfs", "deconvolver": "hogbom", "nterms": 1}
    return orders.tclean_parameters(recipe, facts, ms, Path()) | own, facts


def _channels(
    ms: Path, recipe: Mapping[str, Any], asked: tuple[int, int] | None, facts: Mapping[str, Any]
) -> tuple[int, int]:
    if recipe["kind"] != "line":
        return 0, 0
    chosen = trial.choose_channels(ms) if asked is None else asked
    if not all(0 <= channel < facts["channels"] for channel in chosen):
        raise DataError(f"channels {chosen} are not both in a cube of {facts['channels']}", remedy="count from 0")
    return chosen


def _made_before(note: Path, key: str) -> dict[str, Any] | None:
    if not note.exists():
        return None
    content = json.loads(note.read_text())
    return {**content["row"], "status": "skipped"} if content["key"] == key else None


def _header(ground: Ground, beam: Beam, unit: str) -> fits.Header:
    recipe, facts = ground.recipe, ground.facts
    nx, ny = facts["imsize"]
    projection = recipe["tclean"].get("projection", "SIN")
    header = sky_grid(recipe["phasecenter"], float(facts["cell_arcsec"]), nx, ny, projection).to_header()
    header.remove("MJDREF", ignore_missing=True)
    return finished_header(header, unit=unit, beam=beam)
