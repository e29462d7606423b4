"""Words of many reports as numbers: the ground under n-grams, shingles and vocabularies.

A word is a run of letters and digits in lower case; a point or comma between two digits
belongs to it (``1.5`` is one word). Each becomes a 64-bit hash, computed for a whole
batch at once: with prefix sums of byte times power, a word's hash is one difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.synth.draws import mix

_BASE = 0x9E3779B97F4A7C15 | 1
_INVERSE = pow(_BASE, -1, 2**64)
_ODD = np.array(
    [0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB,
     0x8EBC6AF09C88C6E3, 0x589965CC75374CC3, 0x1D8E4E27C47D124F], dtype=np.uint64,
)  # fmt: skip
_DIGITS = np.zeros(256, dtype=bool)
_DIGITS[ord("0") : ord("9") + 1] = True


def _lower_case() -> np.ndarray:
    """What each byte counts as in a word; 0 where it ends one. Bytes of other scripts count."""
    table = np.zeros(256, dtype=np.uint8)
    for code in range(256):
        character = chr(code)
        if code >= 128 or character.isalnum():
            table[code] = ord(character.lower()) if code < 128 else code
    return table


_LOWER = _lower_case()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Words:
    """The words of several reports, one after the other.

    Args:
        hashes: (W,) uint64, one a word.
        report: (W,) int64, the report that each word stands in, ascending.
        reports: Number of reports, those without a word included.
    """

    hashes: np.ndarray
    report: np.ndarray
    reports: int

    def counts(self) -> np.ndarray:
        """Words of each report, (reports,) int64."""
        return np.bincount(self.report, minlength=self.reports)


def read_words(texts: Sequence[str]) -> Words:
    """Splits texts into words and hashes each.

    Args:
        texts: A batch that fits memory many times over; some thousands of reports are best.
    """
    encoded = [text.encode("utf-8", "replace") for text in texts]
    data = np.frombuffer(b"\n".join(encoded) + b"\n", dtype=np.uint8)
    ends = np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)) + 1)
    lower = _LOWER[data]
    digits = _DIGITS[data]
    marks = np.flatnonzero((data == ord(".")) | (data == ord(",")))
    marks = marks[(marks > 0) & (marks < len(data) - 1)]
    inner = marks[digits[marks - 1] & digits[marks + 1]]
    lower[inner] = ord(".")
    edges = np.flatnonzero(np.diff((lower > 0).astype(np.int8), prepend=0, append=0))
    first, past = edges[::2], edges[1::2]
    powers = _powers(_BASE, len(data) + 1)
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.cumsum(lower.astype(np.uint64) * powers[:-1], out=sums[1:])
    hashes = (sums[past] - sums[first]) * _powers(_INVERSE, len(data) + 1)[first]
    return Words(
        hashes=mix(hashes + (past - first).astype(np.uint64) * _ODD[0]),
        report=np.searchsorted(ends, first, side="right"),
        reports=len(encoded),
    )


def ngrams(words: Words, *, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes every run of ``length`` words within a report.

    Args:
        words: Of a batch.
        length: 1 to 8 words.

    Returns:
        Hashes (uint64) and the report of each, in the order of the text.
    """
    count = max(len(words.hashes) - length + 1, 0)
    total = np.zeros(count, dtype=np.uint64)
    for place in range(length):
        total += words.hashes[place : place + count] * _ODD[place]
    whole = words.report[:count] == words.report[length - 1 : length - 1 + count]
    return mix(total[whole]), words.report[:count][whole]


def _powers(base: int, count: int) -> np.ndarray:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)
