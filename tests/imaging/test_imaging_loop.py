"""The clean loop with major cycles that are known: exact, silent or wrong."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import fftconvolve

from fringeflow_imaging.loop import clean
from fringeflow_imaging.minor import CycleControl, Scales
from fringeflow_imaging.noise import one_for_all, robust_sigma, smooth_channels
from fringeflow_imaging.stopping import Row, Stopping, verdict

SIZE, HALF = 64, 32
CONTROL = CycleControl(gain=0.2, cyclefactor=3.0, minpsffraction=0.3, maxpsffraction=0.8)
STOPPING = Stopping(snr=4.0)


def convolved(plane, psf):
    return fftconvolve(plane, psf)[HALF : HALF + SIZE, HALF : HALF + SIZE]


@pytest.fixture(scope="module")
def block():
    """Three channels: bright, faint and noisier, without data."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIZE, :SIZE] - HALF
    psf = (np.exp(-(x**2 + y**2) / 6.0) + 0.08 * np.cos(np.hypot(x, y)) * np.exp(-np.hypot(x, y) / 12)).astype(
        np.float32
    )
    psf /= psf.max()
    sky = np.zeros((3, SIZE, SIZE))
    sky[0, 25:35, 28:33], sky[1, 30, 30] = 1.0, 3.0
    noise = [convolved(rng.normal(size=(SIZE, SIZE)), psf) * scale for scale in (0.01, 0.1, 0.0)]
    dirty = np.array([convolved(s, psf) + n for s, n in zip(sky, noise, strict=True)], dtype=np.float32)
    psfs = np.array([psf, psf, np.zeros_like(psf)])
    dirty[2] = 0
    return dirty, psfs, sky


def run(block, channels, **changes):
    dirty, psf = block[0][channels], block[1][channels]
    valid = np.ones(dirty.shape, dtype=bool)
    options = {
        "scales": Scales((0, 4), 0.6),
        "control": CONTROL,
        "sidelobes": [0.1] * len(dirty),
        "stopping": STOPPING,
    } | changes
    mask = options.pop("mask", valid)

    def residual_of(model):
        return np.array([d - convolved(m, p) for d, m, p in zip(dirty, model, psf, strict=True)], dtype=np.float32)

    major = options.pop("residual_of", residual_of)
    return clean((np.zeros_like(dirty), dirty), psf, mask, valid, major, **options)


def test_each_channel_reaches_its_own_threshold(block):
    outcome = run(block, [0, 1, 2])
    assert outcome.reasons == ("threshold", "threshold", "no data")
    ends = [[row for row in outcome.rows if row.channel == i][-1] for i in (0, 1)]
    for end in ends:
        assert end.peak <= end.threshold == pytest.approx(4 * end.noise)
    assert ends[1].threshold > 5 * ends[0].threshold  # it is ten times noisier
    assert outcome.model[0].sum() == pytest.approx(50.0, rel=0.03)
    assert 3.0 - ends[1].threshold < outcome.model[1].sum() < 3.3  # what is below the threshold is left
    assert not outcome.model[2].any()


def test_a_channel_is_the_same_to_the_bit_in_any_company(block):
    together = run(block, [0, 1, 2])
    for i in (0, 1):
        alone = run(block, [i])
        assert np.array_equal(alone.model[0], together.model[i])
        assert np.array_equal(alone.residual[0], together.residual[i])
        assert [replace(row, channel=i) for row in alone.rows] == [row for row in together.rows if row.channel == i]


def test_cleaning_ends_at_the_threshold_and_goes_below_it_only_with_a_margin(block):
    ends = {}
    for margin in (1.0, 0.8):
        outcome = run(block, [0], stopping=Stopping(snr=8.0, exclude_mask=True, margin=margin), mask=signal_of(block))
        ends[margin] = outcome.rows[-1]
        assert outcome.rows[0].threshold > 2 * ends[margin].threshold  # sidelobes count as noise until they are gone
    part = {margin: row.peak / row.threshold for margin, row in ends.items()}
    assert 0.9 < part[1.0] <= 1.0
    assert part[0.8] < 0.9
    assert ends[0.8].components > ends[1.0].components


def signal_of(block):
    mask = np.zeros(block[0].shape, dtype=bool)
    mask[:, 22:38, 25:36] = True
    return mask


def test_an_empty_mask_is_left_alone(block):
    mask = np.zeros(block[0].shape, dtype=bool)
    mask[0, 20:40, 20:40] = True
    outcome = run(block, [0, 1, 2], mask=mask)
    assert outcome.reasons == ("threshold", "empty mask", "no data")
    assert not outcome.model[1].any()
    assert np.array_equal(outcome.residual[1], block[0][1])


def test_a_channel_that_diverges_goes_back_and_says_so(block):
    dirty = block[0]
    calls = []

    def growing(model):
        calls.append(1)
        return dirty * np.float32(0.9 if len(calls) == 1 else 2.0)

    outcome = run(block, [0, 1, 2], residual_of=growing)
    assert outcome.reasons[:2] == ("diverged", "diverged")
    assert np.allclose(outcome.residual[0], dirty[0] * 0.9)
    first_model = run(block, [0, 1, 2], stopping=replace(STOPPING, max_cycles=1)).model[0]
    assert np.array_equal(outcome.model[0], first_model)


def test_the_budget_of_a_channel_ends_it(block):
    assert run(block, [0], stopping=replace(STOPPING, max_components=5)).reasons == ("components",)
    assert run(block, [0], stopping=replace(STOPPING, max_cycles=2)).reasons == ("cycles",)


def row(cycle, peak, flux, threshold=1.0, components=0):
    return Row(0, cycle, components, threshold, 0.25, peak, flux)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row(0, 0.9, 0.0)], "threshold"),
        ([row(0, 10.0, 0.0)], None),
        ([row(0, 10.0, 0.0), row(1, 7.0, 2.0), row(2, 9.0, 2.5)], "diverged"),
        ([row(0, 10.0, 0.0), row(1, 7.0, -2.0)], "negative"),
        ([row(0, 10.0, 0.0), row(1, 7.0, 2.0, components=15000)], "components"),
        ([row(0, 9.0, 0.0), *(row(i, 7.0, 2.0) for i in range(1, 5))], "stalled"),
        # a peak that no longer falls does not stop a channel whose flux still grows, whatever the flux of others
        ([row(0, 9.0, 0.0), *(row(i, 7.0, 2.0 * i) for i in range(1, 5))], None),
        # nor does a flux near zero of both signs count as converged while the peak falls
        ([row(0, 9.0, 0.0), *(row(i, 9.0 - i, 0.0) for i in range(1, 5))], None),
    ],
)
def test_verdicts(rows, reason):
    assert verdict(rows, Stopping(snr=4.0, stop_at_negative=True)) == reason


def test_noise_is_measured_in_spite_of_signal():
    rng = np.random.default_rng(5)
    values = rng.normal(0.5, 2.0, size=20_000)
    assert robust_sigma(values) == pytest.approx(2.0, rel=0.03)
    values[:1000] += 60.0
    assert robust_sigma(values) == pytest.approx(2.0, rel=0.05)
    assert robust_sigma(np.full(10, np.nan)) == 0.0


def test_noise_of_neighbouring_channels_is_smoothed_and_blank_ones_do_not_count():
    sigma = np.array([1.0, 1.1, 0.0, 5.0, 0.9, 1.0, 1.05])
    smooth = smooth_channels(sigma)
    assert smooth[2] == 0.0
    assert smooth[[0, 1, 3, 4, 5, 6]] == pytest.approx(1.0, abs=0.11)


def test_one_noise_for_all_is_the_median_of_the_channels_with_data():
    assert one_for_all(np.array([1.0, 0.0, 3.0, 7.0])) == pytest.approx([3.0, 0.0, 3.0, 3.0])
    assert not one_for_all(np.zeros(4)).any()
