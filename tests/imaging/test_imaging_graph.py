"""Units of imaging: layered recipes, blocks after the plan, work keys that stay."""

import pytest

from fringeflow.errors import DataError
from fringeflow.graph.imaging_recipes import recipe_of
from fringeflow.graph.model import UnitId
from fringeflow.keys.profiles import with_profile
from fringeflow_imaging.orders import clean_stage

CUBE = UnitId(stage="imaging", target="disc", config="7m", product="co")
PLAN = {"blocks": [[0, 3], [4, 7]], "memory_mb": 700}


def test_before_the_plan_the_cube_is_open_and_after_it_has_the_same_key(make_project, make_graph):
    wanted = make_project()
    before = make_graph(wanted)
    assert before[CUBE].open
    assert len(before) == 3
    after = make_graph(wanted, made={before.key(CUBE.at("plan")): PLAN})
    steps = {unit.id.step for unit in after if unit.id.stage == "imaging"}
    assert steps == {"plan", "multiscale.0-3", "multiscale.4-7", "mask", "singlescale.0-3", "singlescale.4-7", ""}
    assert not after[CUBE].open
    assert after.key(CUBE) == before.key(CUBE)
    assert after[CUBE].outputs == before[CUBE].outputs


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"multiscale": {"gain": 0.2}}, {"plan"}),
        ({"singlescale": {"gain": 0.2}}, {"plan", "multiscale.0-3", "multiscale.4-7", "mask"}),
        ({"overrides": {"mask_min_beams": 2}}, {"plan", "multiscale.0-3", "multiscale.4-7"}),
        ({"overrides": {"deltara": 60}}, set()),
    ],
)
def test_a_changed_parameter_changes_what_comes_after_it(make_project, make_graph, change, same):
    def keys(wanted):
        plan = make_graph(wanted).key(CUBE.at("plan"))
        graph = make_graph(wanted, made={plan: PLAN})
        return {unit.id.step: graph.key(unit.id) for unit in graph if unit.id.stage == "imaging"}

    old, new = keys(make_project()), keys(make_project(**change))
    assert {step for step in old if old[step] == new[step]} == same
    assert old[""] != new[""]


def test_each_stage_has_its_own_recipe(make_project):
    recipe = recipe_of(make_project(singlescale={"gain": 0.05, "cyclefactor": 2.0}), "disc", "7m", "co")
    assert (recipe.multiscale.gain, recipe.singlescale.gain) == (0.1, 0.05)
    assert (recipe.multiscale.cyclefactor, recipe.singlescale.cyclefactor) == (1.5, 2.0)
    assert recipe.multiscale.scales_arcsec == (0.0, 2.0, 4.0)
    assert recipe.singlescale.scales_arcsec == (0.0,)
    assert (recipe.multiscale.snr, recipe.singlescale.snr) == (4.0, 1.0)


def test_any_parameter_can_be_overridden(make_project):
    overrides = {"pblimit": 0.5, "smallscalebias": 0.7, "singlescale_threshold_value": 2, "max_cycles": 7, "cell": 0.5}
    recipe = recipe_of(make_project(overrides=overrides), "disc", "7m", "co")
    assert recipe.tclean["pblimit"] == 0.5
    assert recipe.multiscale.smallscalebias == 0.7
    assert (recipe.multiscale.snr, recipe.singlescale.snr) == (4.0, 2.0)
    assert recipe.multiscale.max_cycles == 7
    assert recipe.sizing.cell == 0.5


def test_the_profile_of_the_reference_takes_its_choices_unless_the_keys_say_otherwise(make_project):
    def choices(wanted):
        recipe = recipe_of(wanted, "disc", "7m", "co")
        multiscale = recipe.multiscale
        return recipe.mask.mask_noise, multiscale.scale_rounding, multiscale.threshold_margin

    assert choices(make_project()) == ("channel", "nearest", 0.95)
    assert choices(with_profile(make_project(), "reference")) == ("cube", "down", 1.0)
    own = make_project(overrides={"mask_noise": "'channel'"})
    assert choices(with_profile(own, "reference")) == ("channel", "down", 1.0)


@pytest.mark.parametrize(("rounding", "pixels"), [("nearest", (0, 5, 14)), ("down", (0, 5, 13))])
def test_scales_are_rounded_to_pixels(rounding, pixels):
    content = {"snr": 4.0, "scales_arcsec": [0.0, 60.0, 150.0], "scale_rounding": rounding}
    stage = clean_stage(content, {"cell_arcsec": "11.0", "imsize": [256, 256]}, signal_only=False)
    assert stage.scales.pixels == pixels


def test_a_threshold_is_of_all_scales_alike_but_in_the_profile_of_the_reference(make_project):
    def choice(wanted):
        recipe = recipe_of(wanted, "disc", "7m", "co").multiscale
        stage = clean_stage(recipe.model_dump(), {"cell_arcsec": "0.5", "imsize": [256, 256]}, signal_only=False)
        return recipe.scale_threshold, stage.scales.alike

    assert choice(make_project()) == ("alike", True)
    assert choice(with_profile(make_project(), "reference")) == ("biased", False)
    assert choice(make_project(overrides={"scale_threshold": "'biased'"})) == ("biased", False)


def test_continuum_has_the_mask_levels_of_lines_and_its_own_products(make_project, make_graph):
    for product in ("co", "cont"):
        mask = recipe_of(make_project(), "disc", "7m", product).mask
        assert (mask.singlescale_mask_high_snr, mask.singlescale_mask_low_snr) == (4.0, 2.0)
    graph = make_graph(make_project(), ("cont",))
    unit = graph[CUBE._replace(product="cont")]
    assert not unit.open
    assert {"disc_7m_cont.fits", "disc_7m_cont_alpha_error.fits", "disc_7m_cont_residual_tt1.fits"} <= set(unit.outputs)


def test_a_mosaic_has_weights(make_project, make_graph):
    graph = make_graph(make_project(recipe={"gridder": "mosaic"}))
    assert "disc_7m_co_weight.fits" in graph[CUBE].outputs
    assert "disc_7m_co_weight.fits" not in make_graph(make_project())[CUBE].outputs


def test_the_specific_clean_mask_beats_the_general_one(make_project, make_graph):
    graph = make_graph(make_project(cleanmask={"all": "a.fits", "co": "b.fits"}))
    assert graph[CUBE].leaves == ("cleanmask/b.fits",)
    assert graph.missing(CUBE)[0] == "cleanmask/b.fits"
    graph = make_graph(make_project(cleanmask={"all": "a.fits"}))
    assert graph[CUBE].leaves == ("cleanmask/a.fits",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": {"specmode": "mfs"}}, "specmode"),
        ({"recipe": {"start": "100km/s"}}, "start"),
        ({"recipe": {"mask": "my.mask"}}, "cleanmask"),
        ({"overrides": {"gain": "much"}}, "gain"),
    ],
)
def test_what_cannot_be_is_told(make_project, arguments, message):
    with pytest.raises(DataError, match=message):
        recipe_of(make_project(**arguments), "disc", "7m", "co")
