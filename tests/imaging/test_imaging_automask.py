"""Masks that follow the clean: thresholds, pruning, growing, each against a plane whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fringeflow_imaging.automask import AutoMask, Thresholds

SIZE = 64
BEAM = (6.0, 4.0, 0.0)  # 27 pixels of area
NOISE = 1.0
BARE = Thresholds(smoothfactor=0.0, minbeamfrac=0.0, growiterations=0)  # thresholds alone
ALL = np.ones((SIZE, SIZE), dtype=bool)


def masker(thresholds=BARE, sidelobe=0.0, allowed=ALL):
    return AutoMask(allowed, thresholds, sidelobe, BEAM, 1.0)


def plane(*places):
    out = np.zeros((SIZE, SIZE), dtype=np.float32)
    for rows, columns, height in places:
        out[rows, columns] = height
    return out


def box(low, high):
    return slice(low, high), slice(low, high)


def test_what_is_above_the_noise_threshold_is_masked():
    found = masker().follow(plane((*box(10, 20), 5.1), (*box(30, 40), 4.9)), NOISE)
    assert np.array_equal(found, plane((*box(10, 20), 1)) > 0)


def test_sidelobes_of_a_bright_source_are_not():
    residual = plane((32, 32, 100.0), (*box(10, 14), 25.0), (*box(50, 54), 35.0))
    found = masker(sidelobe=0.1).follow(residual, NOISE)  # 3 times 0.1 of 100
    assert found[32, 32]
    assert found[50, 50]
    assert not found[10, 10]


def test_small_regions_are_dropped_and_what_is_left_is_as_wide_as_the_beam():
    wanted = Thresholds(growiterations=0)
    assert not masker(wanted).follow(plane((32, slice(30, 38), 9.0)), NOISE).any()  # 8 pixels of 0.3 x 27
    found = masker(wanted).follow(plane((32, slice(30, 39), 9.0)), NOISE)
    rows, columns = np.nonzero(found)
    assert np.ptp(rows) > np.ptp(columns) / 2 > 4
    # smoothed by the beam, cut at a hundredth of the peak: sqrt(2 ln 100) sigma up and down from a row one pixel high
    reach = 6.0 / 2.3548 * np.sqrt(2 * np.log(100.0))
    assert rows.max() - 32 == pytest.approx(reach, abs=1)


def test_a_mask_grows_into_faint_surroundings_only_from_what_was_masked_before():
    bright, faint = plane((32, slice(30, 34), 9.0)), plane((32, slice(20, 50), 2.0))
    other = plane((50, slice(20, 50), 2.0))
    one = masker(replace(BARE, growiterations=100))
    assert np.array_equal(one.follow(bright + faint + other, NOISE), bright > 0)
    after = one.follow(faint + other, NOISE)
    assert np.array_equal(after, (faint > 0) | (bright > 0))
    assert not after[50].any()
    short = masker(replace(BARE, growiterations=3))
    short.follow(bright + faint, NOISE)
    assert short.follow(faint, NOISE).sum() == 4 + 2 * 3


def test_what_was_masked_stays_and_nothing_is_masked_where_it_is_not_allowed():
    allowed = plane((*box(0, 32), 1)) > 0
    one = masker(allowed=allowed)
    assert one.follow(plane((*box(20, 40), 9.0)), NOISE).sum() == 12**2
    assert one.follow(plane(), NOISE).sum() == 12**2


def test_negative_features_only_when_asked():
    hole = plane((*box(10, 20), -9.0))
    assert not masker().follow(hole, NOISE).any()
    assert masker(replace(BARE, negativethreshold=8.0)).follow(hole, NOISE).sum() == 100
    assert not masker(replace(BARE, negativethreshold=10.0)).follow(hole, NOISE).any()


def test_a_mask_that_hardly_changes_is_left_alone():
    first, more = plane((*box(10, 20), 9.0)), plane((*box(10, 20), 9.0), (40, 40, 9.0))
    much = plane((*box(30, 60), 9.0))
    one = masker(replace(BARE, minpercentchange=5.0))
    one.follow(first, NOISE)
    assert one.follow(more, NOISE).sum() == 101  # one percent: the last change
    assert one.follow(much, NOISE).sum() == 101
    ever = masker()
    for residual in (first, more, much):
        ever.follow(residual, NOISE)
    assert ever.mask.sum() == 101 + 900 - 1


def test_noise_alone_is_hardly_ever_masked():
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(20):
        noise = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 2.0)
        found += bool(masker(Thresholds()).follow((noise / noise.std()).astype(np.float32), NOISE).any())
    assert found <= 1
