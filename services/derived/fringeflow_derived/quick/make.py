"""From a cube to a folder of products: runs the steps that are not made yet and draws the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fringeflow import names
from fringeflow.errors import DataError, ReadOnlyError
from fringeflow_derived.beams import Beam, reach
from fringeflow_derived.convolved import ConvolveOptions
from fringeflow_derived.cubes import FitsCube
from fringeflow_derived.quick.adopt import ROUNDING, check
from fringeflow_derived.quick.plan import Facts, Source, Step, steps
from fringeflow_derived.quick.record import Product, Record, digest_of
from fringeflow_derived.quick.wanted import DEFAULT_MOMENTS, Wanted

Progress: TypeAlias = Callable[[str, int, int], None]
"""Is told which step has ended, how many are made and how many there are."""

_ENDINGS = re.compile(r"(\.(fits|fit|fts|image|gz|fz))+/?$", re.IGNORECASE)


@dataclass(frozen=True)
class Maps:
    """What a folder now holds of one cube; `new` are the names of the files that were made just now."""

    folder: Path
    name: str
    products: tuple[Product, ...]
    new: frozenset[str]
    page: Path | None

    def path(self, ext: str, tag: str = "") -> Path:
        """Return the file that holds `ext`, e.g. 'strict_mom0', at the native or another resolution."""
        return self.folder / names.cube(self.name, "", "", f"{tag}_{ext}")


def make_maps(
    cube: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    resolutions: Sequence[str] = (),
    moments: Sequence[str] = DEFAULT_MOMENTS,
    distance_mpc: float | None = None,
    mask: Path | str | None = None,
    window_kms: float | None = None,
    jobs: int = 1,
    force: bool = False,
    page: bool = True,
    progress: Progress | None = None,
) -> Maps:
    """Make noise, strict and broad masks and maps with uncertainties of a cube, natively and at other resolutions.

    Parameters
    ----------
    cube
        In K or Jy/beam, with a beam or a table of beams; velocity, frequency or wavelength as its third axis.
    out
        The folder to write to; what was made there before is not made again.
    name
        What file names begin with; by default the cube's file name.
    resolutions
        Beams besides the cube's own: '7.5arcsec', '1arcmin', '100pc', '1.5kpc'.
    moments
        Maps: 'strict_mom0' and the like, or 'mom0' for one in each mask.
    distance_mpc
        Turns lengths into angles.
    mask
        A cube or image, 1 where there is signal, on any grid; takes the place of the broad mask.
    window_kms
        Width of a box that spectra are smoothed with before their peak is looked for.
    jobs
        Cores to use. The products do not depend on it.
    force
        Make everything again.
    page
        Also write the page of pictures.
    progress
        Is told about every step.

    Returns
    -------
    Maps
        The products with what is known of them.

    Raises
    ------
    DataError
        The cube cannot be used, or what is wanted of it cannot be had; says which card or option.
    """
    cube, folder = Path(cube).absolute(), Path(out).absolute()
    root = names.tidy(name or _ENDINGS.sub("", cube.name))
    if not root or "/" in root or root.startswith("."):
        raise DataError(f"{root!r} cannot begin a file name", remedy="give a name of letters and digits")
    wanted = Wanted.parse(resolutions, moments, distance_mpc=distance_mpc, window_kms=window_kms)
    with FitsCube(cube, stokes="only") as source:
        check(source)
        _reachable(source, wanted)
        channels = source.shape[0]
    _prepare(folder, cube, root)
    record = Record(folder / f"{root}_maps.json")
    given = None if mask is None else Path(mask).absolute()
    if given is not None:
        with FitsCube(given):
            pass
    ingredients = Source(
        cube, record.input_digest(cube), channels, given, record.input_digest(given) if given is not None else ""
    )
    plan = steps(root, ingredients, wanted)
    if force:
        record.forget()
    run = _Run(folder, record, progress or _silent, total=len(plan) + page)
    run.all(plan, jobs)
    made = tuple(record[output] for step in plan for output in step.outputs)
    shown = None
    if page:
        shown = _page(folder, root, made, wanted, distance_mpc, record, run)
    return Maps(folder, root, made, frozenset(run.new), shown)


class _Run:
    """Runs the steps whose files are not there, and writes down what they make."""

    def __init__(self, folder: Path, record: Record, progress: Progress, total: int) -> None:
        self._folder = folder
        self._record = record
        self._progress = progress
        self._total = total
        self._made = 0
        self.new: set[str] = set()

    def all(self, plan: Sequence[Step], cores: int) -> None:
        """Run all of `plan` that is not made."""
        for step in plan:
            missing = self._missing(step)
            if missing:
                facts, seconds = step.run(self._folder, missing, cores)
                self._take(step, facts, seconds)
            self.ended(step.name)

    def ended(self, step: str) -> None:
        """Say that a step is made."""
        self._made += 1
        self._progress(step, self._made, self._total)

    def _missing(self, step: Step) -> tuple[str, ...]:
        missing = tuple(name for name, key in step.outputs.items() if not self._record.has(name, key))
        return missing if step.separate or not missing else tuple(step.outputs)

    def _take(self, step: Step, facts: Facts, seconds: float) -> None:
        for output, known in facts.items():
            self._record.add(output, step.name, step.outputs[output], known, seconds / len(facts))
            self.new.add(output)


def _silent(_step: str, _made: int, _total: int) -> None:
    """Tell nobody."""


def _reachable(source: FitsCube, wanted: Wanted) -> None:
    """Raise `DataError` if a resolution is finer than the cube's, before any work is done."""
    beam = source.beam
    if len(set(source.beams)) > 1:
        beam = Beam(beam.major_arcsec * (1 + ROUNDING), beam.major_arcsec * (1 + ROUNDING))
    for resolution in wanted.resolutions:
        if reach(beam, resolution.fwhm_arcsec, ConvolveOptions().tol) == "unreachable":
            raise DataError(
                f"{source.path}: a resolution of {resolution.fwhm_arcsec:.4g} arcsec is finer than the cube's beam of"
                f" {beam.major_arcsec:.4g}",
                remedy=f"ask for {beam.major_arcsec:.4g} arcsec or more",
            )


def _prepare(folder: Path, cube: Path, root: str) -> None:
    """Make the folder, unless the cube would be overwritten there."""
    if folder.is_file():
        raise ReadOnlyError(f"{folder} is a file", remedy="name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / names.cube(root, "", "")).resolve() == cube.resolve():
        raise DataError(f"{cube} would be overwritten", remedy="name another folder, or another name for the products")


def _page(
    folder: Path,
    root: str,
    made: Sequence[Product],
    wanted: Wanted,
    distance_mpc: float | None,
    record: Record,
    run: _Run,
) -> Path:
    """Write the page, unless it shows these products already."""
    # What draws takes a second to load, in every process: only for a page that is really drawn.
    from fringeflow_derived.page import CubeEntry, write_page

    out = folder / f"{root}.html"
    key = digest_of([[product.name, product.key] for product in made])
    if not record.has(out.name, key):
        entry = CubeEntry(root, "", "", "", wanted.tags[1:], distance_mpc=distance_mpc, flat=True)
        seconds: dict[str, float] = {}
        for product in made:
            what = product.what.partition("@")[0]
            seconds[what] = seconds.get(what, 0.0) + product.seconds
        write_page(folder, out, [entry], title=f"Maps of {root}", timings=seconds)
        record.add(out.name, "page", key, {}, 0.0)
        run.new.add(out.name)
    run.ended("page")
    return out
