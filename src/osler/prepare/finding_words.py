"""What a findings head reads, in words, for a decoder that was trained to be told it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

_INTRODUCTION = "The findings head reads:"
USUAL_LEVELS = (0.03, 0.1, 0.25, 0.5)
"""Narrow near 0, because most findings are rare."""
_WORDS = ("no", "hardly any", "perhaps", "probably", "surely")


def finding_words(shares: Mapping[str, float], *, levels: Mapping[str, Sequence[float]] | None = None) -> str:
    """Says of each finding how strongly a head sees it, in five degrees: small decoders read words, not numbers.

    What degrees mean for an answer is learned.

    Args:
        shares: Name of a finding to what the head gives it, 0 to 1.
        levels: Name to the four shares between the degrees, where they are not the usual ones.

    Returns:
        One line; empty where there is no finding.
    """
    if not shares:
        return ""
    given = levels or {}
    told = (f"{name}: {_WORDS[bisect_right(given.get(name, USUAL_LEVELS), x)]}" for name, x in shares.items())
    return f"{_INTRODUCTION} {', '.join(told)}."
