"""Words of reports: the same word in any form, ranked by BM25."""

from __future__ import annotations

import math

import pytest

from osler.tasks.search_words import K1, B, TextEntry, best_passage, digest_words, rank, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No pleural effusions; Oedème!", ["no", "pleural", "effusion", "oedeme"]),
        ("masses mass biopsies biopsy", ["mass", "mass", "biopsy", "biopsy"]),
        ("diagnosis thrombus glass nodes", ["diagnosis", "thrombus", "glass", "node"]),
        ("T2-weighted 3.5 mm", ["t2", "weighted", "3", "5", "mm"]),
        ("...", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_digest_tells_nothing_without_its_key() -> None:
    one, other = (digest_words(["effusion"], key=key) for key in (b"a" * 32, b"b" * 32))
    assert set(one) != set(other)
    assert all(b"eff" not in word for word in one)


def test_scores_are_those_of_the_formula() -> None:
    entries = [
        TextEntry(length=10, counts={b"a": 2}),
        TextEntry(length=30, counts={b"b": 1}),
        TextEntry(length=20, counts={}),
    ]
    scores = rank(entries, wanted=[b"a", b"b"], found_in={b"a": 1, b"b": 1})
    weight = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    norm = K1 * (1 - B + B * 10 / 20)
    assert scores[0] == pytest.approx(weight * 2 * (K1 + 1) / (2 + norm))
    assert scores[0] > scores[1] > scores[2] == 0


def test_the_passage_holds_the_words_asked_for() -> None:
    text = "Technique: helical. " * 20 + "There is a small left pleural effusion. " + "Bones are normal. " * 20
    passage = best_passage(text, query="left effusion", width=80)
    assert "left pleural effusion" in passage
    assert len(passage) <= 84
    assert best_passage("short text", query="x") == "short text"
