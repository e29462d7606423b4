"""Patterns with slots, filled for many rows at once."""

from __future__ import annotations

import numpy as np

from osler.synth.reports.patterns import compile_patterns, fill
from osler.synth.reports.phrases import EMPTY, PhraseBook


def test_rows_of_several_patterns_are_filled_together() -> None:
    book = PhraseBook()
    patterns = compile_patterns(
        {"size": ["{^}{NOUN} measures {size}.", "{size} {noun}."], "none": ["No {noun}."]},
        book=book,
        macros={"NOUN": "the {noun}"},
    )
    nouns, sizes = book.add_all(["nodule", "cyst"]), book.add_all(["8 mm", ""])
    phrases = book.close(slips={})
    rows = np.array([0, 1, 0, 1])
    slots = {"noun": lambda at: nouns[rows[at]], "size": lambda at: sizes[rows[at]]}
    start, count = patterns.ranges(["size", "none"])
    assert start.tolist() == [0, 2]
    assert count.tolist() == [2, 1]
    stream = fill(patterns, chosen=np.array([0, 1, 2, 1]), slots=slots, phrases=phrases)
    assert EMPTY not in stream.numbers
    written = phrases.write(stream.numbers, bounds=stream.bounds)
    assert written.to_pylist() == ["The nodule measures 8 mm.", " cyst.", "No nodule.", " cyst."]
    taken_together = stream.grouped(np.array([0, 2, 4]))
    assert phrases.write(taken_together.numbers, bounds=taken_together.bounds).to_pylist() == [
        "The nodule measures 8 mm. cyst.",
        "No nodule. cyst.",
    ]


def test_braces_of_json_are_no_slots() -> None:
    book = PhraseBook()
    patterns = compile_patterns({"row": ['{"key":"{key}"}']}, book=book)
    key = book.add("cyst")
    phrases = book.close(slips={})
    stream = fill(patterns, chosen=np.zeros(1, dtype=int), slots={"key": lambda at: np.full(1, key)}, phrases=phrases)
    assert phrases.write(stream.numbers, bounds=stream.bounds).to_pylist() == ['{"key":"cyst"}']
