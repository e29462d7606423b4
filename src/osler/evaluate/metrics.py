"""Metrics of weighted rows, many resamplings at once: the ground under every interval.

Each takes two numbers a row and a matrix of weights, and gives one value for each
row of weights. A weight says how often a row was drawn: a row of ones gives the
metric itself, a row of counts that of a bootstrap resample. Checked against
scikit-learn in the tests.

Legend: N rows, R resamplings, G groups of rows with equal score, K bins.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

ECE_BINS = 15


def ratio(numerators_N: np.ndarray, denominators_N: np.ndarray, *, weights_RN: np.ndarray) -> np.ndarray:
    """Divides two sums: a mean where all denominators are 1, a pooled F1 for ``2 * right`` over ``truth + read``.

    Returns:
        (R,); NaN where the denominators add up to nothing.
    """
    return _divide(weights_RN @ numerators_N, weights_RN @ denominators_N)


def exp_ratio(numerators_N: np.ndarray, denominators_N: np.ndarray, *, weights_RN: np.ndarray) -> np.ndarray:
    """Raises e to a ratio of sums: perplexity of summed negative log-likelihoods over tokens, (R,)."""
    return np.exp(ratio(numerators_N, denominators_N, weights_RN=weights_RN))


def auroc(scores_N: np.ndarray, truths_N: np.ndarray, *, weights_RN: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: how often a positive row has the higher score, ties counting half.

    Args:
        scores_N: Any numbers. truths_N: 1 for positive, 0 for negative rows.
        weights_RN: See above.

    Returns:
        (R,); NaN where one class is not there.
    """
    order = np.argsort(scores_N, kind="stable")
    sorted_N, positive_N = scores_N[order], truths_N[order] > 0
    starts_G = np.flatnonzero(np.r_[True, np.diff(sorted_N) > 0])
    weights = weights_RN[:, order]
    positives_RG = np.add.reduceat(weights * positive_N, starts_G, axis=1)
    negatives_RG = np.add.reduceat(weights * ~positive_N, starts_G, axis=1)
    below_RG = np.cumsum(negatives_RG, axis=1) - negatives_RG
    wins_R = (positives_RG * (below_RG + 0.5 * negatives_RG)).sum(axis=1)
    return _divide(wins_R, positives_RG.sum(axis=1) * negatives_RG.sum(axis=1))


def calibration_error(
    probabilities_N: np.ndarray, truths_N: np.ndarray, *, weights_RN: np.ndarray, bins: int = ECE_BINS
) -> np.ndarray:
    """Expected calibration error: mean distance of probability and frequency in bins of equal width.

    Source: Naeini et al., AAAI 2015, for the probability of the positive class.

    Returns:
        (R,), 0 for perfect.
    """
    bin_N = np.clip((probabilities_N * bins).astype(int), 0, bins - 1)
    members_NK = np.eye(bins)[bin_N]
    gaps_RK = weights_RN @ (members_NK * (probabilities_N - truths_N)[:, None])
    return _divide(np.abs(gaps_RK).sum(axis=1), weights_RN.sum(axis=1))


def token_f1(said: str, truth: str) -> float:
    """Harmonic mean of precision and recall of words, as SQuAD counts them (arXiv 1606.05250)."""
    words, wanted = _words(said), _words(truth)
    if not words or not wanted:
        return float(words == wanted)
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted))


def rouge_l(said: str, truth: str) -> float:
    """F-measure of the longest common subsequence of words (ROUGE-L; Lin, ACL 2004).

    Words are lower-case runs of letters and digits, not stemmed, precision and recall weigh the same, as
    in the package ``rouge_score``.
    """
    words, wanted = (re.findall(r"[a-z0-9]+", text.lower()) for text in (said, truth))
    if not words or not wanted:
        return 0.0
    lengths = [0] * (len(wanted) + 1)  # of the common subsequence with each beginning of the truth
    for word in words:
        before = 0
        for place, other in enumerate(wanted, start=1):
            here = before + 1 if word == other else max(lengths[place], lengths[place - 1])
            before, lengths[place] = lengths[place], here
    return 2 * lengths[-1] / (len(words) + len(wanted))


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in ("a", "an", "the")]


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
