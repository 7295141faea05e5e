"""Channels, ranges and selections, against the vectors of the staging specification (sections 5.2 to 5.5)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fringeflow.errors import DataError
from fringeflow_staging.subtraction import plan_fit
from fringeflow_staging.windows import (
    C_KMS,
    Window,
    channel_text,
    checked_ranges,
    covering,
    excluded_ranges,
    line_range_ghz,
    merged,
    touched,
    without_edges,
)

CO21 = 230.538
CO13 = 220.39868


def window(
    n: int, width_kms: float, *, number: int = 0, at_vsys: int | None = None, vsys: float = 1000.0, **more
) -> Window:
    """`n` channels of which number n/2 - 1 lies at 1000 km/s."""
    step = width_kms / C_KMS * CO21
    centres = CO21 * (1 - 1000 / C_KMS) + (np.arange(n) - n // 2 + 1) * step
    return Window(number, tuple(centres.tolist()), (step,) * n, **more)


def text(windows: list[Window], edge: float, *, complement: bool) -> str:
    wanted = line_range_ghz(CO21, 1000.0, 50.0)
    masks = {}
    for each in windows:
        inside = touched(each, [wanted], any_overlap=False)
        masks[each.number] = without_edges(~inside if complement else inside, edge)
    return channel_text(masks)


def test_channel_texts_of_the_reference():
    both = [window(100, 2.5), window(20, 2.5, number=3)]
    assert text(both, 0.0, complement=True) == "0:0~39,0:59~99,3:19~19"
    assert text(both, 0.1, complement=True) == "0:10~39,0:59~89"
    assert text(both, 0.0, complement=False) == "0:40~58,3:0~18"


def test_any_overlap_also_takes_the_channels_half_inside():
    wanted = line_range_ghz(CO21, 1000.0, 50.0)
    assert channel_text({0: touched(window(100, 2.5), [wanted])}) == "0:39~59"


def test_a_range_that_ends_on_a_channel_edge_does_not_touch_the_next_channel():
    wanted = line_range_ghz(CO21, 1000.0, 47.5)
    assert channel_text({0: touched(window(100, 2.5), [wanted])}) == "0:40~58"


def test_the_frequency_range_of_a_line():
    assert line_range_ghz(CO21, 1000.0, 500.0) == pytest.approx((229.5767600, 229.9612560), abs=2e-7)
    low, high = line_range_ghz(CO21, 1000.0, 500.0, padding_kms=10.0)
    assert (low, high) == pytest.approx(line_range_ghz(CO21, 1000.0, 520.0), abs=1e-9)


def test_a_single_channel_window_has_a_width_too():
    one = Window(2, (229.77,), (0.1,))
    assert touched(one, [(229.80, 229.81)]).tolist() == [True]
    assert touched(one, [(229.83, 229.84)]).tolist() == [False]


def test_channels_swept_by_the_doppler_shift_are_excluded_over_the_whole_track():
    still = window(100, 2.5)
    moving = window(100, 2.5, to_lsrk=(1 - 2.6 / C_KMS, 1 + 2.6 / C_KMS))
    wanted = [line_range_ghz(CO21, 1000.0, 47.5)]
    assert touched(still, wanted).sum() == 19
    assert touched(moving, wanted).sum() == 23


def test_ranges_are_merged_when_they_touch():
    assert merged([(5, 6), (1, 2), (4, 3), (1.5, 3), (5.1, 5.2)]) == ((1, 4), (5, 6))
    assert merged([]) == ()


def test_manual_ranges_join_the_automatic_ones_instead_of_replacing_them():
    co = line_range_ghz(CO21, 1000.0, 500.0)
    co13 = line_range_ghz(CO13, 1000.0, 500.0)
    assert excluded_ranges([co, co13], [(230.7, 230.6)]) == (co13, co, (230.6, 230.7))
    assert excluded_ranges([co], []) == (co,)
    assert excluded_ranges([co], None) == (co,)


def test_manual_ranges_as_the_reference_takes_them():
    co = line_range_ghz(CO21, 1000.0, 500.0)
    co13 = line_range_ghz(CO13, 1000.0, 500.0)
    assert excluded_ranges([co, co13], [(230.6, 230.7)], union=False) == (co13, (230.6, 230.7))
    assert excluded_ranges([co], [], union=False) == ()
    assert excluded_ranges([co], [(229.6, 229.7)], union=False) == (co,)
    assert excluded_ranges([co], [(229.9, 230.0)], union=False) == ((co[0], 230.0),)


def test_a_window_that_touches_the_line_covers_it():
    each = Window(0, (1.0, 2.0, 3.0), (1.0,) * 3)
    assert covering([each], (3.0, 4.0)) == (each,)
    assert covering([each], (0.5, 1.0)) == (each,)
    assert covering([each], (3.0001, 4.0)) == ()


def test_full_coverage_is_strict_at_both_edges():
    each = Window(0, (1.0, 2.0, 3.0), (1.0,) * 3)
    assert covering([each], (1.0001, 2.9999), full=True) == (each,)
    assert covering([each], (1.0, 2.9), full=True) == ()
    assert covering([each], (1.1, 3.0), full=True) == ()


def test_full_coverage_holds_all_through_the_track():
    each = Window(0, (1.0, 2.0, 3.0), (1.0,) * 3, to_lsrk=(0.99, 1.01))
    assert covering([each], (1.005, 2.5), full=True) == ()
    assert covering([each], (1.02, 2.9), full=True) == (each,)
    assert covering([each], (3.02, 3.1)) == (each,)


def test_windows_without_rows_or_with_wide_channels_do_not_cover():
    assert covering([Window(0, (1.0, 2.0), (1.0, 1.0), rows=0)], (1.0, 2.0)) == ()
    wide = Window(0, (1.0, 2.0), (1.0, 1.0))
    assert covering([wide], (1.0, 2.0), widest_ghz=1.0) == (wide,)
    assert covering([wide], (1.0, 2.0), widest_ghz=0.999) == ()


def test_a_window_filled_by_the_line_cannot_be_fitted():
    narrow = window(20, 2.5)
    fit = plan_fit(narrow, [line_range_ghz(CO21, 1000.0, 60.0)], order=0)
    assert fit.n_channels == 0
    assert not fit.is_possible
    assert plan_fit(narrow, [], order=1, edge_fraction=0.1).n_channels == 16


def test_no_lines_leave_every_channel_for_the_fit():
    assert plan_fit(window(20, 2.5), [], order=0).n_channels == 20


def test_overlapping_continuum_ranges_are_refused_and_touching_ones_are_not():
    assert checked_ranges([(3, 4), (2, 1)]) == ((3, 4), (1, 2))
    assert checked_ranges([(1, 2), (2, 3)]) == ((1, 2), (2, 3))
    with pytest.raises(DataError, match=r"1-3 GHz and 2-4 GHz"):
        checked_ranges([(2, 4), (1, 3)])


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_channel_text_says_exactly_the_chosen_channels(chosen):
    said: set[int] = set()
    for part in filter(None, channel_text({7: np.array(chosen)}).split(",")):
        number, span = part.split(":")
        first, last = span.split("~")
        assert number == "7"
        said |= set(range(int(first), int(last) + 1))
    assert said == {n for n, is_chosen in enumerate(chosen) if is_chosen}


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=8), st.floats(0, 10))
def test_merging_keeps_every_point_and_leaves_gaps(ranges, point):
    union = merged(ranges)
    assert any(min(pair) <= point <= max(pair) for pair in ranges) == any(low <= point <= high for low, high in union)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(union))
