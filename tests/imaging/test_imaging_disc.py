"""A simulated disc, from visibilities to FITS: the result does not depend on the blocks, and it is the truth."""

import numpy as np
import pytest
from astropy.io import fits

from fringeflow.errors import DataError, MissingInputError
from fringeflow_imaging import gridding
from fringeflow_imaging.align import sky_grid
from fringeflow_imaging.automask import Thresholds
from fringeflow_imaging.beam import beam_area_pixels, restore
from fringeflow_imaging.casaimage import as_fits
from fringeflow_imaging.cube import (
    Block,
    CleanStage,
    automasks,
    channel_noise,
    clean_block,
    make_dirty,
    sidelobes,
)
from fringeflow_imaging.minor import CycleControl, Scales
from fringeflow_imaging.stopping import Stopping
from tests.simulation import Observation, Point, Truth, Window, simulate_disc

CHANNELS = 5
SKY = Truth(line_flux_jykms=60.0, size_arcsec=3.0, gradient_kms_arcsec=4.0, dispersion_kms=5.0, sigma_jy=0.03)
SIZES = {"cell": 0.5, "deltara": 48, "deltadec": 48}


@pytest.fixture(scope="module")
def truth(casa_ready, tmp_path_factory):
    window = Window(n_channels=CHANNELS, channel_kms=9.0)
    watch = Observation(n_times=8, n_antennas=10, longest_m=120.0)
    return simulate_disc(tmp_path_factory.mktemp("ms") / "disc.ms", SKY, windows=(window,), observation=watch)


@pytest.fixture(scope="module")
def runs(truth, run_all, make_project, tmp_path_factory):
    """One channel a block, the default, all channels in one."""
    place = tmp_path_factory.mktemp("runs")
    splits = {"one": {"block_channels": 1}, "default": {"block_pixels": 4 * 96 * 96}, "whole": {"block_channels": 5}}
    return {
        name: run_all(make_project(overrides=SIZES | split), truth.path, place / name) for name, split in splits.items()
    }


def data(run, ext=""):
    return fits.getdata(run.image()[1][ext])


def test_the_result_does_not_depend_on_how_channels_are_split(runs, record_property):
    facts, _ = runs["whole"].image()
    whole, signal = data(runs["whole"]), data(runs["whole"], "mask") > 0
    assert signal.any()
    for name in ("one", "default"):
        assert len([unit for unit in runs[name].facts if "multiscale" in unit]) == {"one": 5, "default": 2}[name]
        other = data(runs[name])
        noise = np.sqrt(np.nanmean((other - whole) ** 2)) / facts["noise_median"]
        worst = np.nanmax(np.abs(other - whole)) / facts["noise_median"]
        flux = abs(other[signal].sum() / whole[signal].sum() - 1)
        record_property(name, f"rms {noise:.1e} and worst {worst:.1e} of the noise, flux {flux:.1e}")
        assert noise < 0.001
        assert worst < 0.01
        assert flux < 1e-5
        assert np.array_equal(data(runs[name], "mask"), data(runs["whole"], "mask"))


def test_the_same_again_is_the_same_to_the_last_bit(runs, truth, run_all, make_project, tmp_path):
    again = run_all(make_project(overrides=SIZES | {"block_channels": 5}), truth.path, tmp_path / "again")
    for ext, path in again.image()[1].items():
        assert path.read_bytes() == runs["whole"].image()[1][ext].read_bytes(), ext


def test_only_what_the_last_stage_changes_is_stored_again(runs):
    for unit, files in runs["default"].files.items():
        if "/singlescale." in unit:
            (folder,) = files.values()
            assert sorted(path.name for path in folder.iterdir()) == ["block.model", "block.residual"]


def test_the_flux_is_the_truth(runs, truth):
    facts, files = runs["default"].image()
    header = fits.getheader(files[""])
    width_kms = abs(header["CDELT3"]) / 1e3
    image, mask = data(runs["default"]), data(runs["default"], "mask") > 0
    area = beam_area_pixels(facts["beam_arcsec"], facts["cell_arcsec"])
    got = image[mask].sum() / area * width_kms
    model = data(runs["default"], "model").sum() * width_kms
    sky = truth.line_cubes_jy[0].sum() * width_kms
    assert sky == pytest.approx(60.0, rel=0.01)
    # the primary beam at 1.5 arcsec from the centre is 0.99
    assert got == pytest.approx(sky, rel=0.06)
    assert model == pytest.approx(sky, rel=0.06)


def test_velocities_are_the_truth(runs, truth):
    _, files = runs["default"].image()
    header, image, mask = fits.getheader(files[""]), data(runs["default"]), data(runs["default"], "mask") > 0
    assert header["CTYPE3"] == "VRAD"
    assert header["SPECSYS"] == "LSRK"
    velocities = (header["CRVAL3"] + (np.arange(CHANNELS) + 1 - header["CRPIX3"]) * header["CDELT3"]) / 1e3
    assert velocities == pytest.approx(truth.velocities_kms(), abs=0.01)
    weights = np.where(mask, image, 0.0)
    y, x = np.mgrid[:96, :96] - 48
    flux = weights.sum(axis=0)
    field = (weights * velocities[:, None, None]).sum(axis=0) / np.where(flux > 0.2 * flux.max(), flux, np.nan)
    good = np.isfinite(field)
    east, north = -x[good] * 0.5, y[good] * 0.5
    slope, _, _, _ = np.linalg.lstsq(np.stack([east, north, np.ones(good.sum())], axis=1), field[good], rcond=None)
    assert slope[2] == pytest.approx(1000.0, abs=1.0)
    assert np.degrees(np.arctan2(slope[0], slope[1])) == pytest.approx(40.0, abs=10.0)  # the beam is not round


def test_the_clean_is_deep_everywhere(runs):
    facts, _ = runs["default"].image()
    assert set(facts["stop"]) <= {"threshold", "empty mask"}
    residual, mask = data(runs["default"], "residual"), data(runs["default"], "mask") > 0
    noise = np.array(facts["noise"])
    assert (np.abs(np.where(mask, residual, 0)).max(axis=(1, 2)) <= 1.01 * noise).all()
    assert facts["residual_in_mask"]["rms"] < facts["noise_median"]
    image, model = data(runs["default"]), data(runs["default"], "model")
    assert not model[~mask].any() or np.abs(model[~mask]).max() < model.max()
    assert np.isnan(image).sum() == np.isnan(residual).sum() == np.isnan(data(runs["default"], "pb")).sum()


@pytest.mark.parametrize(("deconvolver", "scales"), [("hogbom", (0,)), ("multiscale", (0, 4, 8))])
def test_a_channel_comes_out_as_from_tclean(truth, tmp_path, deconvolver, scales):
    freqs = truth.windows_ghz[0] * 1e9
    parameters = {
        "vis": str(truth.path), "imsize": [96, 96], "cell": "0.5arcsec", "specmode": "cube", "nchan": 1,
        "phasecenter": "J2000 12h00m00.0s -30d00m00.0s", "start": f"{freqs[2]}Hz", "width": f"{freqs[1] - freqs[0]}Hz",
        "interpolation": "nearest", "restfreq": "230.538GHz", "weighting": "briggs", "robust": 0.5, "pblimit": 0.2,
        "cyclefactor": 1.5, "minpsffraction": 0.2, "gain": 0.1, "smallscalebias": 0.6,
    }  # fmt: skip
    ours, theirs = Block(tmp_path / "ours", 2, 2), Block(tmp_path / "theirs", 2, 2)
    found = make_dirty(ours, parameters | {"imagename": str(ours.root)}, None)
    stage = CleanStage(Scales(scales, 0.6), CycleControl(0.1, 1.5, 0.2), Stopping(snr=4.0, margin=1.0))
    outcome = clean_block(ours, parameters | {"imagename": str(ours.root)}, ours.prior(), found, stage)
    theirs.folder.mkdir()
    gridding.tclean(
        parameters, imagename=str(theirs.root), niter=100_000, threshold=f"{outcome.rows[-1].peak}Jy",
        deconvolver=deconvolver, scales=list(scales), usemask="pb", pbmask=0.2, restoration=False,
    )  # fmt: skip
    models, residuals = ([block.pixels(kind)[0] for block in (ours, theirs)] for kind in ("model", "residual"))
    images = [restore(*pair, found[0], 0.5) for pair in zip(models, residuals, strict=True)]
    ours_seen, theirs_seen = (image[ours.valid()[0]] for image in images)
    assert np.corrcoef(ours_seen, theirs_seen)[0, 1] > 0.999
    assert np.std(ours_seen - theirs_seen) < outcome.rows[-1].noise
    assert models[0].sum() == pytest.approx(models[1].sum(), rel=0.02)


def test_headers_tell_where_the_cube_comes_from(runs):
    _, files = runs["default"].image()
    header = fits.getheader(files[""])
    history = "\n".join(header["HISTORY"])
    assert "imaging/disc/7m/co" in history
    assert "clean stopped" in history
    assert header["BUNIT"] == "Jy/beam"
    assert {"BMAJ", "BMIN", "BPA"} <= set(header)
    assert "DATE" not in header
    assert fits.getheader(files["model"])["BUNIT"] == "Jy/pixel"
    assert set(files) == {"", "residual", "model", "mask", "pb", "psf"}


def test_the_sum_of_weights_stands_beside_the_psf(runs, truth, make_project, run_all, tmp_path):
    for run in runs.values():
        facts, files = run.image()
        with fits.open(files["psf"]) as hdus:
            assert [hdu.name for hdu in hdus] == ["PRIMARY", "SUMWT"]
            table = hdus["SUMWT"].data
            assert table["CHANNEL"].tolist() == list(range(1, CHANNELS + 1))
            assert table["SUMWT"].tolist() == facts["sum_of_weights"]
            assert (table["SUMWT"] > 0).all()
    splits = [run.image()[0]["sum_of_weights"] for run in runs.values()]
    assert splits[0] == pytest.approx(splits[1], rel=1e-6)
    assert splits[0] == pytest.approx(splits[2], rel=1e-6)
    natural = run_all(make_project(overrides=SIZES | {"weighting": "natural"}), truth.path, tmp_path / "run")
    facts, _ = natural.image()
    visibilities = 8 * 45 * 2  # times, baselines of 10 antennas, correlations, each of the weight 1 / sigma^2
    assert facts["sum_of_weights"] == pytest.approx([visibilities / SKY.sigma_jy**2] * CHANNELS, rel=1e-5)


def test_a_clean_mask_may_be_a_casa_image(runs, truth, make_project, run_all, tmp_path):
    from casatasks import importfits

    _, files = runs["default"].image()
    with fits.open(files["mask"]) as hdus:
        mask = (hdus[0].data > 0).astype(np.float32)
        mask[:, :48] = 0  # one half of the sky
        fits.writeto(tmp_path / "half.fits", mask, hdus[0].header)
    importfits(fitsimage=str(tmp_path / "half.fits"), imagename=str(tmp_path / "half.image"))
    wanted = make_project(overrides=SIZES, cleanmask={"co": "half"})
    made = [
        run_all(wanted, truth.path, tmp_path / f"run_{name}", leaves={"cleanmask/half": tmp_path / name})
        for name in ("half.fits", "half.image")
    ]
    ours, theirs = (data(run, "mask") for run in made)
    assert ours.any()
    assert not ours[:, :48].any()
    assert np.array_equal(ours, theirs)
    assert np.array_equal(data(made[0]), data(made[1]), equal_nan=True)


def test_a_folder_that_is_no_image_is_refused(casa_ready, tmp_path):
    (tmp_path / "x.ms").mkdir()
    with pytest.raises(DataError, match="is not a CASA image"), as_fits(tmp_path / "x.ms"):
        pass
    with pytest.raises(MissingInputError, match="is not there"), as_fits(tmp_path / "none.fits"):
        pass


def test_without_signal_nothing_is_cleaned_in_a_mask_of_ones(casa_ready, run_all, make_project, tmp_path):
    sky = Truth(line_flux_jykms=0.0, size_arcsec=3.0, sigma_jy=0.05)
    watch = Observation(n_times=3, n_antennas=8, longest_m=120.0)
    empty = simulate_disc(tmp_path / "empty.ms", sky, windows=(Window(n_channels=3),), observation=watch)
    overrides = SIZES | {"singlescale_mask_high_snr": 8.0}
    run = run_all(make_project(overrides=overrides), empty.path, tmp_path / "run")
    facts, _ = run.image()
    assert facts["mask_pixels"] == 0
    assert facts["stop"] == {"empty mask": "3"}
    assert np.abs(data(run, "model")).sum() < 20 * facts["noise_median"]


def test_a_dropped_clean_mask_is_where_cleaning_happens(truth, run_all, make_project, tmp_path):
    plane = np.zeros((96, 96), dtype=np.float32)
    plane[:, :48] = 1.0  # the eastern half
    wanted = make_project(overrides=SIZES | {"block_channels": 5}, cleanmask={"co": "half.fits"})
    header = sky_grid("J2000 12h00m00.0s -30d00m00.0s", 0.5, 96, 96).to_header()
    fits.PrimaryHDU(plane, header).writeto(tmp_path / "half.fits")
    run = run_all(wanted, truth.path, tmp_path / "run", leaves={"cleanmask/half.fits": tmp_path / "half.fits"})
    assert data(run, "mask")[:, :, :48].any()
    assert not data(run, "mask")[:, :, 48:].any()
    model = data(run, "model")
    assert np.abs(model[:, :, :48]).sum() > 5 * np.abs(model[:, :, 48 + 8 :]).sum()
    block = next(facts for unit, facts in run.facts.items() if "multiscale" in unit)
    assert 0.3 < block["clean_mask_overlap"] < 0.7  # of a rectangle with a circle


def test_continuum_sources_have_their_flux(casa_ready, run_all, make_project, tmp_path):
    points = (Point(4.0, -3.0, 1.0), Point(-5.0, 2.0, 0.4))
    sky = Truth(line_flux_jykms=0.0, size_arcsec=3.0, sigma_jy=0.05, points=points)
    watch = Observation(n_times=4, n_antennas=10, longest_m=120.0)
    seen = simulate_disc(tmp_path / "c.ms", sky, windows=(Window(n_channels=4, channel_kms=40.0),), observation=watch)
    run = run_all(make_project(overrides=SIZES), seen.path, tmp_path / "run", product="cont")
    facts, files = run.image("cont")
    model, pb = fits.getdata(files["model"]), fits.getdata(files["pb"])
    for point in points:
        x, y = round(48 - point.east_arcsec / 0.5), round(48 + point.north_arcsec / 0.5)
        flux = model[y - 3 : y + 4, x - 3 : x + 4].sum() / pb[y, x]
        assert flux == pytest.approx(point.flux_jy, rel=0.08)
    assert facts["stop"]["multiscale"] in ("threshold", "flux")
    assert fits.getheader(files[""])["NAXIS"] == 2
    assert {"alpha", "alpha_error", "tt1", "mask"} <= set(files)


# The few antennas have large sidelobes, for which tclean's guide advises a lower threshold than its default.
AUTOMATIC = {"usemask": "auto-multithresh", "sidelobethreshold": 1.25}


@pytest.mark.parametrize("option", [AUTOMATIC, {"prior_taper_arcsec": 5}], ids=["auto", "prior"])
def test_masks_that_are_found_hold_the_disc_whatever_the_blocks(truth, run_all, make_project, tmp_path, option):
    found = {}
    for channels in (1, 5):
        wanted = make_project(overrides=SIZES | option | {"block_channels": channels})
        run = run_all(wanted, truth.path, tmp_path / f"{channels}")
        blocks = [files for unit, files in run.files.items() if "/multiscale." in unit]
        found[channels] = [np.load(folder / "clean_mask.npy") for files in blocks for folder in files.values()]
    one, whole = (np.concatenate(parts) for parts in found.values())
    assert np.array_equal(one, whole)
    share = whole.mean()
    assert 0.01 < share < 0.5  # of the whole image, where the field alone is most
    sky = truth.line_cubes_jy[0]
    y, x = np.mgrid[:96, :96] - 48
    bright = (np.hypot(x, y) * 0.5 < 2.0) & (sky.sum(axis=(1, 2)) > 0.2 * sky.sum(axis=(1, 2)).max())[:, None, None]
    assert whole[bright].mean() > 0.85
    facts, _ = run.image()
    flux = data(run, "model").sum() * 9.0
    assert flux == pytest.approx(60.0, rel=0.06)
    assert set(facts["stop"]) <= {"threshold", "empty mask"}


def test_automatic_masks_begin_as_those_of_tclean(truth, tmp_path):
    freqs = truth.windows_ghz[0] * 1e9
    parameters = {
        "vis": str(truth.path), "imsize": [96, 96], "cell": "0.5arcsec", "specmode": "cube", "nchan": 1,
        "phasecenter": "J2000 12h00m00.0s -30d00m00.0s", "start": f"{freqs[2]}Hz", "width": f"{freqs[1] - freqs[0]}Hz",
        "interpolation": "nearest", "restfreq": "230.538GHz", "weighting": "briggs", "robust": 0.5, "pblimit": 0.2,
    }  # fmt: skip
    ours, theirs = Block(tmp_path / "ours", 2, 2), Block(tmp_path / "theirs", 2, 2)
    found = make_dirty(ours, parameters | {"imagename": str(ours.root)}, None)
    lobes = sidelobes(ours.pixels("psf"), found, 0.5)
    (follows,) = automasks(Thresholds(sidelobethreshold=1.25), ours.prior(), lobes, found, 0.5)
    mine = follows.follow(ours.pixels("residual")[0], channel_noise(ours)[0])
    theirs.folder.mkdir()
    gridding.tclean(
        parameters, imagename=str(theirs.root), niter=1, deconvolver="hogbom", restoration=False, **AUTOMATIC
    )
    his = theirs.pixels("mask")[0] > 0
    assert mine.sum() > 50
    assert (mine & his).sum() / (mine | his).sum() > 0.9


def test_automatic_masks_of_a_continuum_image(casa_ready, run_all, make_project, tmp_path):
    points = (Point(4.0, -3.0, 1.0), Point(-5.0, 2.0, 0.4))
    sky = Truth(line_flux_jykms=0.0, size_arcsec=3.0, sigma_jy=0.05, points=points)
    watch = Observation(n_times=4, n_antennas=10, longest_m=120.0)
    seen = simulate_disc(tmp_path / "c.ms", sky, windows=(Window(n_channels=4, channel_kms=40.0),), observation=watch)
    for name, option in (("auto", AUTOMATIC), ("prior", {"prior_taper_arcsec": 4})):
        run = run_all(make_project(overrides=SIZES | option), seen.path, tmp_path / name, product="cont")
        facts, files = run.image("cont")
        model, mask, pb = fits.getdata(files["model"]), fits.getdata(files["mask"]) > 0, fits.getdata(files["pb"])
        for point in points:
            x, y = round(48 - point.east_arcsec / 0.5), round(48 + point.north_arcsec / 0.5)
            assert mask[y, x]
            flux = model[y - 3 : y + 4, x - 3 : x + 4].sum() / pb[y, x]
            assert flux == pytest.approx(point.flux_jy, rel=0.08)
        assert mask.mean() < 0.2
        assert facts["stop"]["multiscale"] in ("threshold", "flux")


def test_a_clean_mask_elsewhere_on_the_sky_is_told(truth, run_all, make_project, tmp_path):
    header = sky_grid("J2000 13h00m00.0s -30d00m00.0s", 0.5, 96, 96).to_header()
    fits.PrimaryHDU(np.ones((96, 96), dtype=np.float32), header).writeto(tmp_path / "far.fits")
    wanted = make_project(overrides=SIZES | {"block_channels": 5}, cleanmask={"all": "far.fits"})
    run = run_all(wanted, truth.path, tmp_path / "run", leaves={"cleanmask/far.fits": tmp_path / "far.fits"})
    facts, files = run.image()
    assert facts["clean_mask_overlap"] == 0
    assert facts["stop"]["clean mask"] == "no pixel of it lies on the image"
    history = "".join(line.removeprefix("fringeflow: ").rstrip("&") for line in fits.getheader(files[""])["HISTORY"])
    assert "no pixel of it lies on the image" in history
    assert not data(run, "model").any()
