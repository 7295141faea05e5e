"""Writes a project as key files that are read back as the same project: what `init` leaves to a newcomer.

Knows the layouts of the key files and how a cell is quoted; whether a cell reads back is asked of the reader itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fringeflow.errors import DataError
from fringeflow.keys import lines
from fringeflow.keys.master import LAYOUTS
from fringeflow.keys.model import IMAGING_STAGES, ContProduct, Derived, Moment, Project, Target
from fringeflow.keys.problems import Findings
from fringeflow.keys.syntax import column_rows, comma_rows, split_columns

MASTER = "master_key.txt"
_QUOTES = ("'", '"')
_OTHERS = """a 'b' "c" )]}"""
Rows = Iterable[tuple[str, ...]]


def write(project: Project, folder: Path) -> Path:
    """Write the key files of `project` to `folder` and return the master key.

    Raises
    ------
    DataError
        A file of that name is there already, or a text of the project cannot stand in a key file.
    """
    texts = texts_of(project)
    there = [name for name in texts if (folder / name).exists()]
    if there:
        raise DataError(f"{folder / there[0]} is there already", remedy="choose a new folder for the key files")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder / MASTER


def texts_of(project: Project) -> dict[str, str]:
    """Return the key files of `project`, name -> text; those that would say nothing are left out.

    Raises
    ------
    DataError
        A text of the project cannot stand in a key file, such as one with a line break.
    """
    rows: dict[str, Rows] = {
        "ms_key": _measurements(project),
        "target_key": _targets(project),
        "config_key": _configs(project),
        "line_key": _lines(project),
        "linmos_key": ((name, part) for name, target in project.targets.items() for part in target.mosaic_parts),
        "dir_key": ((name, item.directory) for name, item in project.targets.items() if item.directory != name),
        "distance_key": ((item.name, repr(item.distance_mpc)) for item in _whole(project) if item.distance_mpc),
        "window_key": (
            (item.name, item.window, *([item.vfield_file] if item.vfield_file else []))
            for item in _whole(project)
            if item.window is not None
        ),
        "singledish_key": ((name, *row) for name, item in project.targets.items() for row in item.singledish.items()),
        "cleanmask_key": ((name, *row) for name, item in project.targets.items() for row in item.cleanmask.items()),
        "derived_key": _derived(project),
        "moment_key": (row for moment in project.moments.values() for row in _moment(moment)),
        "override_key": ((key, *row) for key, given in project.overrides.items() for row in given.items()),
        "casaversion_key": project.casa_versions.items(),
        "alma_download_key": _restrictions(project),
    }
    texts = {f"{kind}.txt": text for kind, found in rows.items() if (text := _text(kind, found))}
    if project.recipes:
        imaging, recipes = _imaging(project)
        texts |= {"imaging_key.txt": _text("imaging_key", imaging), **recipes}
    return {MASTER: _master(project, [name.removesuffix(".txt") for name in texts if name.endswith(".txt")]), **texts}


def cell(text: str) -> str:
    """Return `text` as one cell of a key file, in quotes where it needs them.

    Raises
    ------
    DataError
        There is no such cell: the text has a line break, or blanks and both kinds of quotes.
    """
    forms = (f'"{text}"', f"'{text}'")
    for form in forms if text[:1] in _QUOTES else (text, *forms):
        # Read with others behind it: a bracket that nothing closes would swallow them.
        if "\n" not in text and split_columns(f"{form}  {_OTHERS}") == (text, *split_columns(_OTHERS)):
            return form
    raise DataError(f"{text!r} cannot be written in a key file", remedy="leave out line breaks and quotes")


def literal_of(value: Any) -> str:
    """Return a value as the Python literal that key files hold."""
    return repr(_bare(value))


def _bare(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _bare(item) for key, item in value.items()}
    return [_bare(item) for item in value] if isinstance(value, (list, tuple)) else value


def _text(kind: str, rows: Rows) -> str:
    """Return the text of a key file: its columns as a comment, then its rows; nothing if there are none."""
    layout = LAYOUTS[kind]
    written = [_line(kind, row) for row in rows]
    between = "," if layout.commas else "  "
    return "\n".join([f"# {between.join(layout.columns)}", *written, ""]) if written else ""


def _line(kind: str, row: tuple[str, ...]) -> str:
    layout = LAYOUTS[kind]
    line = ",".join(row) if layout.commas else "  ".join(cell(text) for text in row)
    if _read(line, layout.columns, commas=layout.commas, optional=layout.optional) != row:
        raise DataError(f"{', '.join(row)} cannot be written in a {kind}", remedy="rename what has odd characters")
    return line


def _read(line: str, columns: tuple[str, ...], *, commas: bool, optional: int = 0) -> tuple[str, ...] | None:
    """Return the cells that a line has when it is read, None if it is not exactly one good row."""
    findings = Findings()
    rows = list((comma_rows if commas else column_rows)(line, Path(), findings, columns, optional=optional))
    return rows[0].cells if len(rows) == 1 and not findings.problems else None


def _master(project: Project, kinds: Iterable[str]) -> str:
    roots = project.roots
    folders = {"ms_root": roots.ms, "singledish_root": roots.singledish, "cleanmask_root": roots.cleanmask}
    found = [(keyword, str(path)) for keyword, paths in folders.items() for path in paths]
    found += [("vfield_root", str(path)) for path in roots.vfield]
    for keyword, folder in found:
        if "$" in folder:
            raise DataError(f"{keyword} {folder}: '$' begins a variable in a master key", remedy="rename the folder")
    entries = [f"{keyword:17} {cell(folder)}" for keyword, folder in found]
    return "\n".join([*entries, "", *(f"{kind:17} {kind}.txt" for kind in kinds), ""])


def _measurements(project: Project) -> Rows:
    for target in project.targets.values():
        for item in target.measurements:
            yield target.name, item.project, item.field, item.array_tag, item.obsnum, item.path


def _targets(project: Project) -> Rows:
    for name, target in project.targets.items():
        yield name, target.ra, target.dec, repr(target.vsys_kms), repr(target.vwidth_kms)


def _whole(project: Project) -> Iterator[Target]:
    """Yield the targets that have a distance and a velocity window of their own."""
    yield from (target for target in project.targets.values() if target.mosaic_parent is None)


def _configs(project: Project) -> Rows:
    for kind, found in (
        ("line_product", project.line_products),
        ("cont_product", project.cont_products),
        ("interf_config", project.interf_configs),
        ("feather_config", project.feather_configs),
    ):
        for name, item in found.items():
            derived = {"name", "kind", "restfreq_ghz", "feather_configs"}
            given = item.model_dump(exclude=derived, exclude_defaults=True)
            needed = {"lines_to_flag": item.lines_to_flag} if isinstance(item, ContProduct) else {}
            yield kind, name, literal_of(needed | given)
    for name, config in project.singledish_configs.items():
        yield "singledish_config", name, literal_of(config.parameters)
    used = {tag for config in project.interf_configs.values() for tag in config.array_tags}
    for tag, timebin in project.timebins.items():
        if timebin != "0s" or tag not in used:
            yield "array_tag", tag, literal_of({"timebin": timebin})


def _lines(project: Project) -> Rows:
    """Yield the lines that are not built in, or not so."""
    builtin = lines.builtin().lines
    for tag, line in lines.table_of(project).lines.items():
        if builtin.get(tag) != line:
            padding = [repr(line.padding_kms)] if line.padding_kms else []
            yield tag, repr(line.restfreq_ghz), line.family, *padding


def _derived(project: Project) -> Rows:
    """Yield the settings, those that all configs, or all products too, have in common in one row."""
    table = {
        (config, product): _settings(item) for config, row in project.derived.items() for product, item in row.items()
    }
    for parameter in dict.fromkeys(name for settings in table.values() for name in settings):
        given = {which: settings[parameter] for which, settings in table.items() if parameter in settings}
        if len(given) == len(table) > 0 and len(set(given.values())) == 1:
            yield "all", "all", parameter, next(iter(given.values()))
            continue
        for product in dict.fromkeys(product for _, product in given):
            of_product = {config: text for (config, other), text in given.items() if other == product}
            if len(of_product) == len(project.derived) > 1 and len(set(of_product.values())) == 1:
                yield "all", product, parameter, next(iter(of_product.values()))
            else:
                yield from ((config, product, parameter, text) for config, text in of_product.items())


def _settings(settings: Derived) -> dict[str, str]:
    found: dict[str, Any] = {
        "ang_res": settings.ang_res_arcsec,
        "phys_res": settings.phys_res_pc,
        "mask_configs": settings.mask_configs,
        "moments": settings.moments,
    }
    return {
        name: literal_of(value) for name, value in {**{k: v for k, v in found.items() if v}, **settings.kwargs}.items()
    }


def _moment(moment: Moment) -> Rows:
    words = {"algorithm": moment.algorithm, "mask": moment.mask, "ext": moment.ext, "ext_error": moment.ext_error}
    yield from ((moment.name, word, text) for word, text in words.items() if text is not None)
    rest = moment.model_dump(include={"round", "kwargs", "maps_to_pass", "other_exts"}, exclude_defaults=True)
    yield from ((moment.name, word, literal_of(value)) for word, value in rest.items())


def _restrictions(project: Project) -> Rows:
    for target, products in project.download_restrictions.items():
        for product, configs in products.items():
            for config, columns in configs.items():
                yield target, product, config, literal_of(columns)


def _imaging(project: Project) -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """Return the rows of the imaging key and the recipe files: what all stages share, and what each adds."""
    rows: list[tuple[str, ...]] = []
    files: dict[str, str] = {}
    for config, products in project.recipes.items():
        for product, recipes in products.items():
            stages: dict[str, dict[str, Any]] = {stage: dict(recipes[stage].parameters) for stage in IMAGING_STAGES}
            first, *others = (set(map(repr, stage.items())) for stage in stages.values())
            shared = first.intersection(*others)
            parts: dict[str, dict[str, Any]] = {
                "all": {name: value for name, value in stages["dirty"].items() if repr((name, value)) in shared}
            }
            for stage, parameters in stages.items():
                own = {name: value for name, value in parameters.items() if repr((name, value)) not in shared}
                parts |= {stage: own} if own else {}
            for stage, parameters in parts.items():
                text = "".join(f"{name} = {literal_of(value)}\n" for name, value in parameters.items())
                kind = product if stage == "all" else f"{product}_{stage}"
                name = next(name for name in _file_names(kind, config) if files.get(name, text) == text)
                files[name] = text
                rows.append((config, product, stage, name))
    return rows, files


def _file_names(kind: str, config: str) -> Iterator[str]:
    """Yield names for a recipe file: the first is shared by the configs whose recipes are the same."""
    yield f"{kind}.clean"
    yield f"{kind}_{config}.clean"
    number = 2
    while True:
        yield f"{kind}_{config}_{number}.clean"
        number += 1
