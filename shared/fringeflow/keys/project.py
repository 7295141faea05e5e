"""A project from its master key: every key file read, everything cross-checked, all problems found at once."""

from __future__ import annotations

from pathlib import Path

from fringeflow.keys import definitions, readers_config, readers_derived, readers_imaging, readers_tools
from fringeflow.keys.checks import cross_check
from fringeflow.keys.locate import check_data
from fringeflow.keys.master import read_master
from fringeflow.keys.model import Project
from fringeflow.keys.problems import Findings, KeysError, Problem
from fringeflow.keys.roster import read_roster

__all__ = ["KeysError", "check_data", "load", "load_or_raise"]


def load(master_key: Path, *, lenient: bool = False) -> tuple[Project, list[Problem]]:
    """Return the project of a master key and every problem of its key files.

    What a problem concerns is left out of the project, so one with errors is there to be looked at, not to be run.

    Parameters
    ----------
    master_key
        The one file that names all others.
    lenient
        Bear with old key sets as the reference does: faulty lines are left out with a warning, and relative folders
        start at the working directory.
    """
    findings = Findings(lenient=lenient)
    master = read_master(master_key, findings, lenient=lenient)
    lines = readers_tools.read_lines(master, findings)
    configs = readers_config.read_configs(master, findings)
    found = definitions.build(configs, lines, master.place("config_key"), findings)
    table = readers_imaging.read_imaging(master, found.names, findings)
    moments = readers_derived.read_moments(master, findings)
    overrides = readers_imaging.read_overrides(master, findings)
    project = Project(
        master_key=master.path,
        roots=master.roots,
        targets=read_roster(master, found.names.products, findings),
        interf_configs=found.interf_configs,
        feather_configs=found.feather_configs,
        singledish_configs=found.singledish_configs,
        line_products=found.line_products,
        cont_products=found.cont_products,
        derived=readers_derived.read_derived(master, found.names, moments, findings),
        moments=moments,
        recipes=readers_imaging.read_recipes(master, table, found.names, findings),
        recipe_files={config: {name: slots.named() for name, slots in row.items()} for config, row in table.items()},
        timebins=found.timebins,
        overrides={key: {name: item.value for name, item in row.items()} for key, row in overrides.items()},
        line_frequencies_ghz={tag: line.restfreq_ghz for tag, line in lines.lines.items()},
        line_families=lines.families,
        line_padding_kms={tag: line.padding_kms for tag, line in lines.lines.items() if line.padding_kms},
        casa_versions=readers_tools.read_casa_versions(master, findings),
        download_restrictions=readers_tools.read_restrictions(master, findings),
        sources=findings.sources,
    )
    cross_check(project, master, findings)
    return project, findings.problems


def load_or_raise(master_key: Path, *, lenient: bool = False) -> Project:
    """Return the project of a master key.

    Raises
    ------
    KeysError
        The key files have errors; it tells all of them.
    """
    project, problems = load(master_key, lenient=lenient)
    if any(problem.severity == "error" for problem in problems):
        raise KeysError(problems)
    return project
