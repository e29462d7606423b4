"""Phrases by number: articles, capitals, errors, and the writing of many texts at once."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.reports.phrases import EMPTY, PhraseBook, begins_with_vowel_sound


@pytest.mark.parametrize(
    ("text", "vowel"),
    [
        ("effusion", True),
        ("8 mm nodule", True),
        ("80 mm mass", True),
        ("11 mm nodule", True),
        ("18-mm nodule", True),
        ("110 mm mass", False),
        ("1.1 cm nodule", False),
        ("5 mm nodule", False),
        ("RUL nodule", True),
        ("CVC", False),
        ("ET tube", True),
        ("ureteral stone", False),
        ("uterine fibroid", False),
        ("umbilical hernia", True),
        ("NG tube", True),
        ("pleural effusion", False),
        ("", False),
    ],
)
def test_an_stands_before_vowel_sounds(text: str, vowel: bool) -> None:
    assert begins_with_vowel_sound(text) is vowel


def test_texts_are_runs_of_phrases() -> None:
    book = PhraseBook()
    a, b = book.add("There is "), book.add("no.")
    phrases = book.close(slips={})
    written = phrases.write(np.array([a, b, b, a], dtype=np.int32), bounds=np.array([0, 2, 2, 3, 4]))
    assert written.to_pylist() == ["There is no.", "", "no.", "There is "]


def test_no_phrases_are_empty_texts() -> None:
    phrases = PhraseBook().close(slips={})
    assert phrases.write(np.empty(0, dtype=np.int32), bounds=np.zeros(3, dtype=np.int64)).to_pylist() == ["", ""]


def test_a_phrase_knows_its_capitalized_twin_and_its_slip() -> None:
    book = PhraseBook()
    wording = book.add_wording(" there is a ")
    noun = book.add("there is a noun")
    phrases = book.close(slips={"there is": "their is"})
    texts = phrases.texts.to_pylist()
    assert texts[phrases.capital[wording]] == " There is a "
    assert texts[phrases.slip[wording]] == " their is a "
    assert texts[phrases.slip[phrases.capital[wording]]] == " Their is a "
    assert phrases.slip[noun] == noun
    assert phrases.capital[EMPTY] == EMPTY
