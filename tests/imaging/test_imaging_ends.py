"""When cleaning ends: fluxes, noise, divergence (weaknesses W14, W15, W18, W19)."""

from __future__ import annotations

import numpy as np
import pytest

from fringeflow_imaging import continuum, gridding
from fringeflow_imaging.cube import CleanStage
from fringeflow_imaging.minor import Cleaner, CycleControl, Scales
from fringeflow_imaging.noisetest import NoiseTest, noise_peak
from fringeflow_imaging.stopping import Row, Stopping, verdict
from tests.imaging.planes import SIZE, cleaned, make_psf, noise_plane, seen
from tests.simulation import Observation, Point, Truth, Window, simulate_disc


@pytest.fixture(scope="module")
def psf():
    return make_psf()


def row(cycle, flux, components=0, peak=10.0):
    return Row(0, cycle, components, 1.0, 0.25, peak, flux)


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


def test_w14_w18_absolute_flux_criteria_look_at_one_channel_and_both_signs():
    rows = [row(i, flux, 100 * i, 10.0 - i) for i, flux in enumerate((0.0, 5.0, 5.05, 5.02, 5.08))]
    assert verdict(rows, Stopping(snr=4.0)) is None
    assert verdict(rows, Stopping(snr=4.0, totalflux=0.1)) == "flux"
    assert verdict(rows, Stopping(snr=4.0, totalflux=0.07)) is None
    assert verdict(rows, Stopping(snr=4.0, fluxpercomponent=0.001)) == "flux"
    assert verdict(rows, Stopping(snr=4.0, fluxpercomponent=0.0001)) is None
    falling = [row(i, -flux, 100 * i, 10.0 - i) for i, flux in enumerate((1.0, 5.0, 9.0, 13.0, 17.0))]
    assert verdict(falling, Stopping(snr=4.0, totalflux=0.1)) is None


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
