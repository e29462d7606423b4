"""EHRQA: records are shown, answers of three kinds are judged, and the figure is a mean over categories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sklearn.metrics import accuracy_score

from osler.evaluate.published import PLAIN, PUBLISHED
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import chosen_sets, run_set
from osler.evaluate.sets.record_answers import RecordAnswers, RecordQuestion
from osler.evaluate.sets.types import Setting
from tests.evaluate.sets.question_folders import write_ehrqa, write_lines
from tests.evaluate.test_runner import Counting


class Clerk(Counting):
    """Answers from the record where it sees one."""

    def __init__(self, *, published: bool = True) -> None:
        super().__init__()
        self.style = PUBLISHED if published else PLAIN
        self.asked: list[Inquiry] = []

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        self.asked += inquiries
        return [self._one(f"{inquiry.record} {inquiry.question}") for inquiry in inquiries]

    def _one(self, text: str) -> str:
        for key, answer in (("Aspirin since", "(B) Aspirin"), ("13.4", "13.4 g/dL"), ("Healthy", "No."), ("", "Yes.")):
            if key in text:
                return answer
        raise AssertionError


def test_accuracy_is_the_mean_over_categories(tmp_path: Path) -> None:
    write_ehrqa(tmp_path)
    one = RecordAnswers()
    model = Clerk()
    result = run_set(one, Setting(root=tmp_path, responder=model))
    found = {entry.part: entry for entry in measured(result.rows, one.measures, draws=20)}
    assert found[""].systems[MODEL].value == 1.0
    # Without the record it says yes to all: right in one of two questions on conditions, and in no other category.
    conditions = accuracy_score(["yes", "no"], ["yes", "yes"])
    assert found[""].systems["without record"].value == pytest.approx((conditions + 0 + 0) / 3)
    assert found["condition"].systems["majority"].value == 0.0  # the other patient's answer is the other one
    assert found["condition"].systems["chance"].value == 0.5
    assert "chance" not in found["value"].systems
    assert found[""].patients == 2
    assert [entry.case for entry in result.failed] == ["record 5"]


def test_the_prompt_has_the_published_words_and_the_record(tmp_path: Path) -> None:
    write_ehrqa(tmp_path)
    model = Clerk()
    run_set(RecordAnswers(), Setting(root=tmp_path, responder=model))
    asked = next(one.question for one in model.asked if "Aspirin since" in one.question)
    assert asked == (
        "You are a medical assistant specializing in answer questions about a patient electronic health records (EHR). "
        "You will be provided with a patient's full EHR data and a question for you to answer.\n"
        "======= Patient EHR Data =======\nAspirin since 2019.\n======= End Patient EHR Data =======\n"
        "Based on the data provided in the patient's EHR, please answer concisely with no explanation. If the question "
        'is a multiple choice question, answer with only the letter of the correct choice, such as "B". If the '
        "question is a free response question, answer with the correct data. In either case, remember to not provide "
        "an explanation.\nQuestion: Which?\nAnswer choices: (A) Insulin (B) Aspirin"
    )
    small = Clerk(published=False)
    run_set(RecordAnswers(), Setting(root=tmp_path, responder=small))
    assert {one.question for one in small.asked if one.record == "Aspirin since 2019."} == {
        "Which?\nAnswer choices: (A) Insulin (B) Aspirin"
    }
    assert {one.system for one in (*model.asked, *small.asked)} == {""}


@pytest.mark.parametrize(
    ("answer", "options", "said", "right"),
    [
        ("B", {"A": "Insulin", "B": "Aspirin"}, "B", True),
        ("B", {"A": "Insulin", "B": "Aspirin"}, "aspirin", True),
        ("B", {"A": "Insulin", "B": "Aspirin"}, "Insulin", False),
        ("no", {}, "No, it was stopped", True),
        ("no", {}, "Yes", False),
        ("No.", {}, "No, it was stopped", True),
        ("No known allergies", {}, "No penicillin, peanut and latex allergy", False),
        ("No known allergies", {}, "The patient has no known allergies.", True),
        ("Yes, since 2019", {}, "Yes", False),
        ("2020-03-05", {}, "On 2020-03-05 .", True),
        ("2020-03-05", {}, "2020-05-03", False),
        ("13.4 g/dL", {}, "It was 13.4 g/dl.", True),
        ("3.4", {}, "13.4", False),
    ],
)
def test_answers_are_right_by_letter_word_or_value(
    answer: str, options: dict[str, str], said: str, right: bool
) -> None:
    question = RecordQuestion(
        question="?", answer=answer, options=options, record="", record_file=None, category="all", patient=""
    )
    assert question.is_right(said) is right


def test_an_answer_with_a_no_in_it_has_no_chance_of_one_half(tmp_path: Path) -> None:
    record = {"record": "Healthy.", "question": "Allergies?", "answer": "No known allergies"}
    write_lines(tmp_path / "ehrqa/questions.jsonl", [record])
    (row,) = run_set(RecordAnswers(), Setting(root=tmp_path, responder=Clerk())).rows
    assert row.values["right"][MODEL] == (0.0, 1.0)  # it says "No."
    assert "chance" not in row.values["right"]


def test_what_is_absent_or_broken_is_said(tmp_path: Path) -> None:
    (one,) = chosen_sets(("ehrqa",))
    absent = run_set(one, Setting(root=tmp_path, responder=Clerk()))
    assert (absent.state, absent.why) == ("no data", "not found: ehrqa/questions.jsonl")
    write_ehrqa(tmp_path)
    (tmp_path / "ehrqa/records/p2.txt").write_bytes(b"\xff\xff")
    result = run_set(one, Setting(root=tmp_path, responder=Clerk()))
    assert {entry.case for entry in result.failed} == {"record 5", "w"}
    write_lines(tmp_path / "ehrqa/questions.jsonl", [{"question": "?", "answer": "x", "record_file": "../../x"}])
    broken = run_set(one, Setting(root=tmp_path, responder=Clerk()))
    assert broken.state == "failed"
    assert "does not lie in records" in broken.why
