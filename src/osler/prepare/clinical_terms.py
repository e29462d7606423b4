"""The words of a question and of record entries, and which of them mean the same.

``clinical_terms.json`` lists what observations are called with their LOINC
codes, and everyday words with the word that records use.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

_WORD = re.compile(r"[a-z0-9]+(?:[-'./][a-z0-9]+)*")
_EMPTY = frozenset(
    "a an and any are as at be been did do does for from had has have he her his i in is it its me my no of on or our "  # noqa: SIM905
    "patient patient's patients she so that the their there they this to was were what when which who with you your "
    "please tell show give".split()
)
_PLAIN = str.maketrans("", "", '()[],;:?!"')


@dataclass(frozen=True, slots=True)
class Terms:
    """What `clinical_terms.json` holds.

    Args:
        observations: Phrase -> LOINC codes.
        words: Everyday phrase -> the phrase of records.
    """

    observations: dict[str, frozenset[str]]
    words: dict[str, str]


@lru_cache(maxsize=1)
def load_terms() -> Terms:
    """Returns the terms."""
    table = json.loads((files("osler.prepare") / "clinical_terms.json").read_text(encoding="utf-8"))
    observations = {name: frozenset(entry["codes"]) for entry in table["observations"] for name in entry["names"]}
    return Terms(observations, dict(table["words"]))


def plain(text: str) -> str:
    """A text in lower case, without brackets and marks, its words one space apart.

    Example:
        >>> plain("Chronic sinusitis (disorder)?")
        'chronic sinusitis disorder'
    """
    return " ".join(_WORD.findall(text.lower().translate(_PLAIN)))


def usual(text: str) -> str:
    """A plain text with everyday words replaced by those of records."""
    shown = f" {plain(text)} "
    for phrase, record in load_terms().words.items():
        shown = shown.replace(f" {phrase} ", f" {record} ")
    return shown.strip()


def stem(word: str) -> str:
    """A word without its plural."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def content_words(text: str) -> frozenset[str]:
    """The words that carry meaning, without plurals."""
    return frozenset(stem(word) for word in usual(text).split() if word not in _EMPTY)


def named_observations(text: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """The observations that a text names, longest name first, each with its LOINC codes.

    Example:
        >>> named_observations("Has the HbA1c fallen?")[0][0]
        'hba1c'
    """
    return _cut_names(text)[0]


def without_names(text: str) -> str:
    """A plain text without the observations that it names."""
    return _cut_names(text)[1]


def _cut_names(text: str) -> tuple[tuple[tuple[str, frozenset[str]], ...], str]:
    rest = f" {plain(text)} "
    found = []
    for phrase, codes in _by_length():
        for written in (phrase, f"{phrase}s"):
            if f" {written} " in rest:
                rest = rest.replace(f" {written} ", " ")
                found.append((phrase, codes))
    return tuple(found), rest.strip()


@lru_cache(maxsize=1)
def _by_length() -> tuple[tuple[str, frozenset[str]], ...]:
    entries = ((plain(name), codes) for name, codes in load_terms().observations.items())
    return tuple(sorted(entries, key=lambda entry: -len(entry[0])))
