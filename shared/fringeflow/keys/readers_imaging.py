"""The imaging key, the recipe files it names, and the override key (imaging specification, 3 and 4.1, W1 to W3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fringeflow.errors import DataError
from fringeflow.keys.master import Master
from fringeflow.keys.model import IMAGING_STAGES, ImagingStage, Recipe
from fringeflow.keys.parameters import (
    DECIDED,
    NOT_TCLEAN,
    OVERRIDABLE,
    SIZES,
    TCLEAN,
    WITHOUT_EFFECT,
    nearest,
    override_value,
)
from fringeflow.keys.problems import Findings, Place
from fringeflow.keys.scope import Names
from fringeflow.keys.syntax import Row, literal, read_text, recipe_rows
from fringeflow.keys.tables import Placed, is_known, put
from fringeflow.keys.values import plain


@dataclass(slots=True)
class Slots:
    """The recipe files of one config and product, each several in order: a base and what single stages add to it."""

    base: Placed[tuple[str, ...]] | None = None
    own: dict[ImagingStage, Placed[tuple[str, ...]]] = field(default_factory=dict)

    def enter(self, stage: str, files: Placed[tuple[str, ...]]) -> None:
        """Note the files of a line; one for all stages takes the place of every line before it."""
        if stage == "all":
            self.base, self.own = files, {}
        else:
            self.own[_STAGE_NAMES[stage]] = files

    def says(self, stage: str) -> tuple[str, ...]:
        """Return the files that count for a stage, or of all that have none of their own."""
        found = self.own.get(_STAGE_NAMES[stage], self.base) if stage in _STAGE_NAMES else self.base
        return found.value if found else ()

    def places(self) -> Iterator[Place]:
        """Yield the lines that count."""
        yield from (found.place for found in (self.base, *self.own.values()) if found)

    def undefined(self) -> list[str]:
        """Return the stages without a recipe."""
        return [] if self.base else [stage for stage in IMAGING_STAGES if stage not in self.own]

    def named(self) -> tuple[str, ...]:
        """Return the files of each stage as the imaging key names them; none if a stage is without."""
        if self.undefined():
            return ()
        return tuple(",".join(found.value) for stage in IMAGING_STAGES if (found := self.own.get(stage) or self.base))

    def layers(self, stage: ImagingStage) -> Iterator[tuple[str, Place]]:
        """Yield the files of a stage with where they are named, the base first, each file once."""
        seen = set()
        for found in (self.base or self.own.get("dirty"), self.own.get(stage)):
            for file in found.value if found else ():
                if found and file not in seen:
                    seen.add(file)
                    yield file, found.place


_STAGE_NAMES: Mapping[str, ImagingStage] = {stage: stage for stage in IMAGING_STAGES}
_SPECMODES = {"cube": "line", "mfs": "continuum"}
Table = dict[str, dict[str, Slots]]


def read_imaging(master: Master, names: Names, findings: Findings) -> Table:
    """Return the slots of the imaging key, config -> product, for every interferometric config and product."""
    found: Table = {config: {product: Slots() for product in names.products} for config in names.interf_configs}
    entered: list[tuple[Placed[tuple[str, ...]], str, list[Slots]]] = []
    for row in master.rows("imaging_key", findings):
        config, product, stage, files = row.cells
        stage = stage.lower()
        configs = names.configs_of(config, names.interf_configs, row.place, findings)
        products = names.products_of(product, row.place, findings, all_of_them=False)
        if not is_known(stage, (*IMAGING_STAGES, "all"), row.place, "stage", findings):
            continue
        named = Placed(tuple(file for file in files.split(",") if file), row.place)
        concerned = [found[one][other] for one in configs for other in products]
        for slots in concerned:
            slots.enter(stage, named)
        if concerned:
            entered.append((named, stage, concerned))
    if master.files.get("imaging_key"):
        _note_unreachable(entered, findings)
        _note_undefined(found, master.place("imaging_key"), findings)
    return found


def _note_unreachable(
    entered: Iterable[tuple[Placed[tuple[str, ...]], str, Sequence[Slots]]], findings: Findings
) -> None:
    for line, stage, concerned in entered:
        if not any(line.place in slots.places() for slots in concerned):
            same = all(slots.says(stage) == line.value for slots in concerned)
            text = f"no recipe is taken from this line: later ones say {'the same' if same else 'others'}"
            findings.warning(line.place, text, "remove it" if same else "remove or move it")


def _note_undefined(table: Table, place: Place, findings: Findings) -> None:
    """Note what has no recipe: it is meant where a key set leaves out what it defines for others."""
    without: dict[tuple[str, ...], list[str]] = {}
    for config, row in table.items():
        for product, slots in row.items():
            if slots.undefined():
                without.setdefault((product, *slots.undefined()), []).append(config)
    for (product, *stages), configs in without.items():
        text = f"no recipe for {product} of {', '.join(configs)} ({', '.join(stages)}): staged, but not imaged"
        every = "all" if len(configs) == len(table) else configs[0]
        findings.warning(place, text, f"if it shall be, add a line: {every} {product} all RECIPE_FILE")


def read_recipes(
    master: Master, table: Table, names: Names, findings: Findings
) -> dict[str, dict[str, dict[ImagingStage, Recipe]]]:
    """Return the layered recipes, config -> product -> stage, of every combination whose stages are all defined."""
    files = _Files(master.roots.key_dir, findings)
    found: dict[str, dict[str, dict[ImagingStage, Recipe]]] = {}
    for config, row_of in table.items():
        for product, slots in row_of.items():
            if not slots.undefined():
                wanted = "line" if product in names.line_products else "continuum"
                found.setdefault(config, {})[product] = {
                    stage: _layered(files, slots.layers(stage), (config, product, stage), wanted, findings)
                    for stage in IMAGING_STAGES
                }
    return found


def read_overrides(master: Master, findings: Findings) -> dict[str, dict[str, Placed[str]]]:
    """Return the overrides, key -> parameter -> text of the right type; sizes are in arcsec and bear no unit."""
    found: dict[str, dict[str, Placed[str]]] = {}
    for row in master.rows("override_key", findings):
        key, parameter, written = row.cells
        if parameter in WITHOUT_EFFECT:
            findings.warning(
                row.place, f"{parameter} of {key} has no effect: it is no part of this clean loop", "remove it"
            )
            continue
        if parameter not in OVERRIDABLE:
            findings.error(row.place, f"{parameter!r} cannot be overridden", nearest(parameter, OVERRIDABLE))
            continue
        try:
            value = override_value(parameter, written)
        except ValueError as error:
            findings.error(row.place, f"{parameter} of {key}: {error}", "correct the value")
            continue
        if parameter in DECIDED:
            findings.warning(row.place, f"{parameter} of {key} has no effect: the pipeline decides it", "remove it")
        plain_text = f"{value:.15g}" if parameter in SIZES and not written[-1].isdecimal() else written
        put(found.setdefault(key, {}), parameter, plain_text, row.place, f"{parameter} of {key}", findings)
        findings.came_from(f"overrides.{key}.{parameter}", row.place)
    return found


class _Files:
    """The recipe files of a project, each read once."""

    def __init__(self, folder: Path, findings: Findings) -> None:
        self._folder, self._findings = folder, findings
        self._read: dict[str, dict[str, Placed[Any]]] = {}

    def assignments(self, file: str, named_at: Place) -> dict[str, Placed[Any]]:
        """Return what a file sets; nothing, after noting why, where it cannot be read."""
        if file not in self._read:
            self._read[file] = self._assignments(self._folder / file, named_at)
        return self._read[file]

    def _assignments(self, path: Path, named_at: Place) -> dict[str, Placed[Any]]:
        found: dict[str, Placed[Any]] = {}
        if not path.is_file():
            self._findings.error(
                named_at, f"the recipe {path} does not exist", "create it in key_dir, or correct its name"
            )
            return found
        try:
            text = read_text(path, self._findings)
        except DataError as error:
            self._findings.error(Place(path), error.message, error.remedy or "")
            return found
        for row in recipe_rows(text, path, self._findings):
            _assign(found, row, self._findings)
        return found


def _layered(
    files: _Files,
    layers: Iterator[tuple[str, Place]],
    which: tuple[str, str, ImagingStage],
    wanted: str,
    findings: Findings,
) -> Recipe:
    values: dict[str, Placed[Any]] = {}
    names = []
    for file, named_at in layers:
        names.append(file)
        values.update(files.assignments(file, named_at))
    _check_specmode(values, which[1], wanted, findings)
    for name, value in values.items():
        findings.came_from(f"recipes.{'.'.join(which)}.{name}", value.place)
    return Recipe(files=tuple(names), parameters={name: value.value for name, value in values.items()})


def _assign(found: dict[str, Placed[Any]], row: Row, findings: Findings) -> None:
    name, written = row.cells
    if name in NOT_TCLEAN:
        findings.warning(row.place, f"tclean takes no {name}: left out", "remove the line")
        return
    if name not in TCLEAN:
        findings.error(row.place, f"{name!r} is not a parameter of tclean", nearest(name, TCLEAN))
        return
    try:
        value = TCLEAN[name](plain(literal(written)))
    except ValueError as error:
        findings.error(row.place, f"{name}: {error}", "write the value on one line, texts in quotes")
        return
    put(found, name, value, row.place, name, findings)


def _check_specmode(values: Mapping[str, Placed[Any]], product: str, wanted: str, findings: Findings) -> None:
    specmode = values.get("specmode")
    if specmode and _SPECMODES.get(specmode.value) != wanted:
        right = next(mode for mode, kind in _SPECMODES.items() if kind == wanted)
        findings.error(
            specmode.place,
            f"specmode {specmode.value!r} in a recipe of the {wanted} product {product}",
            f"set specmode = '{right}', or name another recipe in the imaging_key",
        )
