"""Draws depend on seed, patient, stream and index alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.synth.draws import Draws, mix


def test_a_draw_is_pinned_across_machines_and_versions() -> None:
    """Shards written by one version must be readable by the next: these numbers never change."""
    draws = Draws(seed=7, patients=np.array([0, 1, 12_500_000]))
    assert draws.bits("age", 3).tolist() == [17284249123489104800, 5593052305175710440, 12454367704572181486]


def test_the_mixer_is_that_of_splitmix64() -> None:
    """The first outputs of SplitMix64 from state 0, as published with the generator."""
    states = np.array([0, 0x9E3779B97F4A7C15], dtype=np.uint64)
    assert mix(states).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(0, 2**63 - 1))
def test_order_and_company_do_not_matter(patients: list[int], seed: int) -> None:
    together = Draws(seed=seed, patients=np.array(patients)).uniform("size", 2)
    alone = [Draws(seed=seed, patients=np.array([p])).uniform("size", 2)[0] for p in patients]
    assert together.tolist() == alone


@pytest.mark.parametrize("other", [{"seed": 8}, {"stream": "sex"}, {"index": 1}])
def test_every_part_of_the_key_counts(other: dict[str, object]) -> None:
    base = {"seed": 7, "stream": "age", "index": 0}
    patients = np.arange(1000)

    def bits(key: dict[str, object]) -> np.ndarray:
        return Draws(seed=int(key["seed"]), patients=patients).bits(str(key["stream"]), int(key["index"]))  # type: ignore[call-overload]

    assert not np.any(bits(base) == bits(base | other))


def test_uniform_is_uniform_and_uncorrelated() -> None:
    draws = Draws(seed=1, patients=np.arange(200_000))
    a, b = draws.uniform("a"), draws.uniform("b")
    assert abs(a.mean() - 0.5) < 0.003
    assert abs(a.var() - 1 / 12) < 0.001
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.01
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.01
    counts = np.bincount(draws.below("c", 10), minlength=10)
    assert counts.min() > 19_000
    assert len(counts) == 10
