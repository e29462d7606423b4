"""Metrics equal those of scikit-learn, weights and ties included."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from osler.evaluate.metrics import auroc, calibration_error, exp_ratio, ratio, rouge_l, token_f1


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 8))
def test_auroc_is_that_of_scikit_learn(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=count) / levels  # many ties
    truths = rng.integers(2, size=count).astype(float)
    weights = rng.integers(0, 4, size=(3, count)).astype(float)
    found = auroc(scores, truths, weights_RN=weights)
    for value, row in zip(found, weights, strict=True):
        if len({*truths[row > 0]}) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(truths, scores, sample_weight=row))


@given(st.integers(0, 10_000), st.integers(1, 80))
def test_calibration_error_is_the_one_of_its_definition(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities, truths = rng.random(count), rng.integers(2, size=count).astype(float)
    weights = rng.integers(0, 3, size=count).astype(float)
    expected = 0.0
    for number in range(15):
        inside = (probabilities >= number / 15) & (probabilities < (number + 1) / 15)
        weight = weights[inside].sum()
        if weight:
            confidence = np.average(probabilities[inside], weights=weights[inside])
            expected += weight * abs(confidence - np.average(truths[inside], weights=weights[inside]))
    (found,) = calibration_error(probabilities, truths, weights_RN=weights[None])
    if weights.sum():
        assert found == pytest.approx(expected / weights.sum())
    else:
        assert np.isnan(found)


def test_calibration_error_agrees_with_the_curve_of_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(3)
    probabilities = rng.random(400)
    truths = (rng.random(400) < probabilities**2).astype(float)
    frequency, confidence = calibration_curve(truths, probabilities, n_bins=15)
    counts = np.histogram(probabilities, bins=np.linspace(0, 1, 16))[0]
    expected = (np.abs(frequency - confidence) * counts[counts > 0]).sum() / len(truths)
    (found,) = calibration_error(probabilities, truths, weights_RN=np.ones((1, 400)))
    assert found == pytest.approx(expected)


def test_ratio_means_and_pools() -> None:
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    means = ratio(np.array([1.0, 0.0, 0.0]), np.ones(3), weights_RN=weights)
    assert means[:2] == pytest.approx([1 / 3, 1.0])
    assert np.isnan(means[2])
    pooled = ratio(np.array([2.0, 4.0, 0.0]), np.array([3.0, 4.0, 5.0]), weights_RN=weights)
    assert pooled[0] == pytest.approx(0.5)
    (perplexity,) = exp_ratio(np.array([3.0, 3.0]), np.array([1.0, 2.0]), weights_RN=np.ones((1, 2)))
    assert perplexity == pytest.approx(np.exp(2.0))


@pytest.mark.parametrize(
    ("said", "truth", "expected"),
    [
        ("The right lung.", "right lung", 1.0),
        ("right lung", "left lung", 0.5),
        ("", "yes", 0.0),
        ("no", "yes", 0.0),
        ("yes yes", "yes", 2 / 3),
    ],
)
def test_token_f1_counts_words_as_squad_does(said: str, truth: str, expected: float) -> None:
    assert token_f1(said, truth) == pytest.approx(expected)


WORDS = st.lists(st.sampled_from(("lung", "left", "right")), min_size=1, max_size=8)


@given(WORDS, WORDS)
def test_token_f1_is_the_f1_of_scikit_learn_over_numbered_words(said: list[str], truth: list[str]) -> None:
    counts, wanted = Counter(said), Counter(truth)
    every = [(word, number) for word in counts | wanted for number in range((counts | wanted)[word])]
    found = [number < counts[word] for word, number in every]
    expected = f1_score([number < wanted[word] for word, number in every], found)
    assert token_f1(" ".join(said), " ".join(truth)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("said", "truth", "expected"),
    [
        # By hand: 2 * longest common subsequence / words of both.
        ("the cat sat on the mat", "the cat lay on a mat", 2 * 4 / 12),
        ("police kill the gunman", "police killed the gunman", 2 * 3 / 8),
        ("the gunman kill police", "police killed the gunman", 2 * 2 / 8),
        ("Colon, biopsy: ADENOCARCINOMA.", "colon biopsy adenocarcinoma", 1.0),
        ("nevus", "melanoma", 0.0),
        ("", "melanoma", 0.0),
        ("melanoma", "?", 0.0),
    ],
)
def test_rouge_l_by_hand(said: str, truth: str, expected: float) -> None:
    assert rouge_l(said, truth) == pytest.approx(expected)


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_rouge_l_is_that_of_all_subsequences(said: list[str], truth: list[str]) -> None:
    def subsequences(words: list[str]) -> set[tuple[str, ...]]:
        return {part for size in range(len(words) + 1) for part in combinations(words, size)}

    longest = max(len(part) for part in subsequences(said) & subsequences(truth))
    words = len(said) + len(truth)
    assert rouge_l(" ".join(said), " ".join(truth)) == pytest.approx(2 * longest / words if words else 0.0)
