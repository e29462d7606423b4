"""Text-only questions: the shipped facts are well-formed, and records give the right value."""

from __future__ import annotations

import numpy as np

from osler.train.text_questions import TextBook, open_text_book
from tests.shared_data import SHARED_DATA, needs_shared_data


def test_every_fact_is_a_sentence() -> None:
    book = open_text_book(None)
    assert len(book.facts) > 150
    assert all(term and sentence.endswith(".") for term, sentence in book.facts)
    assert all(questions and answer.endswith(".") for questions, answer in book.about)


def test_a_question_on_a_dose_gets_no_dose() -> None:
    answers = {q: a for questions, a in open_text_book(None).about for q in questions}
    assert "research software" in answers["How much ibuprofen can I take?"]


@needs_shared_data
def test_records_are_answered_from_their_lines() -> None:
    full = open_text_book(SHARED_DATA)
    book = TextBook(facts=full.facts, about=full.about, observations=full.observations)
    rng = np.random.default_rng(0)
    records = [x for x in (book.draw(rng) for _ in range(400)) if "\n" in x.question]
    assert len(records) > 20
    for exchange in records:
        name, _, rest = exchange.answer.removesuffix(".").partition(" was ")
        value, _, date = rest.rpartition(" on ")
        assert f"{date} {name}: {value}" in exchange.question
