from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from fringeflow_derived.masks import StrictOptions, grow_planes, runs, strict_blocks, strict_mask, union_planes
from fringeflow_derived.packed import PackedMask
from fringeflow_derived.regions import Regions
from fringeflow_derived.sources import as_source

small = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 7))
booleans = arrays(bool, small)
ratios = arrays(np.float32, small, elements=st.sampled_from([0.0, 1.0, 2.5, 5.0, -5.0, np.nan]))


def bits(text):
    return np.array([character == "1" for character in text])[:, None, None]


@pytest.mark.parametrize(("length", "left"), [(1, "011001001110"), (2, "011000001110"), (3, "000000001110")])
def test_short_runs_vanish(length, left):
    assert np.array_equal(runs(bits("011001001110"), length), bits(left))


def test_runs_at_the_ends_survive():
    assert np.array_equal(runs(bits("110011"), 2), bits("110011"))
    assert not runs(bits("1"), 2).any()


def test_plateau_counts_only_if_it_touches_a_core():
    """W20: by faces, as the reference has it, or by edges and corners."""
    ratio = np.zeros((8, 12, 12), np.float32)
    ratio[2:5, 2, 2:8] = 2.5
    ratio[2:4, 2, 3] = 4.5
    ratio[2:5, 9, 2:8] = 2.5
    ratio[5:7, 3, 8] = 2.5  # touches the first plateau by a corner only
    mask = strict_mask(ratio, np.ones_like(ratio))
    assert mask[2:5, 2, 2:8].all()
    assert mask.sum() == 18
    assert strict_mask(ratio, np.ones_like(ratio), StrictOptions(connectivity=3)).sum() == 20


def test_nan_and_negative_are_no_signal():
    ratio = np.full((4, 3, 3), np.nan, np.float32)
    assert not strict_mask(ratio, np.ones_like(ratio)).any()
    ratio[:] = -9
    assert not strict_mask(ratio, np.ones_like(ratio)).any()
    assert strict_mask(ratio, np.ones_like(ratio), StrictOptions(invert=True)).all()


def two_regions():
    ratio = np.zeros((6, 10, 10), np.float32)
    ratio[1:5, 1:4, 1:4] = 5  # 36 voxels on 9 pixels
    ratio[1:3, 8, 8] = 5  # 2 voxels on 1 pixel
    return ratio


@pytest.mark.parametrize(
    ("options", "voxels"),
    [
        ({}, 38),
        ({"min_pix": 3}, 36),
        ({"min_pix": 37}, 0),
        ({"min_area": 2}, 36),
        ({"min_area": 10}, 0),
        ({"min_beams": 1.0, "min_pix": 1}, 36),
        ({"min_pix": 3, "prune": "final"}, 36),
        ({"lo_thresh": None}, 38),
        ({"lo_thresh": None, "min_area": 2, "prune": "final"}, 36),
    ],
)
def test_small_regions_are_pruned(options, voxels):
    """W19, W20: volume, area and beams, of the core or of the final mask."""
    ratio = two_regions()
    for rows in (None, 1, 2, 3):
        made = list(strict_blocks(ratio, np.ones_like(ratio), StrictOptions(**options), pixels_per_beam=5.0, rows=rows))
        assert sum(block.sum() for _, block in made) == voxels


def test_pruning_the_final_mask_counts_the_faint_part():
    """W20: the reference prunes the core only."""
    ratio = two_regions()
    ratio[1:3, 8, 5:9] = np.where(ratio[1:3, 8, 5:9] > 0, 5, 2.5)
    noise = np.ones_like(ratio)
    assert strict_mask(ratio, noise, StrictOptions(min_pix=3)).sum() == 36
    assert strict_mask(ratio, noise, StrictOptions(min_pix=3, prune="final")).sum() == 44


def test_coverage_bounds_the_core_and_if_asked_the_rest():
    """W19, W20: the threshold can be set, and bound the faint part as well."""
    ratio = np.full((3, 4, 10), 5, np.float32)
    coverage = np.broadcast_to(np.linspace(0.5, 1, 10), ratio.shape)
    noise = np.ones_like(ratio)
    assert strict_mask(ratio, noise, coverage=coverage).all()  # spills over the faint part
    both = StrictOptions(low_coverage_thresh=0.95)
    assert np.array_equal(strict_mask(ratio, noise, both, coverage=coverage), coverage > 0.95)
    lower = StrictOptions(low_coverage_thresh=0.6, coverage_thresh=0.6)
    assert np.array_equal(strict_mask(ratio, noise, lower, coverage=coverage), coverage > 0.6)


@settings(max_examples=60, deadline=None)
@given(ratios, st.integers(1, 4), st.sampled_from([1, 2, 3]))
def test_masks_do_not_depend_on_blocks(ratio, rows, connectivity):
    options = StrictOptions(connectivity=connectivity, min_pix=3)
    noise = np.ones_like(ratio)
    whole, parts = (
        np.concatenate([block for _, block in strict_blocks(ratio, noise, options, rows=size)], axis=1)
        for size in (None, rows)
    )
    assert np.array_equal(whole, parts)


@settings(max_examples=60, deadline=None)
@given(booleans, st.integers(1, 4), st.data())
def test_spans_count_the_channels_of_chosen_regions(mask, rows, data):
    starts = list(range(0, mask.shape[1], rows))
    regions = Regions(lambda number: mask[:, starts[number] : starts[number] + rows], len(starts))
    keep = np.array([False, *data.draw(st.lists(st.booleans(), min_size=regions.count, max_size=regions.count))])
    labels = np.concatenate([regions.labels(number) for number in range(len(starts))], axis=1)
    channels = np.broadcast_to(keep[labels].sum(axis=0), labels.shape)
    truth = [channels[labels == region].sum() for region in range(1, regions.count + 1)]
    assert regions.spans(keep).tolist() == [0, *truth]


@settings(max_examples=60, deadline=None)
@given(booleans, st.integers(1, 4), st.sampled_from([1, 2, 3]))
def test_regions_are_those_of_the_whole_cube(mask, rows, connectivity):
    starts = list(range(0, mask.shape[1], rows))
    regions = Regions(lambda number: mask[:, starts[number] : starts[number] + rows], len(starts), connectivity)
    labels = np.concatenate([regions.labels(number) for number in range(len(starts))], axis=1)
    truth, count = ndimage.label(mask, ndimage.generate_binary_structure(3, connectivity))
    assert regions.count == count
    assert len(np.unique(np.stack([labels[mask], truth[mask]]), axis=1).T) == count
    for region in range(1, count + 1):
        here = labels == region
        assert regions.sizes()[region] == here.sum()
        assert regions.areas()[region] == here.any(axis=0).sum()


@settings(max_examples=60, deadline=None)
@given(booleans, st.integers(0, 3), st.integers(0, 4))
def test_growth_is_symmetric_and_contains_the_mask(mask, xy, v):
    grown = np.stack(list(grow_planes(mask, xy, v)))
    assert grown.shape == mask.shape
    assert (grown >= mask).all()
    flipped = np.stack(list(grow_planes(mask[::-1, ::-1], xy, v)))[::-1, ::-1]
    assert np.array_equal(grown, flipped)
    wide = ndimage.binary_dilation(mask, np.ones((2 * v + 1, 1, 1)))
    diamond = ndimage.generate_binary_structure(2, 1)[None]
    assert np.array_equal(grown, ndimage.binary_dilation(wide, diamond, iterations=xy) if xy else wide)


def test_growth_by_channels_counts_both_sides():
    """W11: in the reference 1 changes nothing and 2 grows on one side only."""
    mask = bits("000010000")
    assert np.array_equal(np.stack(list(grow_planes(mask, 0, 1))), bits("000111000"))
    assert np.array_equal(np.stack(list(grow_planes(mask, 0, 2))), bits("001111100"))


@pytest.mark.parametrize("width", [1, 7, 8, 9, 40])
def test_packed_masks_hold_what_is_put_in(width):
    mask = np.random.default_rng(width).random((5, 11, width)) > 0.4
    by_rows, by_planes = PackedMask(mask.shape), PackedMask(mask.shape)
    assert not by_rows.rows(0, 11).any()
    for start, stop in ((4, 11), (0, 4)):
        by_rows.write_rows(start, mask[:, start:stop])
    for channel in (3, 0, 1, 4, 2):
        by_planes.write_plane(channel, mask[channel])
    for packed in (by_rows, by_planes):
        assert packed.rows(2, 9).dtype == bool
        assert np.array_equal(packed.rows(2, 9), mask[:, 2:9])
        assert all(np.array_equal(packed.plane(channel), mask[channel]) for channel in range(5))


def test_union_counts_masks():
    """W6: a true count of masks, which the reference clips to one at every step."""
    rng = np.random.default_rng(1)
    masks = [rng.random((3, 6, 6)) > 0.7 for _ in range(10)]
    count = np.sum(masks, axis=0)
    sources = [as_source(mask) for mask in masks]
    for fraction, least in ((None, 1), (0.25, 3), (0.5, 6)):
        union = union_planes(sources, fraction)
        assert np.array_equal(np.stack([union.plane(channel) for channel in range(3)]), count >= least)
        assert np.array_equal(union.rows(0, 6), count >= least)


@settings(max_examples=30, deadline=None)
@given(booleans, st.data())
def test_a_strict_mask_lies_within_the_broad_one(mask, data):
    other = data.draw(arrays(bool, mask.shape))
    union = union_planes([as_source(mask), as_source(other)])
    grown = np.stack(list(grow_planes(union, data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2)))))
    assert (grown >= mask).all()


def test_the_area_of_regions_of_an_image():
    """W19: the reference counts every region of an image as one pixel."""
    ratio = np.zeros((1, 8, 8), np.float32)
    ratio[0, 1:4, 1:4] = 5
    ratio[0, 6, 6] = 5
    options = StrictOptions(hi_nchan=1, lo_nchan=1, min_area=2)
    assert strict_mask(ratio, np.ones_like(ratio), options).sum() == 9
