"""Visibilities and a single dish cleaned together, on planes and on a simulated disc whose flux is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from scipy.signal import fftconvolve

from fringeflow import fitsio
from fringeflow.errors import DataError
from fringeflow.keys.model import FeatherConfig
from fringeflow_imaging import sdint
from fringeflow_imaging.align import sky_grid
from fringeflow_imaging.beam import gaussian
from fringeflow_imaging.casaimage import as_fits
from fringeflow_imaging.dish import Dish, on_grid
from fringeflow_imaging.joint import Joint
from fringeflow_imaging.loop import clean
from fringeflow_imaging.minor import CycleControl, Scales
from fringeflow_imaging.stopping import Stopping
from tests.dishes import BEAM_ARCSEC, write_dish
from tests.simulation import Observation, Truth, Window, simulate_disc

SIZE, HALF, CELL = 96, 48, 1.0
DISH_BEAM = (24.0, 24.0, 0.0)
LEAF = "singledish/tp.fits"


def convolved(plane, psf):
    return fftconvolve(plane, psf)[HALF : HALF + SIZE, HALF : HALF + SIZE]


@pytest.fixture(scope="module")
def planes():
    """A smooth source seen by an interferometer that measures no zero spacings, and by a dish."""
    y, x = np.mgrid[:SIZE, :SIZE] - HALF
    r2 = x**2 + y**2
    main, wide = np.exp(-r2 * 4 * np.log(2) / 4.0**2), np.exp(-r2 * 4 * np.log(2) / 18.0**2)
    psf = main - wide * main.sum() / wide.sum()
    psf = (psf / psf.max()).astype(np.float32)
    sky = np.zeros((1, SIZE, SIZE))
    sky[0] = np.exp(-r2 * 4 * np.log(2) / 14.0**2)
    response = np.exp(-r2 * 4 * np.log(2) / 90.0**2).astype(np.float32)[None]
    dirty = convolved(sky[0] * response[0], psf)[None].astype(np.float32)
    seen = fftconvolve(sky[0], gaussian(DISH_BEAM, CELL), mode="same")[None].astype(np.float32)
    return psf[None], sky, response, dirty, Dish(seen, DISH_BEAM)


def joint_of(planes, **changes):
    psf, _, response, _, dish = planes
    valid = np.ones(psf.shape, dtype=bool)
    return Joint(changes.pop("dish", dish), psf, response, valid, [(4.0, 4.0, 0.0)], cell_arcsec=CELL, **changes)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_truth_as_model_leaves_nothing(planes, weight):
    _, sky, response, dirty, _ = planes
    joint = joint_of(planes, weight=weight)
    model = (sky * response).astype(np.float32)
    before = joint.residual(dirty, np.zeros_like(model))
    after = joint.residual(dirty - convolved(model[0], planes[0][0])[None].astype(np.float32), model)
    assert np.abs(after).max() < 2e-4 * np.abs(before).max()
    assert joint.psf.max() == pytest.approx(1.0, abs=1e-6)


def test_a_joint_psf_sees_the_flux_that_the_interferometer_misses(planes):
    assert abs(planes[0].sum()) < 0.05
    assert joint_of(planes).psf.sum() == pytest.approx(2 * np.pi * (4.0 / 2.3548) ** 2, rel=0.15)


def test_the_flux_comes_back_with_the_dish_and_not_without(planes):
    psf, sky, response, dirty, _ = planes
    wanted = float(sky.sum())

    def cleaned(joint):
        def interferometer(model):
            return (dirty - convolved(model[0], psf[0])[None]).astype(np.float32)

        start = np.zeros_like(dirty)
        everywhere = np.ones(dirty.shape, dtype=bool)
        outcome = clean(
            (start, joint.residual(dirty, start) if joint else dirty),
            joint.psf if joint else psf,
            everywhere,
            everywhere,
            joint.major_cycle(interferometer) if joint else interferometer,
            scales=Scales((0, 6, 12), 0.6, alike=True),
            control=CycleControl(gain=0.2, cyclefactor=1.0, minpsffraction=0.2),
            sidelobes=[0.1],
            stopping=Stopping(snr=3.0, max_cycles=12),
        )
        return float((outcome.model / response).sum())

    alone, together = cleaned(None), cleaned(joint_of(planes))
    assert together == pytest.approx(wanted, rel=0.05)
    assert abs(alone - wanted) > 3 * abs(together - wanted)


def test_a_channel_the_dish_has_not_is_the_interferometers_own(planes):
    psf, _, _, dirty, dish = planes
    blank = replace(dish, cube=np.full_like(dish.cube, np.nan))
    joint = joint_of(planes, dish=blank)
    assert np.array_equal(joint.psf, psf)
    assert np.array_equal(joint.residual(dirty, np.zeros_like(dirty)), dirty)


@pytest.fixture(scope="module")
def truth(tmp_path_factory, casa_ready):
    """A disc that is too large for the shortest baselines, a measurement set and the dish's cube of it."""
    root = tmp_path_factory.mktemp("joint")
    sky = Truth(size_arcsec=14.0, gradient_kms_arcsec=0.5, line_flux_jykms=400.0, sigma_jy=0.1)
    made = simulate_disc(
        root / "disc.ms",
        sky,
        windows=(Window(n_channels=6, channel_kms=6.0),),
        observation=Observation(n_times=8, longest_m=90.0, n_antennas=9, dish_m=7.0),
    )
    write_dish(root / "tp.fits", made)
    return made


@pytest.mark.parametrize("unit", ["K", "Jy/beam", "Jy/pixel"])
def test_a_dish_comes_onto_the_grid(truth, tmp_path, unit):
    write_dish(tmp_path / "tp.fits", truth, unit=unit)
    grid = sky_grid("J2000 12h00m00.0s -30d00m00.0s", 1.5, 60, 50)
    velocities = [float(v) for v in truth.velocities_kms()]
    found = on_grid(tmp_path / "tp.fits", grid, (50, 60), velocities, 6.0, truth.restfreq_ghz * 1e9)
    assert found.beam == pytest.approx((BEAM_ARCSEC, BEAM_ARCSEC, 0.0))
    size = np.hypot(truth.size_arcsec, BEAM_ARCSEC)
    flux = truth.line_cubes_jy[0].sum(axis=(1, 2))
    peak = flux * (BEAM_ARCSEC / size) ** 2  # a Gaussian disc, in Jy per beam
    middle = slice(1, 5)  # in the outer channels the gradient moves the emission off the centre
    assert found.cube[middle, 25, 30] == pytest.approx(peak[middle], rel=0.03)
    twice = [float(np.mean(velocities[2:4]))]
    wide = on_grid(tmp_path / "tp.fits", grid, (50, 60), twice, 12.0, truth.restfreq_ghz * 1e9)
    assert wide.cube[0] == pytest.approx(found.cube[2:4].mean(axis=0), rel=1e-3, abs=1e-4)
    beyond = on_grid(tmp_path / "tp.fits", grid, (50, 60), [velocities[0], 1500.0], 6.0, truth.restfreq_ghz * 1e9)
    assert np.isnan(beyond.cube[1]).all()


def test_a_dish_may_be_a_casa_image(truth, tmp_path):
    from casatasks import importfits

    write_dish(tmp_path / "tp.fits", truth, unit="K")
    with fits.open(tmp_path / "tp.fits", mode="update") as hdus:
        hdus[0].data[0, 1, :20] = np.nan
    importfits(fitsimage=str(tmp_path / "tp.fits"), imagename=str(tmp_path / "tp.image"), defaultaxes=False)
    grid = sky_grid("J2000 12h00m00.0s -30d00m00.0s", 1.5, 60, 50)
    velocities = [float(v) for v in truth.velocities_kms()]
    found = []
    for name in ("tp.fits", "tp.image"):
        with as_fits(tmp_path / name) as readable:
            found.append(on_grid(readable, grid, (50, 60), velocities, 6.0, truth.restfreq_ghz * 1e9))
    ours, theirs = found
    assert theirs.beam == pytest.approx(ours.beam, rel=1e-6)
    assert np.isnan(ours.cube).any()
    assert np.array_equal(np.isnan(ours.cube), np.isnan(theirs.cube))
    assert theirs.cube == pytest.approx(ours.cube, rel=1e-5, abs=1e-6, nan_ok=True)


def test_a_dish_that_cannot_be_used_is_refused(truth, tmp_path):
    grid = sky_grid("J2000 12h00m00.0s -30d00m00.0s", 1.5, 60, 50)
    for key, value, why in (("BUNIT", "counts", "is in counts"), ("CRVAL1", 90.0, "covers nothing")):
        write_dish(tmp_path / "tp.fits", truth)
        with fits.open(tmp_path / "tp.fits", mode="update") as hdus:
            hdus[0].header[key] = value
        with pytest.raises(DataError, match=why):
            on_grid(tmp_path / "tp.fits", grid, (50, 60), [1000.0], 6.0, truth.restfreq_ghz * 1e9)


def joint_project(make_project, method):
    """The project of the other tests with a single dish."""
    made = make_project(overrides={"joint_deconvolution": f"'{method}'", "cell": 1.5, "deltara": 96, "deltadec": 96})
    config = made.interf_configs["7m"].model_copy(
        update={"feather_configs": ("7m+tp",), "clean_scales_arcsec": (0.0, 4.0, 9.0)}
    )
    disc = made.targets["disc"].model_copy(update={"singledish": {"co": "tp.fits"}})
    feather = FeatherConfig(name="7m+tp", interf_config="7m")
    return made.model_copy(
        update={
            "interf_configs": {"7m": config},
            "feather_configs": {"7m+tp": feather},
            "targets": {"disc": disc},
        }
    )


def images_of(done, config="7m+tp"):
    stem = f"disc_{config}_co"
    files = done.files[f"imaging/disc/{config}/co"]
    return {name.removeprefix(stem).strip("_").removesuffix(".fits").strip("."): path for name, path in files.items()}


def model_flux(files, truth):
    """Jy km/s of the model, over that of the disc in the same channels."""
    model, response = (np.nan_to_num(fits.getdata(files[kind])) for kind in ("model", "pb"))
    sky = np.where(response > 0.2, model / np.where(response > 0, response, 1), 0)
    return float(sky.sum() / sum(plane.sum() for plane in truth.line_cubes_jy[0]))


@pytest.fixture(scope="module")
def by_residuals(truth, make_project, run_all, tmp_path_factory):
    wanted = joint_project(make_project, "residuals")
    place = tmp_path_factory.mktemp("residuals")
    return run_all(wanted, truth.path, place, leaves={LEAF: truth.path.parent / "tp.fits"})


def test_a_disc_too_large_for_the_interferometer_has_all_its_flux(by_residuals, truth):
    alone, together = (model_flux(images_of(by_residuals, config), truth) for config in ("7m", "7m+tp"))
    assert alone < 0.9
    assert together == pytest.approx(1.0, abs=0.07)
    facts = by_residuals.facts["imaging/disc/7m+tp/co"]
    assert facts["pblimit"] == 0.2
    assert "joint_failed" not in facts


def test_casas_task_makes_the_same_files(by_residuals, truth, make_project, run_all, tmp_path):
    wanted = joint_project(make_project, "sdintimaging")
    done = run_all(wanted, truth.path, tmp_path / "run", leaves={LEAF: truth.path.parent / "tp.fits"})
    facts, made = done.facts["imaging/disc/7m+tp/co"], images_of(done)
    assert "joint_failed" not in facts
    assert set(made) == set(images_of(by_residuals))
    assert model_flux(made, truth) > model_flux(images_of(done, "7m"), truth)
    assert fits.getdata(made[""]).shape == fits.getdata(images_of(by_residuals)[""]).shape
    header, ours = fits.getheader(made[""]), fits.getheader(images_of(by_residuals)[""])
    assert [header[key] for key in ("CRVAL1", "CRPIX1", "CRVAL3", "CDELT3")] == pytest.approx(
        [ours[key] for key in ("CRVAL1", "CRPIX1", "CRVAL3", "CDELT3")]
    )


def test_where_the_task_fails_the_interferometers_cube_takes_its_place(
    truth, make_project, run_all, tmp_path, monkeypatch
):
    def failing(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr(sdint, "make", failing)
    wanted = joint_project(make_project, "sdintimaging")
    done = run_all(wanted, truth.path, tmp_path / "run", leaves={LEAF: truth.path.parent / "tp.fits"})
    assert done.facts["imaging/disc/7m+tp/co"]["joint_failed"] == "no luck"
    alone, made = images_of(done, "7m"), images_of(done)
    assert set(alone) == set(made)
    for kind, path in made.items():
        assert np.array_equal(fits.getdata(path), fits.getdata(alone[kind]), equal_nan=True)
    said = fitsio.read_provenance(fits.getheader(made[""]))
    assert said["unit"]["id"] == "imaging/disc/7m+tp/co"
    assert said["parameters"]["clean stopped"] == {"sdintimaging": "failed: no luck"}
