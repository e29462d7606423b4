"""Sentence patterns, and how many rows are filled in at once.

A pattern is a text with slots: ``"There {is} {size} {noun}{in}."``. Words between
slots are phrases; a slot is filled by a function that gets row numbers and returns
phrase numbers, so each slot is computed for all rows of all patterns in one step.
``{^}`` makes the next letter a capital.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from osler.synth.reports.phrases import CAPITAL, EMPTY, PhraseBook, Phrases

Slot = Callable[[np.ndarray], np.ndarray]
"""From row numbers (n,) to phrase numbers (n,)."""

_SLOT = re.compile(r"\{([a-zA-Z_^][a-zA-Z_0-9-]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patterns:
    """Compiled patterns of one kind of row.

    Args:
        slots: Names of the slots; slot ``k`` stands in ``codes`` as ``-1 - k``.
        codes: Phrase numbers and slots of all patterns, one after another.
        start: (patterns,) where each begins. count: Its length.
        groups: Name -> (first pattern, number of patterns): those one may choose from.
    """

    slots: tuple[str, ...]
    codes: np.ndarray
    start: np.ndarray
    count: np.ndarray
    groups: Mapping[str, tuple[int, int]]

    def ranges(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """First pattern and number of patterns of some groups, to be indexed by the group's place in ``names``."""
        chosen = [self.groups[name] for name in names]
        return np.array([first for first, _ in chosen]), np.array([count for _, count in chosen])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """Phrase numbers of many rows, one after another; ``bounds`` (rows + 1,) says where each begins."""

    numbers: np.ndarray
    bounds: np.ndarray

    def grouped(self, row_bounds: np.ndarray) -> Stream:
        """The same phrases with several neighboring rows taken together."""
        return Stream(numbers=self.numbers, bounds=self.bounds[row_bounds])


def compile_patterns(
    groups: Mapping[str, Sequence[str]], *, book: PhraseBook, macros: Mapping[str, str] | None = None
) -> Patterns:
    """Compiles groups of patterns.

    Args:
        groups: Name -> patterns.
        book: Gets the words between slots.
        macros: Slot -> text with slots that stands for it.
    """
    slots: dict[str, int] = {}
    codes: list[int] = []
    start: list[int] = []
    places: dict[str, tuple[int, int]] = {}
    for name, patterns in groups.items():
        places[name] = (len(start), len(patterns))
        for pattern in patterns:
            start.append(len(codes))
            codes += _codes(_expanded(pattern, macros=macros or {}), slots=slots, book=book)
    bounds = np.array([*start, len(codes)], dtype=np.int64)
    return Patterns(
        slots=tuple(slots),
        codes=np.array(codes, dtype=np.int32),
        start=bounds[:-1],
        count=np.diff(bounds),
        groups=places,
    )


def fill(patterns: Patterns, *, chosen: np.ndarray, slots: Mapping[str, Slot], phrases: Phrases) -> Stream:
    """Fills in one pattern a row.

    Args:
        chosen: (rows,) number of the pattern of each row.
        slots: How each slot of these patterns is filled.
    """
    count = patterns.count[chosen]
    ends = np.cumsum(count)
    shift = patterns.start[chosen] - (ends - count)
    row = np.repeat(np.arange(chosen.size), count)
    numbers = patterns.codes[np.arange(row.size) + shift[row]]
    for k, name in enumerate(patterns.slots):
        at = np.flatnonzero(numbers == -1 - k)
        if at.size:
            numbers[at] = slots[name](row[at])
    keep = numbers != EMPTY
    kept = np.concatenate([[0], np.cumsum(keep)])
    numbers = numbers[keep]
    capital = np.flatnonzero(numbers[:-1] == CAPITAL) + 1
    numbers[capital] = phrases.capital[numbers[capital]]
    return Stream(numbers=numbers, bounds=kept[np.concatenate([[0], ends])])


def _expanded(pattern: str, *, macros: Mapping[str, str]) -> str:
    while (expanded := _SLOT.sub(lambda found: macros.get(found[1], found[0]), pattern)) != pattern:
        pattern = expanded
    return pattern


def _codes(pattern: str, *, slots: dict[str, int], book: PhraseBook) -> list[int]:
    codes = []
    for i, part in enumerate(_SLOT.split(pattern)):
        if i % 2 == 0:
            codes += [book.add_wording(part)] if part else []
        elif part == "^":
            codes.append(CAPITAL)
        else:
            codes.append(-1 - slots.setdefault(part, len(slots)))
    return codes
