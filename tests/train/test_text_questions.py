"""Text-only questions: the shipped facts are well-formed, and records give the right value."""

from __future__ import annotations

import numpy as np

from osler.evaluate.answer_reader import is_echo
from osler.evaluate.wordings import CORES
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


def test_text_questions_never_meet_the_unseen_wordings() -> None:
    book = open_text_book(None)
    asked = [term[1:] for term, _ in book.facts if term.startswith("?")]
    asked += [question for questions, _ in book.about for question in questions]
    assert len(asked) > 350
    assert not {text.lower().rstrip("?.") for text in asked} & {text.lower().rstrip("?.") for text in CORES["text"]}


def test_no_answer_says_only_what_its_question_said() -> None:
    reasons = [(term[1:], sentence) for term, sentence in open_text_book(None).facts if term.startswith("?Why")]
    assert len(reasons) > 150
    assert not [pair for pair in reasons if is_echo(pair[1], question=pair[0])]


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
