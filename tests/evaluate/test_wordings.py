"""Five hundred different wordings exist."""

from __future__ import annotations

from osler.evaluate.mini_quality import WORDINGS
from osler.evaluate.wordings import questions


def test_there_are_enough_and_all_differ() -> None:
    texts = [wording.text for wording in questions()]
    assert len(texts) >= WORDINGS
    assert len(set(texts)) == len(texts)


def test_each_kind_is_among_the_first_five_hundred() -> None:
    assert {wording.asked for wording in questions()[:WORDINGS]} == {"modality", "region", "plane", "all", "text"}
