"""Answers are read as published, and questions without an image have their own baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from osler.errors import FileFormatError
from osler.evaluate.published import PUBLISHED, final_answer, letter_of, yes_or_no
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import run_set
from osler.evaluate.sets.picture_questions import VQA_RAD, PictureQuestions, same_answer
from osler.evaluate.sets.questions import QUESTION_SETS, read_choices
from osler.evaluate.sets.types import Setting
from tests.evaluate.test_runner import Counting

QUESTION = "Which organ makes bile?\nAnswer Choices: (A) Liver (B) Spleen (C) Lung (D) Skin"


class Knowing(Counting):
    """Answers in the published format: right about the liver, and about pictures only if it sees one."""

    style = PUBLISHED

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        self.seen = [inquiry.question for inquiry in inquiries]
        self.systems = {inquiry.system for inquiry in inquiries}
        return [self.one(inquiry) for inquiry in inquiries]

    def one(self, inquiry: Inquiry) -> str:
        if inquiry.study is None:
            return "thought<unused95>Bile is made by (B)? No. Final Answer: (A) Liver"
        spread = np.ptp(inquiry.study.images()[0].read())
        return "Final Answer: yes" if spread > 10 else "Final Answer: I cannot see it"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Let me think. Final Answer: (B)", "B"),
        ("Final Answer: A\nFinal Answer: **C**", "C"),
        ("B", "B"),
        ("(D) Skin", "D"),
        ("Final Answer: A or B", "A"),
        ("I do not know.", None),
        ("final answer: a", None),
    ],
)
def test_letters_are_read_from_the_final_answer(text: str, expected: str | None) -> None:
    assert letter_of(final_answer(text), letters="ABCD") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Yes.", "yes"), ("No, it is not.", "no"), ("yes and no", None), ("Nothing", None), ("", None)],
)
def test_yes_or_no(text: str, expected: str | None) -> None:
    assert yes_or_no(text) == expected


def test_closed_answers_need_the_same_word() -> None:
    assert same_answer("Yes, there is.", "yes")
    assert not same_answer("no", "Yes")
    assert same_answer("It is the right lung.", "right lung")
    assert not same_answer("left lung", "right lung")


def test_multiple_choice_is_asked_by_the_published_prompt_and_scored_by_letters(tmp_path: Path) -> None:
    lines = [{"id": str(n), "question": QUESTION, "label": ["A" if n < 3 else "B"]} for n in range(4)]
    (tmp_path / "qa").mkdir()
    (tmp_path / "qa" / "medqa.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    one = next(entry for entry in QUESTION_SETS if entry.name == "medqa")
    model = Knowing()
    result = run_set(one, Setting(root=tmp_path, responder=model))
    assert model.seen[0].startswith(QUESTION + "\nYou may write out your argument")
    assert model.systems == {"SYSTEM INSTRUCTION: think silently if needed."}
    found = {entry.measure: entry.systems for entry in measured(result.rows, one.measures, draws=20)}
    assert found["generated"][MODEL].value == 0.75
    assert found["generated"]["chance"].value == 0.25
    assert found["likeliest"][MODEL].value == 0.75  # the first letter is the likeliest of this model


def test_pubmedqa_becomes_three_choices(tmp_path: Path) -> None:
    record = {"1": {"QUESTION": "Does it?", "CONTEXTS": ["One.", "Two."], "final_decision": "maybe"}}
    (tmp_path / "p.json").write_text(json.dumps(record))
    choice = read_choices(tmp_path / "p.json")["1"]
    assert (choice.truth, choice.letters) == ("C", "ABC")
    assert "One.\nTwo." in choice.text
    (tmp_path / "broken.jsonl").write_text('{"question": "x"}')
    with pytest.raises(FileFormatError, match=r"broken\.jsonl holds no questions.*KeyError"):
        read_choices(tmp_path / "broken.jsonl")


def test_vqa_rad_is_better_seen_than_blanked(tmp_path: Path) -> None:
    (tmp_path / "vqa-rad" / "images").mkdir(parents=True)
    entries = []
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 20)).astype(np.uint8)
        Picture.fromarray(pixels).save(tmp_path / "vqa-rad" / "images" / f"{number}.jpg")
        for qid, kind, answer in ((0, "CLOSED", "Yes"), (1, "OPEN", "right lung"), (2, "CLOSED ", "no")):
            entries.append(
                {"qid": f"{number}-{qid}", "image_name": f"{number}.jpg", "question": f"q{qid}?", "answer": answer,
                 "answer_type": kind, "question_type": f"t{qid}"}
            )  # fmt: skip
    (tmp_path / "vqa-rad" / "questions.json").write_text(json.dumps(entries))
    one = PictureQuestions(VQA_RAD)
    result = run_set(one, Setting(root=tmp_path, responder=Knowing(), split="all"))
    found = {(entry.measure, entry.group): entry for entry in measured(result.rows, one.measures, draws=20)}
    closed = found["closed accuracy", "all"].systems
    assert (closed[MODEL].value, closed["blanked"].value, closed["majority"].value) == (0.5, 0.0, 1.0)
    assert found["token F1", "open"].systems["majority"].value == 1.0
    assert found["token F1", "open"].rows == 6
