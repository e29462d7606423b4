"""What a findings head reads, in words, for a decoder that was trained to be told it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

_INTRODUCTION = "The findings head reads:"
_LEVELS = (0.03, 0.1, 0.25, 0.5)
_WORDS = ("no", "hardly any", "perhaps", "probably", "surely")


def finding_words(shares: Mapping[str, float]) -> str:
    """Says of each finding how strongly a head sees it, in five degrees: small decoders read words, not numbers.

    Degrees are narrow near 0, because most findings are rare; what they mean for an answer is learned.

    Args:
        shares: Name of a finding to what the head gives it, 0 to 1.

    Returns:
        One line; empty where there is no finding.
    """
    if not shares:
        return ""
    told = (f"{name}: {_WORDS[bisect_right(_LEVELS, share)]}" for name, share in shares.items())
    return f"{_INTRODUCTION} {', '.join(told)}."
