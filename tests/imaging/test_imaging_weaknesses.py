"""Numbered weaknesses of the reference's imaging (specification, section 23), in their order, not held elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from scipy.signal import fftconvolve

from fringeflow.errors import DataError
from fringeflow.graph.imaging_recipes import Recipes, recipe_of
from fringeflow.graph.model import UnitId
from fringeflow.keys.project import load
from fringeflow_imaging import continuum, gridding, orders
from fringeflow_imaging.align import align_mask, sky_grid
from fringeflow_imaging.automask import AutoMask, Thresholds
from fringeflow_imaging.cube import CleanStage
from fringeflow_imaging.loop import Row, Stopping, clean, verdict
from fringeflow_imaging.mask import grown, signal_mask
from fringeflow_imaging.minor import Cleaner, CycleControl, Scales
from fringeflow_imaging.noisetest import NoiseTest, noise_peak
from tests.e2e.galaxy import write_keys
from tests.simulation import Observation, Point, Truth, Window, simulate_disc

CUBE = UnitId(stage="imaging", target="disc", config="7m", product="co")
SIZE, HALF = 96, 48


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


def test_w12_seeds_may_have_to_stand_in_several_channels():
    cube = np.zeros((6, 8, 8))
    cube[1, 2, 2] = cube[3, 6, 6] = cube[4, 6, 6] = 5.0

    def found(channels):
        options = {"high_snr": 4.0, "low_snr": 2.0, "absolute": False, "roll": False, "seed_channels": channels}
        return np.array(list(signal_mask(lambda channel: cube[channel], cube.shape, **options)))

    assert found(1).sum() == 3
    two = found(2)
    assert not two[:, 2, 2].any()
    assert two[:, 6, 6].tolist() == [False, False, False, True, True, False]
    assert not found(3).any()
    assert not found(7).any()


def test_w12_a_mask_may_be_grown_on_the_sky():
    plane = np.zeros((21, 21), dtype=bool)
    plane[10, 10] = True
    y, x = np.mgrid[:21, :21] - 10
    assert np.array_equal(grown(plane, 4.3), np.hypot(x, y) <= 4.3)
    assert np.array_equal(grown(plane, 0.0), plane)
    assert not grown(np.zeros_like(plane), 5.0).any()


def test_w13_scales_are_those_of_the_config_and_none_is_wider_than_the_image(make_project):
    recipe = recipe_of(make_project(overrides={"clean_scales_arcsec": "[0, 3, 3.1, 90]"}), "disc", "7m", "co")
    assert recipe.multiscale.scales_arcsec == (0.0, 3.0, 3.1, 90.0)
    assert recipe.singlescale.scales_arcsec == (0.0,)
    stage = orders.clean_stage(recipe.multiscale.model_dump(), {"cell_arcsec": "1", "imsize": [96, 96]}, signal_only=0)
    assert stage.scales.pixels == (0, 3)


def row(cycle, flux, components=0, peak=10.0):
    return Row(0, cycle, components, 1.0, 0.25, peak, flux)


def test_w14_w18_absolute_flux_criteria_look_at_one_channel_and_both_signs():
    rows = [row(i, flux, 100 * i, 10.0 - i) for i, flux in enumerate((0.0, 5.0, 5.05, 5.02, 5.08))]
    assert verdict(rows, Stopping(snr=4.0)) is None
    assert verdict(rows, Stopping(snr=4.0, totalflux=0.1)) == "flux"
    assert verdict(rows, Stopping(snr=4.0, totalflux=0.07)) is None
    assert verdict(rows, Stopping(snr=4.0, fluxpercomponent=0.001)) == "flux"
    assert verdict(rows, Stopping(snr=4.0, fluxpercomponent=0.0001)) is None
    falling = [row(i, -flux, 100 * i, 10.0 - i) for i, flux in enumerate((1.0, 5.0, 9.0, 13.0, 17.0))]
    assert verdict(falling, Stopping(snr=4.0, totalflux=0.1)) is None


@pytest.fixture(scope="module")
def psf():
    y, x = np.mgrid[:SIZE, :SIZE] - HALF
    radius = np.hypot(x, y)
    shape = np.exp(-(radius**2) / 12) + 0.08 * np.cos(radius) * np.exp(-radius / 12)
    return (shape / shape.max()).astype(np.float32)


def seen(plane, psf):
    return fftconvolve(plane, psf)[HALF : HALF + SIZE, HALF : HALF + SIZE].astype(np.float32)


def noise_plane(psf, seed):
    plane = seen(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), psf)
    return plane / plane.std()


def after_three_cycles(dirty, psf, radii):
    """The test after three cycles on an image whose noise is 1, and the peak that is left."""
    cleaner = Cleaner(psf, np.ones((SIZE, SIZE), dtype=bool), Scales(radii, 0.6))
    test = NoiseTest(psf, radii, SIZE * SIZE, 2.0)
    residual, model = dirty, np.zeros_like(dirty)
    for _ in range(3):
        taken = np.zeros_like(cleaner.weight)
        floor = max(0.7 * cleaner.peak(residual), 1.0)
        model += cleaner.run(residual, CycleControl(cycleniter=100), floor, taken)[0]
        residual = dirty - seen(model, psf)
        test.add(taken)
    return test, cleaner.peak(residual)


@pytest.mark.parametrize("radii", [(0,), (0, 4, 8)])
def test_w15_the_score_of_noise_is_that_of_random_signs_whatever_the_scales(psf, radii):
    found = [after_three_cycles(noise_plane(psf, seed), psf, radii) for seed in range(30)]
    scores = [test.z_score() for test, _ in found]
    assert 0.7 < np.std(scores) < 1.4
    assert abs(np.mean(scores)) < 0.6
    assert sum(test.is_noise(peak) for test, peak in found) >= 25  # at 2 sigma 95 % are told


def test_w15_sources_are_no_noise_though_both_signs_cancel(psf):
    sky = np.zeros((SIZE, SIZE))
    sky[12:84:24, 12:84:24], sky[24:84:24, 24:84:24] = 20.0, -20.0  # nine of each sign, far apart
    cancelled, left = after_three_cycles(noise_plane(psf, 1) + seen(sky, psf), psf, (0,))
    assert abs(cancelled.z_score()) < 2.0
    assert not cancelled.is_noise(left)
    positive, left = after_three_cycles(noise_plane(psf, 1) + seen(np.abs(sky), psf), psf, (0,))
    assert positive.z_score() > 2.0
    assert not positive.is_noise(left)


def test_w15_the_peak_of_noise_grows_with_the_number_of_samples():
    assert noise_peak(1) == pytest.approx(1.96, abs=0.01)
    rng = np.random.default_rng(2)
    for samples in (100, 5000):
        above = np.mean(np.abs(rng.normal(size=(2000, samples))).max(axis=1) > noise_peak(samples))
        assert above == pytest.approx(0.05, abs=0.02)


def cleaned(dirty, psf, stopping, **options):
    valid = np.ones((1, SIZE, SIZE), dtype=bool)
    return clean(
        (np.zeros((1, SIZE, SIZE), dtype=np.float32), dirty[None]),
        psf[None],
        valid,
        valid,
        lambda model: (dirty - seen(model[0], psf))[None],
        scales=Scales((0,)),
        control=CycleControl(cyclefactor=3.0, minpsffraction=0.6, cycleniter=30),
        sidelobes=[0.1],
        stopping=stopping,
        **options,
    )


def test_w15_the_test_ends_a_clean_of_noise_and_is_off_by_default(psf):
    noise = noise_plane(psf, 7)
    assert cleaned(noise, psf, Stopping(snr=0.5, noise_z=2.0)).reasons == ("noise",)
    assert cleaned(noise, psf, Stopping(snr=0.5, max_cycles=8)).reasons != ("noise",)
    sky = np.zeros((SIZE, SIZE))
    sky[40:56, 40:56] = 3.0
    deep = cleaned(noise + seen(sky, psf), psf, Stopping(snr=2.5, noise_z=2.0))
    assert deep.model.sum() == pytest.approx(3.0 * 256, rel=0.05)


def test_w19_a_continuum_image_that_diverges_goes_back_and_says_so(casa_ready, tmp_path, monkeypatch):
    sky = Truth(line_flux_jykms=0.0, sigma_jy=0.05, points=(Point(2.0, 1.0, 0.5),))
    watch = Observation(n_times=3, n_antennas=8, longest_m=120.0)
    seen_ms = simulate_disc(tmp_path / "c.ms", sky, windows=(Window(n_channels=2),), observation=watch)
    image = continuum.Image(tmp_path / "image", 2)
    parameters = {
        "vis": str(seen_ms.path), "imagename": str(image.root), "imsize": [64, 64], "cell": "0.5arcsec",
        "specmode": "mfs", "deconvolver": "mtmfs", "nterms": 2, "weighting": "natural", "pblimit": 0.2,
    }  # fmt: skip
    gridding.dirty(parameters)
    real, kept = continuum._call, []

    def growing(*arguments):
        kept.append([image.pixels("residual"), image.pixels("model") if kept else None])
        count = real(*arguments)
        if len(kept) == 2:
            gridding.write_pixels(image.part("residual"), 3 * kept[0][0][np.newaxis])
        return count

    monkeypatch.setattr(continuum, "_call", growing)
    control = CycleControl(gain=0.05, cycleniter=10)
    stage = CleanStage(Scales(), control, Stopping(snr=0.2, max_components=100_000))
    rows, reason = continuum.clean(image, parameters, gridding.read_valid(image.part("pb"))[0], stage)
    assert reason == "diverged"
    assert len(rows) == 3
    assert rows[2].peak > 1.2 * rows[1].peak
    assert np.array_equal(image.pixels("residual"), kept[1][0])
    assert np.array_equal(image.pixels("model"), kept[1][1])


CENTRE = "J2000 12h00m00.0s -30d00m00.0s"
GRID = sky_grid(CENTRE, 1.0, 20, 16)
VELOCITY = {"CTYPE": "VRAD", "CUNIT": "km/s", "CRVAL": 100.0, "CDELT": 10.0, "CRPIX": 1.0}
LONGITUDE = {"CTYPE": "RA---SIN", "CUNIT": "deg", "CRVAL": 180.0, "CDELT": -2 / 3600, "CRPIX": 7.0}
LATITUDE = {"CTYPE": "DEC--SIN", "CUNIT": "deg", "CRVAL": -30.0, "CDELT": 2 / 3600, "CRPIX": 6.0}
STOKES = {"CTYPE": "STOKES", "CUNIT": "", "CRVAL": 1.0, "CDELT": 1.0, "CRPIX": 1.0}


def written(path, data, axes, **cards):
    """A FITS file of axes in FITS order."""
    header = fits.Header({"RADESYS": "FK5", "EQUINOX": 2000.0} | cards)
    for number, axis in enumerate(axes, 1):
        for name, value in axis.items():
            header[f"{name}{number}"] = value
    fits.PrimaryHDU(np.asarray(data, dtype=np.float32), header).writeto(path)
    return path


@pytest.fixture(scope="module")
def lopsided():
    """A mask whose axes differ in length and content: (velocity, latitude, longitude)."""
    mask = np.zeros((3, 10, 12))
    mask[0, 2:5, 3], mask[1, 6, 2:9], mask[2, 8, 9] = 1, 1, 1
    return mask


CHANNELS = [101.0, 108.0, 121.0]


@pytest.fixture
def plain(lopsided, tmp_path):
    path = written(tmp_path / "plain.fits", lopsided, (LONGITUDE, LATITUDE, VELOCITY))
    aligned = align_mask(path, GRID, (16, 20), CHANNELS)
    assert aligned.any(axis=(1, 2)).all()
    return aligned


@pytest.mark.parametrize("order", [(2, 1, 0), (0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_w16_axes_may_come_in_any_order(lopsided, plain, tmp_path, order):
    names = (VELOCITY, LATITUDE, LONGITUDE)  # in numpy's order
    axes = [names[axis] for axis in reversed(order)]
    path = written(tmp_path / "m.fits", lopsided.transpose(order), axes)
    assert np.array_equal(align_mask(path, GRID, (16, 20), CHANNELS), plain)
    stokes = written(tmp_path / "s.fits", lopsided.transpose(order)[:, np.newaxis], (*axes[:2], STOKES, axes[2]))
    assert np.array_equal(align_mask(stokes, GRID, (16, 20), CHANNELS), plain)


@pytest.mark.parametrize(("unit", "per_degree"), [("rad", np.pi / 180), ("arcsec", 3600.0), ("arcmin", 60.0)])
def test_w16_angles_may_be_in_any_unit(lopsided, plain, tmp_path, unit, per_degree):
    sky = [
        axis | {"CUNIT": unit, "CRVAL": axis["CRVAL"] * per_degree, "CDELT": axis["CDELT"] * per_degree}
        for axis in (LONGITUDE, LATITUDE)
    ]
    path = written(tmp_path / "m.fits", lopsided, (*sky, VELOCITY))
    assert np.array_equal(align_mask(path, GRID, (16, 20), CHANNELS), plain)


@pytest.mark.parametrize(("unit", "per_kms"), [("m/s", 1e3), ("km/s", 1.0)])
def test_w16_optical_velocities_are_turned_into_radio_ones(lopsided, tmp_path, unit, per_kms):
    def optical(radio):
        return 299792.458 * (1 / (1 - radio / 299792.458) - 1)

    step = (optical(9010.0) - optical(9000.0)) * per_kms
    axis = {"CTYPE": "VOPT", "CUNIT": unit, "CRVAL": optical(9000.0) * per_kms, "CDELT": step, "CRPIX": 1.0}
    path = written(tmp_path / "m.fits", lopsided, (LONGITUDE, LATITUDE, axis))
    found = align_mask(path, GRID, (16, 20), [8990.0, 9000.0, 9010.0, 9020.0, 9279.0])
    assert found.any(axis=(1, 2)).tolist() == [False, True, True, True, False]


def test_w16_galactic_masks_lie_where_they_should(tmp_path, plain):
    from astropy.coordinates import SkyCoord

    centre = SkyCoord(180.0, -30.0, unit="deg", frame="fk5").galactic
    mask = np.zeros((41, 41))
    mask[20, 20] = 1
    axes = (
        {"CTYPE": "GLON-SIN", "CUNIT": "deg", "CRVAL": centre.l.deg, "CDELT": -1 / 3600, "CRPIX": 21.0},
        {"CTYPE": "GLAT-SIN", "CUNIT": "deg", "CRVAL": centre.b.deg, "CDELT": 1 / 3600, "CRPIX": 21.0},
    )
    found = align_mask(written(tmp_path / "m.fits", mask, axes), GRID, (16, 20), None)
    assert found[0, 8, 10]
    assert found.sum() <= 2


def test_w16_other_frames_and_layouts_are_refused(lopsided, tmp_path):
    frame = written(tmp_path / "b.fits", lopsided, (LONGITUDE, LATITUDE, VELOCITY), SPECSYS="BARYCENT")
    with pytest.raises(DataError, match="BARYCENT velocities"):
        align_mask(frame, GRID, (16, 20), CHANNELS)
    written(tmp_path / "l.fits", lopsided, (LONGITUDE, LATITUDE, VELOCITY), SPECSYS="LSRK")
    assert align_mask(tmp_path / "l.fits", GRID, (16, 20), CHANNELS).any()
    sky = written(tmp_path / "n.fits", lopsided, ({"CTYPE": "X"}, {"CTYPE": "Y"}, VELOCITY))
    with pytest.raises(DataError, match="no right ascension"):
        align_mask(sky, GRID, (16, 20), CHANNELS)


def test_w16_a_mask_may_be_grown_by_a_distance_on_the_sky(tmp_path, make_project):
    mask = np.zeros((16, 20))
    mask[8, 10] = 1
    axes = [axis | {"CDELT": np.sign(axis["CDELT"]) / 3600} for axis in (LONGITUDE, LATITUDE)]
    axes = [axis | {"CRPIX": place} for axis, place in zip(axes, (11.0, 9.0), strict=True)]
    path = written(tmp_path / "m.fits", mask, axes)
    assert align_mask(path, GRID, (16, 20), None).sum() == 1
    assert align_mask(path, GRID, (16, 20), None, grow_pixels=2.0).sum() == 13
    recipe = recipe_of(make_project(overrides={"cleanmask_grow_arcsec": 2}), "disc", "7m", "co")
    assert (recipe.multiscale.cleanmask_grow_arcsec, recipe.singlescale.cleanmask_grow_arcsec) == (2.0, None)


@pytest.mark.parametrize(
    ("parts", "overlap"),
    [
        ([{}, {}], None),
        ([{"clean_mask_given": 30, "clean_mask_used": 10}, {"clean_mask_given": 10, "clean_mask_used": 10}], 0.5),
        ([{"clean_mask_given": 30, "clean_mask_used": 0}], 0.0),
        ([{"clean_mask_given": 0, "clean_mask_used": 0}], 0.0),
    ],
)
def test_w16_the_overlap_of_the_whole_cube_is_that_of_its_blocks(parts, overlap):
    assert orders.mask_overlap(parts) == overlap


def test_w24_the_mask_follows_the_residual_and_a_new_peak_in_it_is_no_divergence(psf):
    sky = np.zeros((SIZE, SIZE))
    sky[48, 20], sky[48, 76] = 400.0, 60.0
    dirty = noise_plane(psf, 3) + seen(sky, psf)
    # 4 x 0.1 of 400 is above the fainter source, which is masked only when the brighter one is nearly gone
    follows = AutoMask(np.ones((SIZE, SIZE), dtype=bool), Thresholds(sidelobethreshold=4.0), 0.1, (5.8, 5.8, 0.0), 1.0)
    first = AutoMask(np.ones((SIZE, SIZE), dtype=bool), Thresholds(sidelobethreshold=4.0), 0.1, (5.8, 5.8, 0.0), 1.0)
    alone = first.follow(dirty, 1.0)
    assert alone[48, 20]
    assert not alone[48, 76]
    outcome = cleaned(dirty, psf, Stopping(snr=4.0), automasks=[follows])
    assert outcome.reasons == ("threshold",)
    assert outcome.model[0, 45:52, 17:24].sum() == pytest.approx(400.0, rel=0.02)
    assert outcome.model[0, 45:52, 73:80].sum() == pytest.approx(60.0, rel=0.1)
    assert not outcome.model[0][~outcome.masks[0]].any()
    assert outcome.masks[0].mean() < 0.2


def test_w24_without_anything_to_mask_nothing_is_cleaned(psf):
    follows = AutoMask(np.ones((SIZE, SIZE), dtype=bool), Thresholds(), 0.1, (5.8, 5.8, 0.0), 1.0)
    dirty = noise_plane(psf, 3)
    outcome = cleaned(dirty, psf, Stopping(snr=1.0), automasks=[follows])
    assert outcome.reasons == ("empty mask",)
    assert not outcome.model.any()
    assert np.array_equal(outcome.residual[0], dirty)


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
