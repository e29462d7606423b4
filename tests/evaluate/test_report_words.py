"""Words and n-grams as numbers."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from osler.evaluate.report_words import ngrams, read_words

WORDS = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+")


def test_the_same_word_has_one_hash_wherever_it_stands() -> None:
    words = read_words(["Nodule of 1.5 cm. Nodule.", "", "a NODULE, 15 cm"])
    nodule, of, size, cm, again, a, third, fifteen, unit = words.hashes
    assert nodule == again == third
    assert cm == unit
    assert len({nodule, of, size, cm, a, fifteen}) == 6
    assert words.report.tolist() == [0, 0, 0, 0, 0, 2, 2, 2, 2]
    assert words.counts().tolist() == [5, 0, 4]


@given(st.lists(st.text(alphabet="ab1.,- \nZ", max_size=40), min_size=1, max_size=6))
def test_hashes_tell_words_apart_as_strings_do(texts: list[str]) -> None:
    pieces = [[word.lower() for word in re.findall(r"[ab1Z](?:[ab1Z]|(?<=1)[.,](?=1))*", text)] for text in texts]
    words = read_words(texts)
    assert words.counts().tolist() == [len(found) for found in pieces]
    flat = [word.replace(",", ".") for found in pieces for word in found]
    table: dict[str, int] = {}
    for word, value in zip(flat, words.hashes.tolist(), strict=True):
        assert table.setdefault(word, value) == value
    assert len(set(table.values())) == len(table)


def test_a_run_of_words_stays_within_its_report() -> None:
    texts = ["no acute bleed seen here", "no acute", "acute bleed seen here now"]
    hashes, report = ngrams(read_words(texts), length=4)
    assert report.tolist() == [0, 0, 2, 2]
    assert hashes[1] == hashes[2]
    assert len(np.unique(hashes)) == 3


def test_order_of_words_counts() -> None:
    hashes, _ = ngrams(read_words(["right left", "left right"]), length=2)
    assert hashes[0] != hashes[1]
