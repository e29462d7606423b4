"""Look-ups of the drawing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from osler.synth.draw_tables import age_band, choose, cumulative, normal, sum_of_rows, uniform16


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_a_weight_of_zero_is_never_chosen(weights, u):
    weights[0] += 0.5
    row = np.array([weights])
    chosen = choose(cumulative(row), u=np.array([u]))[0]
    assert row[0, chosen] > 0


def test_choices_follow_the_weights():
    u = np.arange(10_000) / 10_000
    counts = np.bincount(choose(cumulative(np.array([1.0, 0.0, 3.0])), u=u), minlength=3)
    assert counts.tolist() == [2500, 0, 7500]


def test_normal_values_have_mean_zero_and_spread_one():
    every = np.arange(65536, dtype=np.uint64) << np.uint64(32)
    values = normal(every, part=2)
    assert abs(values.mean()) < 1e-9
    assert abs(values.std() - 1) < 1e-3
    assert (np.diff(values) > 0).all()


def test_uniform_values_lie_strictly_between_zero_and_one():
    ends = uniform16(np.array([0, 2**64 - 1], dtype=np.uint64), part=3)
    assert 0 < ends[0] < 1e-4
    assert 1 - 1e-4 < ends[1] < 1


def test_age_bands():
    assert age_band(np.array([18, 39, 40, 59, 60, 74, 75, 95])).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 6))
def test_sums_are_those_of_the_matrix_product(seed, rows, codes):
    rng = np.random.default_rng(seed)
    chosen = rng.random((rows, codes)) < 0.4
    table = rng.integers(-9, 9, (codes, 3))
    assert (sum_of_rows(table, chosen=chosen) == chosen.astype(np.int64) @ table).all()
