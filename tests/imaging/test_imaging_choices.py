"""What overrides and recipes choose, and what has no effect and is told (weaknesses W2, W13, W24, W28)."""

from __future__ import annotations

import pytest

from fringeflow.errors import DataError
from fringeflow.graph.imaging_idle import idle_lines
from fringeflow.graph.imaging_recipes import Recipes, recipe_of
from fringeflow.graph.model import UnitId
from fringeflow.keys.project import load, load_or_raise
from fringeflow_imaging import orders
from fringeflow_imaging.automask import Thresholds
from tests.e2e.galaxy import write_keys

CUBE = UnitId(stage="imaging", target="disc", config="7m", product="co")


def staged_overrides(make_project, **by_key):
    """A project with overrides for keys of its own: the cube, or one of its stages."""
    project = make_project()
    given = {key: {name: str(value) for name, value in values.items()} for key, values in by_key.items()}
    return project.model_copy(update={"overrides": {**project.overrides, **given}})


def test_w2_an_override_reaches_a_single_stage(make_project):
    recipe = recipe_of(
        staged_overrides(make_project, disc={"gain": 0.2}, disc_7m_co_singlescale={"gain": 0.05, "max_cycles": 3}),
        "disc", "7m", "co",
    )  # fmt: skip
    assert (recipe.multiscale.gain, recipe.singlescale.gain) == (0.2, 0.05)
    assert (recipe.multiscale.max_cycles, recipe.singlescale.max_cycles) == (40, 3)
    gridded = recipe_of(staged_overrides(make_project, disc_7m_co_dirty={"robust": -1}), "disc", "7m", "co")
    assert gridded.tclean["robust"] == -1


def test_w2_targets_whose_overrides_differ_in_their_stage_only_have_recipes_of_their_own(make_project):
    project = staged_overrides(make_project, disc_7m_co_multiscale={"gain": 0.3}, other_7m_co_singlescale={"gain": 0.3})
    disc = project.targets["disc"]
    both = project.model_copy(update={"targets": {"disc": disc, "other": disc.model_copy(update={"name": "other"})}})
    recipes = Recipes(both)
    gains = [
        tuple(recipes.of(target, "7m", "co")[stage]["gain"] for stage in ("multiscale", "singlescale"))
        for target in ("disc", "other")
    ]
    assert gains == [(0.3, 0.1), (0.1, 0.3)]


def test_w2_an_override_acts_though_the_recipe_file_does_not_name_its_parameter(make_project):
    recipe = recipe_of(make_project(overrides={"uvtaper": "['2arcsec']"}), "disc", "7m", "co")
    assert recipe.tclean["uvtaper"] == ["2arcsec"]


@pytest.mark.parametrize(
    ("stage", "parameter"), [("multiscale", "robust"), ("dirty", "gain"), ("singlescale", "usemask"), ("dirty", "cell")]
)
def test_w2_a_stage_without_the_parameter_says_so(make_project, stage, parameter):
    wanted = staged_overrides(make_project, **{f"disc_7m_co_{stage}": {parameter: "1"}})
    with pytest.raises(DataError, match=f"{parameter}.*{stage} stage has no such parameter"):
        recipe_of(wanted, "disc", "7m", "co")


def test_w2_overrides_without_effect_are_told_and_new_ones_act(tmp_path):
    write_keys(tmp_path / "keys")
    master = tmp_path / "keys" / "master_key.txt"
    lines = "disc niter 100\ndisc remask_each_loop True\ndisc prior_taper_arcsec 4arcsec\n"
    (tmp_path / "keys" / "override_key.txt").write_text(lines)
    project, problems = load(master)
    told = [(problem.severity, problem.line) for problem in problems if "has no effect" in problem.text]
    assert told == [("warning", 1), ("warning", 2)]
    prior = recipe_of(project, "disc", "12m", "co21").prior
    assert prior is not None
    assert prior.prior_taper_arcsec == 4.0


def test_w2_what_is_not_set_is_not_in_the_recipe_and_changes_no_key(make_project, make_graph):
    written = recipe_of(make_project(), "disc", "7m", "co").model_dump(mode="json")
    assert "prior" not in written
    assert not {name for name, value in written["multiscale"].items() if value is None}
    assert "mask_grow_beams" not in written["mask"]
    options = {"mask_grow_beams": 1.5, "mask_seed_channels": 2, "convergence_totalflux": 0.1, "prior_taper_arcsec": 9}
    plain = make_graph(make_project()).key(CUBE)
    assert len({plain, *(make_graph(make_project(overrides={n: v})).key(CUBE) for n, v in options.items())}) == 5


def noted(project):
    return {
        (problem.severity, problem.file.name, problem.line, problem.text.split()[0]) for problem in idle_lines(project)
    }


def written_project(folder, recipe, more="", **files):
    """A project whose recipe of lines is `recipe`, with more lines of the imaging key, and other files."""
    write_keys(folder)
    (folder / "cube.clean").write_text(recipe)
    with (folder / "imaging_key.txt").open("a") as key:
        key.write(more)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    (folder / "deep.clean").write_text("robust = 2.0\ngain = 0.3\nweighting = 'briggs'\n")
    return load_or_raise(folder / "master_key.txt")


SAVED = """\
specmode = 'cube'
cell = ['0.5arcsec']
imsize = [200, 160]
cycleniter = 300
niter = 1
threshold = '0.0mJy/beam'
restoringbeam = 'common'
scales = []
interpolation = 'linear'
weighting = 'briggs'
startmodel = 'my.model'
interactive = False
"""


def test_w2_lines_of_a_recipe_that_have_no_effect_are_told_if_they_may_be_meant(tmp_path):
    project = written_project(tmp_path / "keys", SAVED)
    told = {(2, "cell"), (3, "imsize"), (4, "cycleniter"), (11, "startmodel")}
    assert noted(project) == {("note", "cube.clean", line, name) for line, name in told}
    assert all(problem.remedy for problem in idle_lines(project))
    meant = SAVED.replace("'linear'", "'cubic'").replace("niter = 1\n", "niter = 500\n").replace("[]", "[0, 5]")
    assert noted(written_project(tmp_path / "meant", meant)) - noted(project) == {
        ("note", "cube.clean", line, name) for line, name in ((5, "niter"), (8, "scales"), (9, "interpolation"))
    }


def test_w2_a_line_for_a_stage_that_has_no_such_parameter_is_told(tmp_path):
    plain = "specmode = 'cube'\nweighting = 'briggs'\n"
    project = written_project(tmp_path / "late", plain, "all all_line multiscale deep.clean\n")
    assert noted(project) == {("note", "deep.clean", 1, "robust")}  # the weighting is that of the dirty image anyway
    assert recipe_of(project, "disc", "12m", "co21").multiscale.gain == 0.3
    project = written_project(tmp_path / "early", plain, "all all_line dirty deep.clean\n")
    assert noted(project) == {("note", "deep.clean", 2, "gain")}
    assert recipe_of(project, "disc", "12m", "co21").tclean["robust"] == 2.0


def test_w2_sizes_are_those_of_the_recipe_without_dynamic_sizing_and_overrides_go_before(tmp_path):
    def sizing(name, overrides):
        project = written_project(tmp_path / name, SAVED, override_key=overrides)
        found = recipe_of(project, "disc", "12m", "co21").sizing
        return found.cell, found.imsize, {line[-1] for line in noted(project)}

    off = {"cycleniter", "startmodel"}
    assert sizing("dynamic", "") == (None, None, {"cell", "imsize", *off})
    assert sizing("fixed", "all dynamic_sizing False\n") == (0.5, (200, 160), off)
    assert sizing("both", "all dynamic_sizing False\ndisc cell 0.4arcsec\n") == (0.4, (200, 160), off)
    assert sizing("given", "disc imsize 128\n") == (None, (128, 128), {"cell", "imsize", *off})


@pytest.mark.parametrize(
    ("overrides", "message"), [({"imsize": "[100, 101]"}, "even"), ({"imsize": [2, 2, 2]}, "one or two")]
)
def test_w2_sizes_that_cannot_be_are_refused(make_project, overrides, message):
    with pytest.raises(DataError, match=message):
        recipe_of(make_project(overrides=overrides), "disc", "7m", "co")


@pytest.mark.parametrize("cell", [["0.5arcsec", "0.4arcsec"], "0.1deg"])
def test_w2_cells_of_a_recipe_are_square_and_in_arcsec(make_project, cell):
    wanted = make_project(recipe={"cell": cell}, overrides={"dynamic_sizing": False})
    with pytest.raises(DataError, match="cell"):
        recipe_of(wanted, "disc", "7m", "co")


def test_w2_a_size_that_is_not_given_changes_no_key(make_project, make_graph):
    assert "imsize" not in recipe_of(make_project(recipe={"imsize": [100]}), "disc", "7m", "co").sizing.model_dump()
    plain, given = (make_graph(make_project(overrides=more)).key(CUBE) for more in ({}, {"imsize": 128}))
    assert make_graph(make_project(recipe={"imsize": [100]})).key(CUBE) == plain
    assert given != plain


def test_w13_scales_are_those_of_the_config_and_none_is_wider_than_the_image(make_project):
    recipe = recipe_of(make_project(overrides={"clean_scales_arcsec": "[0, 3, 3.1, 90]"}), "disc", "7m", "co")
    assert recipe.multiscale.scales_arcsec == (0.0, 3.0, 3.1, 90.0)
    assert recipe.singlescale.scales_arcsec == (0.0,)
    stage = orders.clean_stage(recipe.multiscale.model_dump(), {"cell_arcsec": "1", "imsize": [96, 96]}, signal_only=0)
    assert stage.scales.pixels == (0, 3)


def test_w24_automatic_masks_are_asked_for_as_of_tclean(make_project):
    base = recipe_of(make_project(), "disc", "7m", "co")
    assert base.multiscale.automask is None
    asked = {"usemask": "auto-multithresh", "noisethreshold": 4.25}
    for wanted in (make_project(multiscale=asked), make_project(overrides=asked)):
        recipe = recipe_of(wanted, "disc", "7m", "co")
        assert recipe.multiscale.automask is not None
        assert recipe.multiscale.automask.noisethreshold == 4.25
        assert recipe.singlescale.automask is None
        stage = orders.clean_stage(
            recipe.multiscale.model_dump(), {"cell_arcsec": "1", "imsize": [96, 96]}, signal_only=0
        )
        assert stage.automask == Thresholds(noisethreshold=4.25)


PLAN = {"blocks": [[0, 3], [4, 7]], "memory_mb": 700}


def test_w28_a_first_look_at_low_resolution_comes_before_where_no_mask_is_given(make_project, make_graph):
    def steps(wanted):
        key = make_graph(wanted).key(CUBE.at("plan"))
        graph = make_graph(wanted, made={key: PLAN})
        return graph, {unit.id.step for unit in graph if unit.id.stage == "imaging"}

    wanted = make_project(overrides={"prior_taper_arcsec": 9})
    graph, found = steps(wanted)
    assert {"lowres.0-3", "lowres.4-7", "prior"} <= found
    assert {str(need.unit) for need in graph[CUBE.at("multiscale.0-3")].needs} >= {f"{CUBE}/prior"}
    assert graph.key(CUBE) == make_graph(wanted).key(CUBE)
    _, without = steps(make_project())
    assert not {step for step in without if step.startswith(("lowres", "prior"))}
    _, given = steps(make_project(overrides={"prior_taper_arcsec": 9}, cleanmask={"co": "mask.fits"}))
    assert not {step for step in given if step.startswith(("lowres", "prior"))}


def test_w28_the_parameters_need_a_taper(make_project):
    with pytest.raises(DataError, match="prior_taper_arcsec"):
        recipe_of(make_project(overrides={"prior_mask_high_snr": 5}), "disc", "7m", "co")
