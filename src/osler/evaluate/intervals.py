"""Confidence intervals by resampling patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_interval(
    right: Sequence[bool], *, patients: Sequence[str], draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Returns the ends of the interval of a share, patients drawn with replacement.

    Args:
        right: One entry a question. patients: Whose it was.
        draws: Resamples. level: Coverage.
    """
    names = sorted(set(patients))
    place = {name: i for i, name in enumerate(names)}
    hits, counts = np.zeros(len(names)), np.zeros(len(names))
    for ok, name in zip(right, patients, strict=True):
        hits[place[name]] += ok
        counts[place[name]] += 1
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(names), size=(draws, len(names)))
    shares = hits[chosen].sum(1) / counts[chosen].sum(1)
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
