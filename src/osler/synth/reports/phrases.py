"""Phrases by number: text is put together as numbers, and turned into letters once.

A report is a run of phrase numbers. All reports of a batch lie one after another, so
one `pyarrow` take writes all their letters, and the offsets of the reports' ends make
it an array of whole reports: no string is ever joined in Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

EMPTY = 0
CAPITAL = 1  # writes nothing; the phrase after it begins a sentence

_VOWELS = frozenset("aeio")
_LETTERS_LIKE_VOWELS = frozenset("AEFHILMNORSX8")
_SOUNDS_LIKE_CONSONANT = re.compile(r"one\b|eu")
_SOUNDS_LIKE_VOWEL = re.compile(r"(?:11|18)\b|u(?!ni|re|ro|s|t)")


@dataclass(slots=True, kw_only=True)
class PhraseBook:
    """Phrases as they are collected; the same text has the same number."""

    texts: list[str] = field(default_factory=lambda: ["", ""])
    numbers: dict[str, int] = field(default_factory=lambda: {"": EMPTY})
    wording: set[int] = field(default_factory=set)

    def add(self, text: str) -> int:
        """Returns the number of a phrase."""
        if text not in self.numbers:
            self.numbers[text] = len(self.texts)
            self.texts.append(text)
        return self.numbers[text]

    def add_all(self, texts: Iterable[str]) -> np.ndarray:
        """Returns the numbers of phrases, int32."""
        return np.array([self.add(text) for text in texts], dtype=np.int32)

    def add_wording(self, text: str) -> int:
        """Adds words between the facts: a dictation error may befall them."""
        number = self.add(text)
        self.wording.add(number)
        return number

    def close(self, *, slips: Mapping[str, str]) -> Phrases:
        """Ends the collection.

        Args:
            slips: Dictation errors, for example ``{"measures": "measurs"}``, of whole words.
        """
        slipped = {number: self.add(_slip(self.texts[number], slips=slips)) for number in sorted(self.wording)}
        capital = self.add_all(_capitalized(text) for text in list(self.texts))
        capital[CAPITAL] = CAPITAL
        slip = np.arange(len(self.texts), dtype=np.int32)
        slip[list(slipped)] = list(slipped.values())
        # A phrase may stand capitalized: its error is the capitalized error.
        for number, wrong in slipped.items():
            if wrong != number:
                slip[capital[number]] = capital[wrong] if capital[number] != number else wrong
        padded = np.arange(len(self.texts), dtype=np.int32)
        padded[: capital.size] = capital
        return Phrases(
            texts=pa.array(self.texts, pa.string()),
            capital=padded,
            slip=slip,
            vowel=np.array([begins_with_vowel_sound(text) for text in self.texts]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phrases:
    """All phrases, by number.

    Args:
        texts: Their letters.
        capital: Number of the same phrase at the start of a sentence.
        slip: Number of the same phrase with a dictation error; its own if there is none.
        vowel: Whether "an" stands before it.
    """

    texts: pa.StringArray
    capital: np.ndarray
    slip: np.ndarray
    vowel: np.ndarray

    def write(self, numbers: np.ndarray, *, bounds: np.ndarray) -> pa.StringArray:
        """Writes runs of phrases.

        Args:
            numbers: (n,) phrase numbers of all texts, one after another.
            bounds: (texts + 1,) where each text begins, and the last ends.
        """
        pieces = self.texts.take(pa.array(numbers, pa.int32()))
        _, offsets, letters = pieces.buffers()
        ends = np.frombuffer(offsets, np.int32, count=numbers.size + 1) if numbers.size else np.zeros(1, np.int32)
        return pa.StringArray.from_buffers(
            len(bounds) - 1, pa.py_buffer(np.ascontiguousarray(ends[bounds])), letters or pa.py_buffer(b"")
        )


def begins_with_vowel_sound(text: str) -> bool:
    """Whether "an" and not "a" stands before a text: "an effusion", "an 8 mm nodule", "an RUL nodule", "a ureter"."""
    word = text.lstrip().split(" ")[0].split("-")[0]
    if not word or _SOUNDS_LIKE_CONSONANT.match(word):
        return False
    if _SOUNDS_LIKE_VOWEL.match(word) or word[0] == "8":
        return True
    if len(word) > 1 and word.isupper():
        return word[0] in _LETTERS_LIKE_VOWELS
    return word[0] in _VOWELS or word[0] in "AEIO"


def _capitalized(text: str) -> str:
    start = len(text) - len(text.lstrip())
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def _slip(text: str, *, slips: Mapping[str, str]) -> str:
    """The text with the first word that has an error spelled so."""
    for match in re.finditer(r"[a-z]+(?: [a-z]+)?|[a-z]+", text):
        for words in (match.group(), match.group().split(" ")[0]):
            if words in slips:
                return text[: match.start()] + slips[words] + text[match.start() + len(words) :]
    return text
