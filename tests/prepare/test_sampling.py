from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.prepare.sampling import MIN_SHARE, pick_slices, share_budget, share_equally


def test_published_formula_is_the_notebooks():
    assert pick_slices(275, limit=85, sampling="published") == tuple(round(i / 85 * 274) for i in range(1, 86))


def test_published_skips_the_first_slice_and_equidistant_does_not():
    published = pick_slices(500, limit=85, sampling="published")
    assert published[0] == 6
    assert published[-1] == 499
    equidistant = pick_slices(500, limit=85, sampling="equidistant")
    assert (equidistant[0], equidistant[-1]) == (0, 499)


@given(count=st.integers(1, 2000), limit=st.integers(1, 120), sampling=st.sampled_from(["published", "equidistant"]))
def test_picks_rise_are_in_range_and_fill_the_limit(count, limit, sampling):
    picks = pick_slices(count, limit=limit, sampling=sampling)
    assert len(picks) == min(count, limit)
    assert all(a < b for a, b in pairwise(picks))
    assert picks[0] >= 0
    assert picks[-1] < count
    if count > limit > 1:
        gaps = [b - a for a, b in pairwise(picks)]
        assert max(gaps) - min(gaps) <= 1


def test_one_place_takes_the_middle_slice():
    assert pick_slices(11, limit=1, sampling="equidistant") == (5,)


@pytest.mark.parametrize(("count", "limit"), [(0, 5), (5, 0)])
def test_nothing_to_pick_is_refused(count, limit):
    with pytest.raises(RequestError, match=f"{limit} of {count} slices"):
        pick_slices(count, limit=limit, sampling="published")


@given(counts=st.lists(st.integers(1, 400), max_size=8), places=st.integers(0, 120))
def test_equal_shares_spend_the_budget_and_are_fair(counts, places):
    shares = share_equally(counts, places=places)
    assert sum(shares) == min(places, sum(counts))
    assert all(share <= count for share, count in zip(shares, counts, strict=True))
    cut = [share for share, count in zip(shares, counts, strict=True) if share < count]
    if cut:
        assert max(shares) - min(cut) <= 1
        assert max(cut) - min(cut) <= 1


def test_one_volume_gets_everything():
    assert share_budget([275], ages=[0], places=85) == (85,)


def test_images_come_first_and_volumes_share_the_rest():
    assert share_budget([0, 300, 300], ages=[0, 0, 0], places=85) == (1, 42, 42)


def test_too_many_images_keep_the_newest():
    assert share_budget([0, 0, 0], ages=[0, 1, 2], places=2) == (0, 1, 1)


def test_volumes_under_the_least_share_are_left_out_newest_and_largest_first():
    counts = [100, 200, 300, 100, 100, 100, 100, 100, 150]
    ages = [0, 1, 1, 1, 1, 1, 1, 1, 1]
    shares = share_budget(counts, ages=ages, places=85)
    shown = [index for index, share in enumerate(shares) if share]
    assert len(shown) == 85 // MIN_SHARE
    assert {1, 2, 8} <= set(shown)
    assert 0 not in shown
    assert sum(shares) == 85
    assert all(share >= MIN_SHARE for share in shares if share)


@given(
    series=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3)), max_size=12),
    places=st.integers(1, 100),
)
def test_budget_is_never_exceeded_and_never_wasted(series, places):
    counts, ages = [count for count, _ in series], [age for _, age in series]
    shares = share_budget(counts, ages=ages, places=places)
    assert sum(shares) <= places
    assert all(share <= max(count, 1) for share, count in zip(shares, counts, strict=True))
    if series:
        assert sum(shares) > 0
