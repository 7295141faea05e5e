"""What is written as key files is read back as the same project."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from fringeflow.errors import DataError
from fringeflow.keys.lines import builtin
from fringeflow.keys.model import (
    IMAGING_STAGES,
    ContProduct,
    Derived,
    FeatherConfig,
    InterfConfig,
    LineProduct,
    Measurement,
    Moment,
    Project,
    Recipe,
    Roots,
    SingleDishConfig,
    Target,
)
from fringeflow.keys.project import load
from fringeflow.keys.syntax import split_columns
from fringeflow.keys.writing import cell, texts_of, write

NAMES = st.text("abcXYZ019_+-.", min_size=1, max_size=6).filter(lambda name: name[0] not in ".-")
# What may stand between columns: blanks, quotes, brackets, signs of comments; no line breaks.
TEXTS = st.text("ab1 #'\"[]{}(),=/*\t~é", min_size=1, max_size=8)
NUMBERS = st.floats(min_value=1e-3, max_value=1e6, allow_nan=False)
VELOCITIES = st.floats(min_value=-1e4, max_value=3e4, allow_nan=False)


def writable(text: str) -> bool:
    try:
        cell(text)
    except DataError:
        return False
    return True


CELLS = TEXTS.filter(writable)
PATHS = CELLS.filter(lambda text: not text.endswith("/"))
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "noise_kw": st.fixed_dictionaries({}, optional={"spec_box": st.integers(1, 9), "do_map": st.booleans()}),
    "strictmask_kw": st.fixed_dictionaries({}, optional={"hi_thresh": NUMBERS, "lo_thresh": st.none() | NUMBERS}),
    "convolve_kw": st.fixed_dictionaries({}, optional={"spec_smooth": st.none() | st.just("2 km/s") | NUMBERS}),
}
RECIPES = st.fixed_dictionaries(
    {},
    optional={
        "pblimit": NUMBERS,
        "cell": TEXTS,
        "uvtaper": st.lists(TEXTS, max_size=2),
        "scales": st.lists(NUMBERS, max_size=3),
        "savemodel": st.just("none"),
        "imsize": st.lists(st.integers(10, 99), min_size=2, max_size=2),
    },
)
OVERRIDES = {
    "cell": NUMBERS.map(repr),
    "robust": st.just("-0.5"),
    "uvtaper": st.sampled_from(["2arcsec", "a # b", "10 klambda", "'a b'", '"x']),
    "scales": st.just("[1, 2.5]"),
}


@st.composite
def projects(draw: st.DrawFn) -> Project:
    """A project as it is when it has been loaded: linked, sorted and complete."""
    tags = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    unique = draw(st.lists(NAMES, min_size=8, max_size=14, unique_by=str.lower).filter(no_reserved))
    interf_names, feather_names = sorted(unique[:2], key=str.lower), unique[2:3]
    line_names, cont_names, moment_names, target_names = unique[3:5], unique[5:6], unique[6:7], sorted(unique[7:])
    feathers = {name: FeatherConfig(name=name, interf_config=interf_names[0]) for name in feather_names}
    interf = {
        name: InterfConfig(
            name=name,
            array_tags=draw(st.lists(st.sampled_from(tags), min_size=1, unique=True)),
            clean_scales_arcsec=draw(st.lists(NUMBERS, min_size=1, max_size=3)),
            feather_configs=tuple(feather_names) if name == interf_names[0] else (),
        )
        for name in interf_names
    }
    products = {name: line_product(draw, name) for name in sorted(line_names, key=str.lower)}
    conts = {
        name: ContProduct(name=name, lines_to_flag=draw(st.just(()) | st.just(("co",))), channel_ghz=draw(NUMBERS))
        for name in cont_names
    }
    moments = {name: moment(draw, name) for name in moment_names}
    used = {tag for config in interf.values() for tag in config.array_tags}
    table = builtin()
    return Project(
        master_key=Path("/"),
        roots=Roots(key_dir=Path("/"), ms=(Path("/da ta"), Path("/b#c")), vfield=(Path("/v"),)),
        targets=dict(sorted(targets(draw, target_names, tags, [*products, *conts]).items())),
        interf_configs=interf,
        feather_configs=feathers,
        singledish_configs={"tp": SingleDishConfig(name="tp", parameters={"bl_order": 2, "vel_line": "1~2;3~4"})},
        line_products=products,
        cont_products=conts,
        derived={
            config: {name: derived(draw, [*interf, *feathers], list(moments)) for name in (*products, *conts)}
            for config in (*interf, *feathers)
        },
        moments=moments,
        recipes={config: {name: recipes(draw, name in products) for name in (*products, *conts)} for config in interf},
        timebins={tag: draw(st.sampled_from(["0s", "30s", "1min"])) for tag in sorted(used)},
        overrides={name: draw(st.fixed_dictionaries({}, optional=OVERRIDES).filter(bool)) for name in target_names[:1]},
        line_frequencies_ghz={tag: line.restfreq_ghz for tag, line in table.lines.items()},
        line_families=table.families,
        casa_versions={"6.7": draw(CELLS)},
        download_restrictions={
            "all": {"all": {"all": {"antenna": draw(st.lists(TEXTS.filter(str.strip).map(str.strip)))}}}
        },
    )


def no_reserved(names: list[str]) -> bool:
    findings = {"all", "all_line", "all_cont", "tp", "galaxy", "target", "name", "none"}
    return not findings & {name.lower() for name in names}


def line_product(draw: st.DrawFn, name: str) -> LineProduct:
    return LineProduct(
        name=name,
        line_tag="co21",
        restfreq_ghz=builtin().find("co21").restfreq_ghz,
        channel_kms=draw(NUMBERS),
        statwt_edge_kms=draw(st.none() | NUMBERS),
        combinespw=draw(st.booleans()),
        exclude_freq_ranges_ghz=draw(st.none() | st.just(((1.0, 2.5), (3.0, 4.0)))),
    )


def moment(draw: st.DrawFn, name: str) -> Moment:
    return Moment(
        name=name,
        algorithm="mom0",
        mask=draw(st.sampled_from(["strictmask", "broadmask", None])),
        ext=f"_{name}",
        round=draw(st.integers(1, 3)),
        kwargs=draw(
            st.fixed_dictionaries({}, optional={"include_limits": st.booleans(), "line_width": st.just("5 km/s")})
        ),
    )


def derived(draw: st.DrawFn, configs: list[str], moments: list[str]) -> Derived:
    return Derived(
        ang_res_arcsec=draw(
            st.dictionaries(TEXTS.filter(str.strip).map(lambda tag: f"a{tag.strip()}"), NUMBERS, max_size=2)
        ),
        phys_res_pc=draw(st.dictionaries(st.sampled_from(["60pc", "1kpc"]), NUMBERS)),
        mask_configs=draw(st.lists(st.sampled_from(configs), unique=True)),
        moments=draw(st.sampled_from([(), tuple(moments)])),
        kwargs=draw(st.fixed_dictionaries({}, optional=OPTIONS)),
    )


def recipes(draw: st.DrawFn, line: bool) -> dict[str, Recipe]:
    """Stages that share some parameters and have others, or other values, of their own."""
    base: dict[str, Any] = {"specmode": "cube" if line else "mfs"} | draw(RECIPES)
    return {stage: Recipe(files=(), parameters=base | draw(RECIPES)) for stage in IMAGING_STAGES}


def targets(draw: st.DrawFn, names: list[str], tags: list[str], products: list[str]) -> dict[str, Target]:
    """A mosaic, its parts, which share its distance and window, and targets of their own."""
    whole, parts = names[0], names[1:3] if len(names) > 2 else []
    found = {}
    common = far(draw)
    for name in names:
        own = common if name in (whole, *parts) else far(draw)
        sets = draw(
            st.dictionaries(
                st.tuples(NAMES, st.sampled_from(tags), NAMES).filter(lambda row: no_reserved(list(row))),
                PATHS,
                max_size=2,
            )
        )
        found[name] = Target(
            name=name,
            ra=draw(CELLS),
            dec=draw(CELLS),
            vsys_kms=draw(VELOCITIES),
            vwidth_kms=draw(NUMBERS),
            directory=draw(st.just(name) | NAMES.filter(lambda text: no_reserved([text]))),
            **own,
            mosaic_parent=whole if name in parts else None,
            mosaic_parts=tuple(parts) if name == whole else (),
            measurements=tuple(
                Measurement(
                    target=name,
                    project=project,
                    array_tag=tag,
                    obsnum=obsnum,
                    field=draw(st.just("all") | CELLS.filter(lambda text: text.lower() != "all")),
                    path=path,
                )
                for (project, tag, obsnum), path in sets.items()
            ),
            singledish=draw(st.dictionaries(st.sampled_from(products), PATHS)),
            cleanmask=draw(st.dictionaries(st.sampled_from([*products, "all"]), PATHS)),
        )
    return found


def far(draw: st.DrawFn) -> dict[str, Any]:
    window = draw(st.none() | st.sampled_from(["50km/s", "30.0km/s"]))
    field = draw(st.none() | st.just("v f.fits")) if window else None
    return {"distance_mpc": draw(st.none() | NUMBERS), "window": window, "vfield_file": field}


def content(project: Project) -> dict[str, Any]:
    """What a project says, without where it was read and how recipe files are called and cut."""
    data = project.model_dump(exclude={"master_key": True, "sources": True, "recipe_files": True, "roots": {"key_dir"}})
    for row in data["recipes"].values():
        for stages in row.values():
            for recipe in stages.values():
                del recipe["files"]
    return data


@given(projects())
@settings(max_examples=25, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), deadline=None)
def test_a_project_that_is_written_is_read_back(project: Project) -> None:
    with TemporaryDirectory() as folder:
        again, problems = load(write(project, Path(folder) / "keys"))
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    assume(not any("would both be" in error for error in errors))  # names of products that files cannot tell apart
    assert errors == []
    assert content(again) == content(project)
    assert again.digest == again.model_copy(update={"master_key": Path("/")}).digest


@given(TEXTS)
def test_a_cell_reads_back_or_is_refused(text: str) -> None:
    if writable(text):
        assert split_columns(f"a  {cell(text)}\tb # c") == ("a", text, "b")
    else:
        assert "'" in text or '"' in text


@given(projects())
@settings(max_examples=8, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), deadline=None)
def test_rows_that_a_wildcard_stands_for_and_rows_one_by_one_say_the_same(project: Project) -> None:
    """Every wildcard of the derived key is written out by hand; later rows go before earlier ones."""
    texts = texts_of(project)
    names = [*project.line_products, *project.cont_products]
    rows = [split_columns(line) for line in texts.get("derived_key.txt", "").splitlines()]
    spread = [
        (config, product, *row[2:])
        for row in rows
        if row
        for config in (project.derived if row[0] == "all" else [row[0]])
        for product in (names if row[1] == "all" else [row[1]])
    ]
    with TemporaryDirectory() as folder:
        master = write(project, Path(folder) / "keys")
        if rows:
            file = master.parent / "derived_key.txt"
            wrong = "all all noise_kw {'spec_box': 77}\n" if "noise_kw" in file.read_text() else ""
            given_all = {(row[0], row[1]) for row in spread if row[2] == "noise_kw" and "spec_box" in row[3]}
            wrong = wrong if len(given_all) == len(names) * len(project.derived) else ""
            file.write_text(wrong + "".join("  ".join(map(cell, row)) + "\n" for row in spread))
        assert content(load(master)[0]) == content(project)


def test_a_text_that_no_key_file_can_hold_is_refused(survey) -> None:
    project, _ = survey()
    with pytest.raises(DataError, match="cannot be written"):
        cell("a 'b' \"c\"")
    with pytest.raises(DataError, match="cannot be written"):
        cell("two\nlines")
    field = project.targets["solo"].measurements[0].model_copy(update={"field": "a\nb"})
    targets = {**project.targets, "solo": project.targets["solo"].model_copy(update={"measurements": (field,)})}
    with pytest.raises(DataError, match="cannot be written"):
        texts_of(project.model_copy(update={"targets": targets}))
    odd = {**project.targets, "solo": project.targets["solo"].model_copy(update={"vfield_file": "a,b"})}
    with pytest.raises(DataError, match="window_key"):
        texts_of(project.model_copy(update={"targets": odd}))


def test_nothing_is_written_over(survey, tmp_path: Path) -> None:
    project, _ = survey()
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "ms_key.txt").write_text("mine\n")
    with pytest.raises(DataError, match="there already"):
        write(project, folder)
    assert [path.name for path in folder.iterdir()] == ["ms_key.txt"]


@pytest.mark.parametrize("master", ["data/phangs-alma_keys", "reference/ngc5921/keys", "reference/simgal/keys"])
def test_real_surveys_are_read_back(reference: Path, tmp_path: Path, master: str) -> None:
    project, _ = load(reference / master / "master_key.txt")
    again, problems = load(write(project, tmp_path / "keys"))
    assert [str(problem) for problem in problems if problem.severity == "error"] == []
    assert content(again) == content(project)


def test_the_small_survey_is_read_back(survey, tmp_path: Path) -> None:
    project, _ = survey(append={"imaging.txt": "7m co21 singlescale deep.clean\n"})
    again, _ = load(write(project, tmp_path / "again"))
    assert content(again) == content(project)
