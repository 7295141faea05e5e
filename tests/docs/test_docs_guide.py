"""The user guide and the page on migration say what the program knows: keys, defaults, examples, commands, links."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from fringeflow.cli.main import app
from fringeflow.graph import combining, imaging_recipes, joint, postprocess
from fringeflow.graph.stages import STAGES
from fringeflow.keys import derived_options, parameters, readers_derived, readers_targets
from fringeflow.keys.master import INPUT_ROOTS, LAYOUTS, OUTPUT_ROOTS
from fringeflow.keys.model import ContProduct, LineProduct, Moment
from fringeflow.keys.profiles import PROFILES
from fringeflow.keys.project import load
from fringeflow.keys.readers_config import SCHEMA
from fringeflow_derived import convolved, masks, moments, noise, peaks, prior, products, shuffle
from fringeflow_staging.settings import Corrections, LineSettings
from tests.docs import pages

GUIDE = pages.read("user-guide.md")
MIGRATION = pages.read("migration.md")
EVERYTHING = {"user-guide.md": GUIDE, "migration.md": MIGRATION}
KEY_SETS = pages.key_sets(GUIDE, "A worked key set")

_MASKS = (imaging_recipes.MaskRecipe, imaging_recipes.PriorRecipe)
_JOINT = set(joint.JointRecipe.model_fields)
_GRID = (imaging_recipes.Sizing, imaging_recipes.Splitting)
_GRIDDING = set(parameters.TCLEAN) - set(imaging_recipes._DECIDED) - set(imaging_recipes._NOT_RECIPE)
_AUTOMASK = {"usemask", *imaging_recipes.AutoMaskRecipe.model_fields}
_CLEAN = {*imaging_recipes._CLEAN, "cycleniter"}


def fields_of(*models: type[BaseModel]) -> set[str]:
    return {name for model in models for name in model.model_fields}


_IMAGING = set(parameters.LOOP) | set(parameters.SIZES)
_MASKING = (fields_of(*_MASKS) | {"cleanmask_grow_arcsec"}) & _IMAGING
_MOSAIC = {"linearmosaic_deltara", "linearmosaic_deltadec", "force_beam_arcsec"}

KNOWN: Mapping[str, set[str]] = {
    "The master key": {*LAYOUTS, *INPUT_ROOTS, *OUTPUT_ROOTS, "key_dir"},
    "Columns of the key files": set(LAYOUTS),
    **{kind: set(schema) for kind, schema in SCHEMA.items()},
    "The derived key": set(readers_derived._PARAMETERS),
    **{kind: set(options) for kind, options in derived_options.PRODUCT_OPTIONS.items()},
    "The moment key": {*readers_derived._WORDS, *readers_derived._LITERALS, *readers_derived.ALGORITHMS},
    "Staging": set(parameters.VISIBILITIES),
    "Imaging: grid": fields_of(*_GRID) & _IMAGING,
    "Imaging: masks": _MASKING,
    "Imaging: joint deconvolution": _JOINT,
    "Imaging: cleaning": _IMAGING - fields_of(*_GRID) - _MASKING - _JOINT - _MOSAIC,
    "Parameters of tclean": _GRIDDING | _CLEAN | _AUTOMASK,
    "Post-processing": set(parameters.FINISH) | _MOSAIC,
}
"""Heading -> the names that the first columns of the tables below it must have, and no others."""


def defaults_of_models(*models: type[BaseModel]) -> dict[str, Any]:
    found = {name: item.default for model in models for name, item in model.model_fields.items()}
    return {name: value for name, value in found.items() if value is not PydanticUndefined}


def defaults_of_options(model: Any) -> dict[str, Any]:
    return {item.name: item.default for item in fields(model) if item.default is not MISSING}


DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "line_product": defaults_of_models(LineProduct),
    "cont_product": defaults_of_models(ContProduct),
    "convolve_kw": defaults_of_options(convolved.ConvolveOptions),
    "noise_kw": defaults_of_options(noise.NoiseOptions),
    "strictmask_kw": defaults_of_options(masks.StrictOptions),
    "broadmask_kw": defaults_of_options(products.BroadOptions),
    "shuffle_kw": defaults_of_options(shuffle.ShuffleOptions),
    "array_tag": {"timebin": "0s"},
    "The moment key": defaults_of_models(Moment),
    "Staging": {
        "staging_method": LineSettings.method,
        "staging_grid": LineSettings.grid_mode,
        "staging_contsub": LineSettings.contsub,
        "staging_full_coverage": LineSettings.full_coverage,
        "staging_cover_window": Corrections.cover,
    },
    "Imaging: grid": defaults_of_models(*_GRID),
    "Imaging: cleaning": {
        **defaults_of_models(imaging_recipes.CleanRecipe),
        "multiscale_threshold_margin": imaging_recipes.CleanRecipe.model_fields["threshold_margin"].default,
        "singlescale_threshold_margin": imaging_recipes.CleanRecipe.model_fields["threshold_margin"].default,
    },
    "Imaging: masks": defaults_of_models(*_MASKS),
    "Imaging: joint deconvolution": defaults_of_models(joint.JointRecipe),
    "Parameters of tclean": defaults_of_models(imaging_recipes.CleanRecipe, imaging_recipes.AutoMaskRecipe),
    "Post-processing": defaults_of_models(
        postprocess.PostprocessRecipe, combining.MosaicRecipe, combining.FeatherRecipe, combining._Policy
    ),
}
"""Heading -> parameter -> the value it has where keys say nothing."""

IN_WORDS = {"lines_to_flag", "stop_at_negative"}
"""Parameters whose default depends on something else, which the guide says in words."""

ALGORITHMS: Mapping[str, Callable[..., Any]] = {
    "mom0": moments.mom0,
    "mom0flat": moments.mom0,
    "mom1": moments.mom1,
    "mom2": moments.mom2,
    "ew": moments.ew,
    "tpeak": peaks.tpeak,
    "vpeak": peaks.vpeak,
    "vquad": peaks.vquad,
    "mom1wprior": prior.hybrid,
}


@pytest.mark.parametrize("heading", KNOWN)
def test_tables_name_what_there_is_and_nothing_else(heading: str) -> None:
    below = [table for table in pages.tables(GUIDE) if table.section == heading]
    assert set().union(*(table.names() for table in below)) == KNOWN[heading]


def test_every_override_is_in_a_table() -> None:
    overrides = list(KNOWN)[list(KNOWN).index("Staging") :]
    named = set().union(*(KNOWN[heading] for heading in overrides))
    told = set(pages.in_code(pages.sections(GUIDE)["Parameters of tclean"]))
    assert set(parameters.OVERRIDABLE) <= named | told
    assert named <= set(parameters.OVERRIDABLE)


def test_names_without_effect_are_named() -> None:
    text = pages.sections(GUIDE)["Names without effect"]
    assert set(pages.in_code(text)) == parameters.WITHOUT_EFFECT | parameters.NOT_TCLEAN
    text = pages.sections(GUIDE)["Parameters of tclean"]
    decided = re.search(r"These are accepted and have no effect(.*?)\.\s", text, re.DOTALL)
    assert decided is not None
    assert set(pages.in_code(decided[1])) == parameters.DECIDED - {"mask"}


def test_columns_are_those_of_the_layouts() -> None:
    [table] = [table for table in pages.tables(GUIDE) if table.section == "Columns of the key files"]
    for kind, told in table.column("columns"):
        layout = LAYOUTS[kind]
        assert tuple(pages.in_code(told)) == layout.columns
        assert told.count("[") == layout.optional


def test_words_of_the_moment_key_are_told() -> None:
    text = pages.sections(GUIDE)["The moment key"]
    words = {*readers_derived.MASKS, *(name for names in derived_options.MAP_ARGUMENTS.values() for name in names)}
    assert words <= set(pages.in_code(text))
    assert set(readers_targets._CONVENTIONS) <= set(re.findall(r"`'(\w+)'`", GUIDE))


@pytest.mark.parametrize("heading", DEFAULTS)
def test_defaults_are_those_of_the_program(heading: str) -> None:
    checked = 0
    for table in pages.tables(GUIDE):
        if table.section == heading and "default" in table.columns:
            for name, told in table.column("default"):
                default = DEFAULTS[heading].get(name)
                if name in IN_WORDS:
                    continue
                checked += 1
                if told.startswith("`"):
                    assert ast.literal_eval(told.strip("`")) == default, name
                else:
                    assert default in (None, (), {}), f"{name} is {default!r} by default"
    assert checked


def choices_of(check: Callable[[Any], Any]) -> set[str]:
    """Return the words a check takes, none if it takes others than listed ones."""
    try:
        check("?")
    except ValueError as error:
        told = re.match(r"(?:one of|a list of some of) (.+) is wanted", str(error))
        return set(told[1].split(", ")) if told else set()
    return set()


@pytest.mark.parametrize("heading", KNOWN)
def test_choices_are_those_of_the_program(heading: str) -> None:
    checks = derived_options.PRODUCT_OPTIONS.get(heading, parameters.OVERRIDABLE)
    for table in pages.tables(GUIDE):
        if table.section == heading and "value" in table.columns:
            for name, told in table.column("value"):
                choices = choices_of(checks[name]) if name in checks else set()
                if choices and not told.endswith("..."):
                    assert set(pages.in_code(told)) == choices, name


def test_options_of_maps_and_their_defaults_are_told() -> None:
    [table] = [table for table in pages.tables(GUIDE) if table.columns[0] == "algorithm"]
    cells = dict(table.column("options and their defaults"))
    assert cells.keys() == derived_options.MOMENT_OPTIONS.keys() == ALGORITHMS.keys()
    for algorithm, told in cells.items():
        options = dict(re.findall(r"`(\w+)` (\S+?)(?:,| |$)", told))
        assert options.keys() == derived_options.MOMENT_OPTIONS[algorithm].keys()
        known = inspect.signature(ALGORITHMS[algorithm]).parameters
        for name, value in options.items():
            given = None if value == "none" else ast.literal_eval(value)
            assert given == (known.get(name) or known[f"{name}_kms"]).default, f"{name} of {algorithm}"


@pytest.mark.parametrize("heading", KEY_SETS)
def test_key_sets_load_without_a_problem(heading: str, tmp_path: Path) -> None:
    for name, text in KEY_SETS[heading].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    project, problems = load(tmp_path / "master_key.txt")
    assert [str(problem) for problem in problems] == []
    assert project.configs_with_data("ngc1")


def test_the_profile_is_told_as_it_is() -> None:
    [block] = [block for heading, block in pages.blocks(MIGRATION, "text") if "profile" in heading]
    told = {name: text.strip('"') for _, name, text in (line.split(None, 2) for line in block.splitlines())}
    assert {name: parameters.override_value(name, text) for name, text in told.items()} == {
        name: parameters.override_value(name, text) for name, text in PROFILES["reference"].overrides.items()
    }
    assert PROFILES["reference"].derived == {"noise_kw": {"signal_rounds": 0}}
    assert "`'signal_rounds': 0` in `noise_kw`" in MIGRATION


def understood(words: list[str]) -> Mapping[str, Any]:
    """Return the parameters that a command line gives; none if it only names a command."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    found: Mapping[str, Any] = command.make_context(command.name, rest).params if rest else {}
    return found


@pytest.mark.parametrize("page", EVERYTHING)
def test_command_lines_are_understood(page: str) -> None:
    lines = list(pages.commands(EVERYTHING[page]))
    assert len(lines) >= 10
    for words in lines:
        given = understood(words)
        assert given.get("until", "derived") in STAGES, words
        assert given.get("profile", "standard") in PROFILES, words


@pytest.mark.parametrize("words", ["coverrage k.txt", "plan k.txt --no-such", "run k.txt", "bucket tear", "plan a b"])
def test_command_lines_that_do_not_exist_are_refused(words: str) -> None:
    with pytest.raises((KeyError, *typer.BadParameter.__bases__)):
        understood(words.split())


@pytest.mark.parametrize("page", [*EVERYTHING, "../README.md"])
def test_links_lead_somewhere(page: str) -> None:
    home = pages.FOLDER / page
    for file, anchor in pages.links(home.read_text(encoding="utf-8")):
        target = home.parent / file if file else home
        assert target.exists(), f"{page}: {file}"
        if anchor:
            assert anchor in pages.anchors(target.read_text(encoding="utf-8")), f"{page}: {file}#{anchor}"
