"""SLAKE in its publisher's layout: English questions, closed ones by accuracy, all by token F1."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from osler.evaluate.published import PUBLISHED
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import chosen_sets, run_set
from osler.evaluate.sets.types import Setting
from tests.evaluate.sets.question_folders import write_slake
from tests.evaluate.test_runner import Counting

ON_PICTURES = (
    "{question} You may write out your argument before stating your final, very short, definitive, and concise answer "
    "X (no more than a few words or the letter corresponding to your answer choice if the question is multiple choice) "
    'in the format "Final Answer: X":'
)
SAID = {"q0?": "Final Answer: yes", "q1?": "It lies there. Final Answer: the upper right lung"}


class Reading(Counting):
    """Answers both questions of a picture; keeps what it was asked."""

    style = PUBLISHED

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        self.asked = getattr(self, "asked", []) + list(inquiries)
        return [SAID[inquiry.question[:3]] for inquiry in inquiries]


def test_slake_is_asked_in_english_and_scored_as_published(tmp_path: Path) -> None:
    write_slake(tmp_path)
    (one,) = chosen_sets(("slake",))
    model = Reading()
    result = run_set(one, Setting(root=tmp_path, responder=model, split="all"))
    assert {entry.question for entry in model.asked} == {ON_PICTURES.format(question=f"q{n}?") for n in (0, 1)}
    assert {entry.system for entry in model.asked} == {""}
    found = {(entry.measure, entry.group): entry.systems[MODEL].value for entry in measured(result.rows, one.measures)}
    assert found["closed accuracy", "all"] == found["yes/no accuracy", "all"] == 1.0
    # "upper right lung" against "Right Lung": both words of the truth, two of three that were said.
    assert found["token F1", "all"] == pytest.approx((1.0 + 2 / (1 / 1.0 + 1 / (2 / 3))) / 2)
    failed = {entry.case: entry.why for entry in result.failed}
    assert set(failed) == {"xmlab2/source.jpg", "record 10"}
    assert "KeyError: 'img_name'" in failed["record 10"]


def test_without_pictures_or_english_questions_slake_says_so(tmp_path: Path) -> None:
    (one,) = chosen_sets(("slake",))
    absent = run_set(one, Setting(root=tmp_path, responder=Reading()))
    assert (absent.state, absent.why) == ("no data", "not found: slake/test.json, slake/imgs")
    write_slake(tmp_path)
    (tmp_path / "slake/imgs/xmlab0/source.jpg").unlink()
    fewer = run_set(one, Setting(root=tmp_path, responder=Reading(), split="all"))
    assert fewer.notes[-1] == "1 of 3 pictures are not there."
    for content in ("{}", "[", "[]", json.dumps([{"q_lang": "zh"}])):
        (tmp_path / "slake/test.json").write_text(content)
        broken = run_set(one, Setting(root=tmp_path, responder=Reading()))
        assert broken.state == "failed"
        assert "test.json cannot be read" in broken.why
