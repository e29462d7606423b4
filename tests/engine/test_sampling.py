"""Sampling draws from the filtered distribution, and refuses what makes none."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.engine.sampling import Sampler, Sampling, candidates, greedy
from osler.errors import ModelError, RequestError

LOGITS = torch.tensor([2.0, 0.0, 1.0, -1.0, 3.0])


def test_greedy_takes_the_likeliest_and_the_lowest_of_equals() -> None:
    logits = torch.tensor([[0.0, 5.0, 5.0, 1.0], [7.0, 1.0, 7.0, 7.0]])
    assert greedy(logits).tolist() == [1, 0]


@given(vocab=st.integers(1, 3000), seed=st.integers(0, 99), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
@settings(deadline=None, max_examples=50)
def test_greedy_is_the_first_greatest_of_any_length(vocab: int, seed: int, dtype: torch.dtype) -> None:
    logits = torch.randn(2, vocab, generator=torch.Generator().manual_seed(seed)).to(dtype)
    expected = [row.tolist().index(max(row.tolist())) for row in logits]
    assert greedy(logits).tolist() == expected


def test_forbidden_ids_are_never_drawn() -> None:
    sampler = Sampler(Sampling(), forbidden=(4, 0))
    assert sampler.pick(LOGITS[None].clone()).tolist() == [2]
    hot = Sampler(Sampling(temperature=100.0, seed=0), forbidden=(4, 0))
    drawn = {int(hot.pick(LOGITS[None].clone())) for _ in range(200)}
    assert drawn == {1, 2, 3}


def test_top_k_keeps_the_k_likeliest() -> None:
    ids, probs = candidates(LOGITS, sampling=Sampling(temperature=1.0, top_k=2))
    assert ids.tolist() == [4, 0]
    assert probs.tolist() == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])


def test_top_p_keeps_tokens_until_their_sum_reaches_it() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    ids, kept = candidates(probs.log(), sampling=Sampling(temperature=1.0, top_p=0.6))
    assert ids.tolist() == [0, 1]
    assert kept.tolist() == pytest.approx([0.625, 0.375])


def test_min_p_keeps_tokens_near_the_likeliest() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    ids, _ = candidates(probs.log(), sampling=Sampling(temperature=1.0, min_p=0.25))
    assert ids.tolist() == [0, 1, 2]


def test_a_tiny_top_p_leaves_the_likeliest() -> None:
    ids, probs = candidates(LOGITS, sampling=Sampling(temperature=1.0, top_p=1e-9))
    assert (ids.tolist(), probs.tolist()) == ([4], [1.0])


@pytest.mark.parametrize("filters", [{"top_p": 0.97}, {"min_p": 0.01}, {"top_p": 0.999, "min_p": 0.001}])
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
def test_filters_over_a_large_vocabulary_equal_a_full_sort(filters: dict[str, float], scale: float) -> None:
    logits = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * scale
    ids, probs = candidates(logits, sampling=Sampling(temperature=0.8, **filters))
    full, order = torch.softmax(logits / 0.8, -1).sort(descending=True)
    keep = full.cumsum(0) - full < filters.get("top_p", 1.0)
    keep &= full >= filters.get("min_p", 0.0) * full[0]
    assert set(ids.tolist()) == set(order[keep].tolist())
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-4)


def test_draws_follow_the_distribution() -> None:
    sampler = Sampler(Sampling(temperature=0.5, top_k=3, seed=11))
    counts = torch.zeros(5)
    for _ in range(4000):
        counts[sampler.pick(LOGITS[None].clone())] += 1
    expected = torch.softmax(torch.tensor([3.0, 2.0, 1.0]) / 0.5, -1)
    assert (counts[[4, 0, 2]] / 4000).tolist() == pytest.approx(expected.tolist(), abs=0.03)
    assert counts[[1, 3]].sum() == 0


def test_draws_without_a_filter_reach_every_token() -> None:
    sampler = Sampler(Sampling(temperature=3.0, seed=2))
    assert {int(sampler.pick(LOGITS[None].clone())) for _ in range(400)} == {0, 1, 2, 3, 4}


def test_a_seed_repeats_and_no_seed_does_not() -> None:
    def draw(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(temperature=100.0, seed=seed))
        return [int(sampler.pick(torch.zeros(1, 1000))) for _ in range(8)]

    assert draw(5) == draw(5)
    assert draw(None) != draw(None)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_an_error(temperature: float) -> None:
    logits = torch.tensor([[0.0, float("nan"), 1.0, 0.0]])
    with pytest.raises(ModelError, match=r"logit of nan.*must be finite.*osler doctor"):
        Sampler(Sampling(temperature=temperature, seed=0)).pick(logits)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("temperature", -0.1, "0 \\(greedy\\) or any positive number"),
        ("temperature", float("nan"), "0 \\(greedy\\)"),
        ("temperature", float("inf"), "0 \\(greedy\\)"),
        ("top_p", 0.0, "above 0 and at most 1"),
        ("top_p", 1.01, "above 0 and at most 1"),
        ("top_k", 0, "a whole number from 1"),
        ("top_k", 2.5, "a whole number from 1"),
        ("min_p", -1.0, "from 0 to 1"),
        ("min_p", 1.5, "from 0 to 1"),
        ("seed", -1, "a whole number from 0"),
        ("seed", 2**63, "a whole number from 0"),
    ],
)
def test_values_out_of_range_are_named(option: str, value: float, allowed: str) -> None:
    with pytest.raises(RequestError, match=f"The {option} .* is out of range.*Allowed: {allowed}"):
        Sampling(**{option: value})
