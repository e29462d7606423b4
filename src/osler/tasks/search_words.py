"""Finding texts by their words: BM25 over reports, without keeping their words.

An index of reports would hold what they say. Here a word is kept as a keyed
digest only, under a key that never leaves the index; what a report says is read
from the report itself when it is found.

Source of the score: Robertson and Zaragoza, The Probabilistic Relevance
Framework: BM25 and Beyond (2009), with k1 = 1.2 and b = 0.75.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

K1, B = 1.2, 0.75
_WORD = re.compile(r"[^\W_]+")
_DIGEST_BYTES = 8


def words_of(text: str) -> list[str]:
    """Splits a text into lower-case words without accents, plurals brought to the singular.

    Example:
        >>> words_of("No pleural effusions; Oedème.")
        ['no', 'pleural', 'effusion', 'oedeme']
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    return [_singular(word) for word in _WORD.findall(plain)]


def digest_words(words: Iterable[str], *, key: bytes) -> Counter[bytes]:
    """Counts words by their keyed digest."""
    return Counter(hashlib.blake2b(word.encode(), digest_size=_DIGEST_BYTES, key=key).digest() for word in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEntry:
    """One page of a report.

    Args:
        length: Words on it.
        counts: How often each wanted word stands on it.
    """

    length: int
    counts: Mapping[bytes, int]


def rank(entries: Sequence[TextEntry], *, wanted: Iterable[bytes], found_in: Mapping[bytes, int]) -> list[float]:
    """Scores entries for the words of a query by BM25.

    Args:
        entries: All pages of the index, those without a wanted word included.
        wanted: Digests of the query's words.
        found_in: In how many pages each of them stands.

    Returns:
        One score an entry, 0 where no word matches.
    """
    total = len(entries)
    mean = sum(entry.length for entry in entries) / total if total else 1.0
    weights = {
        word: math.log(1 + (total - found_in.get(word, 0) + 0.5) / (found_in.get(word, 0) + 0.5)) for word in wanted
    }
    scores = []
    for entry in entries:
        norm = K1 * (1 - B + B * entry.length / max(mean, 1e-9))
        scores.append(
            sum(
                weight * count * (K1 + 1) / (count + norm)
                for word, weight in weights.items()
                if (count := entry.counts.get(word, 0))
            )
        )
    return scores


def best_passage(text: str, *, query: str, width: int = 160) -> str:
    """Cuts out the piece of a text with most words of the query, whole words, at most ``width`` characters."""
    wanted = set(words_of(query))
    flat = " ".join(text.split())
    if len(flat) <= width:
        return flat
    best, best_count = 0, -1
    starts = [0, *(match.end() for match in re.finditer(r"[.;:]\s|\s", flat))]
    for start in starts[:: max(1, len(starts) // 2000)]:
        count = len(wanted & set(words_of(flat[start : start + width])))
        if count > best_count:
            best, best_count = start, count
    piece = flat[best : best + width]
    if best + width < len(flat):
        piece = piece[: piece.rfind(" ")] if " " in piece else piece
        piece += " …"
    return f"… {piece}" if best else piece


def _singular(word: str) -> str:
    """Takes the plural off, by Harman's S stemmer (1991) and the ``sses`` of "masses"."""
    if len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("aes", "ees", "oes")):
        return word[:-2] if word.endswith("oes") else word
    return word[:-1] if word.endswith("s") else word
