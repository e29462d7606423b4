"""Multiple-choice benchmarks are read in their publishers' layouts and asked in the words of the report."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from sklearn.metrics import accuracy_score

from osler.engine.session import Session
from osler.errors import FileFormatError
from osler.evaluate.evaluation import evaluate_sets
from osler.evaluate.evaluation_text import evaluation_markdown
from osler.evaluate.published import MEDGEMMA_15_4B, PUBLISHED, letter_of
from osler.evaluate.responder import Inquiry, OslerResponder
from osler.evaluate.rows import MODEL, Measured, measured
from osler.evaluate.runner import SetResult, chosen_sets, run_set
from osler.evaluate.sets import GROUPS, laboratory_reports
from osler.evaluate.sets.choice_files import (
    DERMATOLOGY_CHOICES,
    Choice,
    read_afrimed,
    read_choices,
    read_mmlu_pro,
    read_pictured,
)
from osler.evaluate.sets.discharge_notes import read_ehrnoteqa
from osler.evaluate.sets.types import EvaluationSet, Setting
from osler.weights import Checkpoint
from osler.weights.skills import Skill
from tests.engine.conftest import checkpoint, config, model, tokenizer
from tests.evaluate.sets.question_folders import (
    MMLU_PRO,
    write_afrimed,
    write_ehrnoteqa,
    write_everything,
    write_eyepacs,
    write_lines,
    write_medxpertqa,
    write_pictured,
)
from tests.evaluate.test_runner import Counting

__all__ = ["checkpoint", "config", "model", "tokenizer"]

THINK = "SYSTEM INSTRUCTION: think silently if needed."
TEXT = (
    "{question}\nYou may write out your argument before stating your final, very short, definitive, and concise answer "
    "(no more than a few words or the letter corresponding to your answer choice if the question is multiple choice) X "
    'in the format "Final Answer: X":'
)
DIAGNOSIS = (
    '{question} You must choose the most likely diagnosis and respond with "The most likely diagnosis is:" followed by '
    "your choice letter."
)
STEPS = (
    "{question} Think step by step through each of the multiple choice options. You MUST end your response with 'Final "
    "Answer:' followed by only the letter corresponding to the correct answer enclosed in parentheses)."
)
EYEPACS = (
    "Given this fundus image, determine the most likely diabetic retinopathy (DR) stage present, even if you are "
    "unsure:   A: No DR   B: mild DR   C: moderate DR   D: severe DR   E: proliferative DR   You must choose the most "
    'likely diagnosis and respond with "The most likely diagnosis is:" followed by your choice letter.'
)
EHRNOTEQA = (
    "BEGIN_INSTRUCTIONS   Given the following discharge note for a patient, answer the question by only picking one of "
    'the A, B, C, D, E options. Each discharge note starts with "DISCHARGE?:", the question starts with "QUESTION:" '
    'and the choices with "CHOICE_?:" where? is a single character. To answer, describe your thought process for each '
    'choice; finish your answer with "Final Answer: (?)" where? is a single character indicating the correct choice.   '
    "END_INSTRUCTIONS      {discharge_note}      QUESTION:   Why?   the choices are:   CHOICE_A: answer A   CHOICE_B: "
    "answer B   CHOICE_C: answer C   CHOICE_D: answer D   CHOICE_E: answer E   Describe your thought process for each "
    'choice and end your answer with "Final Answer: (?)" where? is a single character indicating the correct answer. '
    'Use this exact format at the end "Final Answer: (?)".'
)


class Always(Counting):
    """Says one thing wherever it sees something, and another on blank pictures; keeps what it was asked."""

    style = PUBLISHED

    def __init__(self, said: str, *, blind: str = "no idea") -> None:
        super().__init__()
        self.said, self.blind = said, blind
        self.asked: list[Inquiry] = []

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        self.asked += inquiries
        return [self.blind if _is_blank(inquiry) else self.said for inquiry in inquiries]


def _is_blank(inquiry: Inquiry) -> bool:
    return inquiry.study is not None and all(np.ptp(one.read()) == 0 for one in inquiry.study.images())


def one_set(name: str) -> EvaluationSet:
    return chosen_sets((name,))[0]


def run(name: str, root: Path, responder: Counting) -> tuple[SetResult, dict[str, Measured]]:
    one = one_set(name)
    result = run_set(one, Setting(root=root, responder=responder, split="all"))
    return result, {
        entry.measure: entry for entry in measured(result.rows, one.measures, draws=20) if entry.group == "all"
    }


def words(text: str) -> str:
    return " ".join(text.split())


def test_medxpertqa_counts_text_and_pictures_apart_and_together(tmp_path: Path) -> None:
    write_medxpertqa(tmp_path)
    model = Always("Final Answer: (A)", blind="Final Answer: (B)")
    result, found = run("medxpertqa", tmp_path, model)
    truths = ["A", "J", "A", "A"]
    assert found["text"].systems[MODEL].value == accuracy_score(truths[:2], ["A", "A"])
    assert found["MM"].systems[MODEL].value == 1.0
    assert found["MM"].systems["blanked"].value == 0.0
    assert found["text+MM"].systems[MODEL].value == accuracy_score(truths, ["A"] * 4)
    assert found["text"].systems["chance"].value == pytest.approx(0.1)
    assert found["MM"].systems["chance"].value == pytest.approx(0.2)
    assert [entry.case for entry in result.failed] == ["Text-2"]
    text = next(one for one in model.asked if one.study is None)
    assert text.system == THINK
    assert text.question == TEXT.format(question=text.question.partition("\nYou may")[0])
    assert text.question.startswith("Which drug?\nAnswer Choices: (A) drug 0")
    pictured = [one for one in model.asked if one.study is not None]
    assert {one.system for one in pictured} == {""}
    captions = {tuple(image.caption for image in one.study.images()) for one in pictured if one.study}
    assert captions == {("Figure A",), ("Figure A", "Figure B")}
    stem = "What is it?\nAnswer Choices: (A) x (B) y (C) z (D) v (E) w"
    assert {one.question for one in pictured} == {STEPS.format(question=stem)}


def test_without_its_pictures_medxpertqa_gives_no_figure_over_both(tmp_path: Path) -> None:
    write_medxpertqa(tmp_path, pictured=False)
    result, found = run("medxpertqa", tmp_path, Always("Final Answer: A"))
    assert set(found) == {"text", "likeliest", "readable"}
    assert "Only the text part was found" in result.notes[-1]


def test_a_broken_picture_of_medxpertqa_costs_one_case(tmp_path: Path) -> None:
    write_medxpertqa(tmp_path)
    (tmp_path / "medxpertqa/images/MM-1-b.jpeg").write_bytes(b"broken")
    result, found = run("medxpertqa", tmp_path, Always("Final Answer: A"))
    assert sorted(entry.case for entry in result.failed) == ["MM-1", "Text-2"]
    assert found["MM"].rows == 1


@pytest.mark.parametrize(
    ("text", "letter"),
    [("I think it is (C).", "C"), ("I cannot tell.", None), ("I", "I"), ("(I) drug 8", "I"), ("J.", "J")],
)
def test_of_ten_choices_the_ninth_is_not_the_pronoun(text: str, letter: str | None) -> None:
    assert letter_of(text, letters="ABCDEFGHIJ") == letter


def test_afrimed_takes_experts_questions_and_the_first_right_answer(tmp_path: Path) -> None:
    write_afrimed(tmp_path)
    entries, notes = read_afrimed(tmp_path)
    assert set(entries) == {"one", "two", "bad"}
    two = entries["two"]
    assert isinstance(two, Choice)
    assert (two.truth, two.letters, two.group) == ("B", "ABDE", "Urology")
    assert two.text == "Question two?\nAnswer Choices: (A) choice 1 (B) choice 2 (D) choice 4 (E) choice 5"
    assert notes[0].startswith("1 of 3 questions have several right answers")
    model = Always("Final Answer: (B)")
    result, found = run("afrimed-qa", tmp_path, model)
    assert found["generated"].systems[MODEL].value == accuracy_score(["A", "B"], ["B", "B"])
    assert [entry.case for entry in result.failed] == ["bad"]
    assert {one.system for one in model.asked} == {THINK}
    assert TEXT.format(question=two.text) in {one.question for one in model.asked}


def test_two_versions_of_afrimed_are_refused(tmp_path: Path) -> None:
    write_afrimed(tmp_path)
    (tmp_path / "afrimed-qa/old.csv").write_text("x")
    result, _ = run("afrimed-qa", tmp_path, Always(""))
    assert result.state == "failed"
    assert "2 CSV files: afri_med_qa" in result.why


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_mmlu_pro_has_up_to_ten_choices_and_no_thinking(tmp_path: Path, form: str) -> None:
    if form == "jsonl":
        write_lines(tmp_path / "mmlu-pro/test.jsonl", MMLU_PRO)
    else:
        (tmp_path / "mmlu-pro").mkdir()
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(MMLU_PRO), tmp_path / "mmlu-pro/test-00000-of-00001.parquet"
        )
    entries, _ = read_mmlu_pro(tmp_path)
    assert {name: (entry.letters, entry.truth) for name, entry in entries.items() if isinstance(entry, Choice)} == {
        "70": ("ABCDEFGHIJ", "J"),
        "71": ("ABC", "A"),
    }
    model = Always("It is nine. Final Answer: J")
    _, found = run("mmlu-pro", tmp_path, model)
    assert found["generated"].systems[MODEL].value == 0.5
    assert found["generated"].systems["chance"].value == pytest.approx((1 / 10 + 1 / 3) / 2)
    assert {one.system for one in model.asked} == {""}
    stem = "Smallest?\nAnswer Choices: (A) 4 (B) 5 (C) 6"
    assert TEXT.format(question=stem) in {one.question for one in model.asked}


def test_ehrnoteqa_shows_the_notes_in_order_in_the_published_words(tmp_path: Path) -> None:
    write_ehrnoteqa(tmp_path)
    model = Always("CHOICE_B is wrong. Final Answer: (A)")
    result, found = run("ehrnoteqa", tmp_path, model)
    notes = (
        "DISCHARGE1: Patient ID : 10 Admission ID : 100 Chartdate : 2150-01-01 First note. "
        "DISCHARGE2: Patient ID : 10 Admission ID : 101 Chartdate : 2150-06-01 Second note, with gaps."
    )
    asked = model.asked[0]
    assert words(asked.question) == words(EHRNOTEQA.replace("{discharge_note}", notes))
    assert asked.system == THINK
    assert found["generated"].systems[MODEL].value == 1.0
    assert [entry.case for entry in result.failed] == ["1"]
    assert "1 notes of the patient, where the question needs 2" in result.failed[0].why
    assert "note" not in result.rows[0].asked.partition("choices")[0]  # notes of patients stay out of results
    assert result.rows[0].patient == "10"


@pytest.mark.parametrize("damage", ["not gzip", "cut off", "columns"])
def test_damaged_notes_end_in_a_plain_error(tmp_path: Path, damage: str) -> None:
    write_ehrnoteqa(tmp_path)
    path = tmp_path / "ehrnoteqa/discharge.csv.gz"
    if damage == "columns":
        path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    else:
        path.write_bytes(b"plain" if damage == "not gzip" else path.read_bytes()[:-60])
    with pytest.raises(FileFormatError, match=r"discharge\.csv\.gz"):
        read_ehrnoteqa(tmp_path)


@pytest.mark.parametrize(
    ("name", "published", "said"),
    [
        (
            "derm-mcqa",
            DIAGNOSIS.format(question="Question: What is shown? Options: (A) nevus. (B) melanoma. (C) wart. (D) cyst."),
            "Unlike (B). The most likely diagnosis is: A",
        ),
        (
            "path-mcqa",
            "What is shown? Please select the correct option from the following choices: "
            "A) nevus B) melanoma C) wart D) cyst",
            "A) nevus",
        ),
    ],
)
def test_questions_on_pictures_are_asked_and_read_as_published(
    tmp_path: Path, name: str, published: str, said: str
) -> None:
    write_pictured(tmp_path, name)
    model = Always(said)
    result, found = run(name, tmp_path, model)
    assert {one.question for one in model.asked} == {published}
    assert {one.system for one in model.asked} == {""}
    assert found["generated"].systems[MODEL].value == accuracy_score(["A", "B", "B", "B"], ["A"] * 4)
    assert found["generated"].systems["blanked"].value == 0.0
    # B is the commonest answer, but the only one of another patient is A: right for one question.
    assert found["generated"].systems["majority"].value == 0.25
    assert (found["generated"].rows, found["generated"].patients) == (4, 1)
    why = {entry.case: entry.why for entry in result.failed}
    assert set(why) == {"3", "out", "wrong"}
    assert "does not lie in images" in why["out"]
    assert "'eczema' is none of the choices" in why["wrong"]


def test_eyepacs_is_asked_by_its_one_question(tmp_path: Path) -> None:
    write_eyepacs(tmp_path)
    model = Always("The most likely diagnosis is: C: moderate DR", blind="The most likely diagnosis is: A")
    result, found = run("eyepacs", tmp_path, model)
    assert {words(one.question) for one in model.asked} == {words(EYEPACS)}
    assert found["generated"].systems[MODEL].value == accuracy_score([0, 2, 0], [2, 2, 2])
    assert found["generated"].systems["blanked"].value == pytest.approx(2 / 3)
    assert found["generated"].patients == 2
    assert [entry.case for entry in result.failed] == ["16_left"]
    assert result.notes[-1] == "4 of the 5 pictures of trainLabels.csv are in train/."


def test_without_a_picture_eyepacs_says_so(tmp_path: Path) -> None:
    write_eyepacs(tmp_path)
    for path in (tmp_path / "eyepacs/train").iterdir():
        path.unlink()
    result, _ = run("eyepacs", tmp_path, Always(""))
    assert (result.state, result.why) == ("no data", "No picture of trainLabels.csv is in train/.")


@pytest.mark.parametrize(
    "damage",
    [
        {"options": {"A": "x", "]": "y"}},
        {"options": {"A": "x", "BC": "y"}},
        {"options": {"B": "x", "C": "y"}},
        {"question": None},
        {"question": 3, "options": None},
        {"label": []},
        {"label": 2},
    ],
)
def test_a_record_that_is_damaged_costs_one_question(tmp_path: Path, damage: dict[str, object]) -> None:
    whole = {"id": "whole", "question": "Which?", "options": {"A": "x", "B": "y"}, "label": "A"}
    write_lines(tmp_path / "questions.jsonl", [whole, {**whole, "id": "damaged", **damage}])
    entries = read_choices(tmp_path / "questions.jsonl")
    assert isinstance(entries["whole"], Choice)
    assert isinstance(entries["damaged"], FileFormatError)
    assert "'damaged'" in str(entries["damaged"])


def test_a_small_model_gets_the_question_alone(tmp_path: Path) -> None:
    write_everything(tmp_path)
    seen: list[Inquiry] = []

    class Plain(Counting):
        def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
            seen.extend(inquiries)
            return super().ask(inquiries, max_tokens=max_tokens)

    for name in ("medxpertqa", "ehrnoteqa", "derm-mcqa", "eyepacs", "ehrqa"):
        run(name, tmp_path, Plain())
    assert seen
    for inquiry in seen:
        assert not any(image.caption for image in inquiry.study.images()) if inquiry.study else True
        assert inquiry.system == ""
        assert "You may write" not in inquiry.question
        assert "INSTRUCTION" not in inquiry.question
        assert "respond with" not in inquiry.question
        assert "step by step" not in inquiry.question


PLACES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "medxpertqa": ("medxpertqa/Text/test.jsonl", write_medxpertqa),
    "afrimed-qa": ("afrimed-qa/afri_med_qa_15k_v2.5_phase_2_15275.csv", write_afrimed),
    "mmlu-pro": ("mmlu-pro/test.jsonl", lambda root: write_lines(root / "mmlu-pro/test.jsonl", MMLU_PRO)),
    "ehrnoteqa": ("ehrnoteqa/EHRNoteQA.jsonl", write_ehrnoteqa),
    "derm-mcqa": ("derm-mcqa/questions.jsonl", lambda root: write_pictured(root, "derm-mcqa")),
    "eyepacs": ("eyepacs/trainLabels.csv", write_eyepacs),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00rubbish", b"[1, 2]\n[3]\n", b'{"a": 1}\n'])
def test_files_that_are_something_else_end_in_a_plain_error(tmp_path: Path, name: str, content: bytes) -> None:
    path, write = PLACES[name]
    absent = run_set(one_set(name), Setting(root=tmp_path, responder=Counting()))
    assert (absent.state, absent.why.startswith("not found: ")) == ("no data", True)
    write(tmp_path)
    (tmp_path / path).write_bytes(content)
    result = run_set(one_set(name), Setting(root=tmp_path, responder=Counting()))
    assert result.state == "failed"
    assert Path(path).name in result.why


def test_a_parquet_file_that_is_none_ends_in_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "mmlu-pro").mkdir()
    (tmp_path / "mmlu-pro/test-0.parquet").write_bytes(b"rubbish")
    with pytest.raises(FileFormatError, match=r"test-0\.parquet holds no questions"):
        read_mmlu_pro(tmp_path)


def test_lines_with_the_same_name_stay_apart(tmp_path: Path) -> None:
    record = {"id": "1", "image": "a.png", "question": "q", "choices": ["x", "y"], "answer": "x"}
    write_lines(tmp_path / "derm-mcqa/questions.jsonl", [record, record, "{"])
    assert list(read_pictured("derm-mcqa", form=DERMATOLOGY_CHOICES)(tmp_path)[0]) == ["1", "1 (record 2)", "record 3"]


def test_every_published_benchmark_runs_with_one_model_and_has_its_figure(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_everything(data)
    out.mkdir()
    trained: frozenset[Skill] = frozenset({"answers", "reports"})
    responder = OslerResponder(Session(dataclasses.replace(checkpoint, trained=trained)))
    assert responder.style == PUBLISHED
    responder.style = dataclasses.replace(PUBLISHED, text_tokens=6, vqa_tokens=6)
    monkeypatch.setattr(laboratory_reports, "MOST_TOKENS", 6)
    monkeypatch.setattr(laboratory_reports, "read_by_rules", lambda path: None)  # it has its own test
    names = (
        *("medxpertqa", "afrimed-qa", "mmlu-pro", "ehrnoteqa", "ehrqa", "slake", "derm-mcqa", "path-mcqa", "eyepacs"),
        "lab-reports-ehr2",
    )
    assert set(names) <= set(GROUPS["published"])
    record = evaluate_sets(chosen_sets(names), Setting(root=data, responder=responder, split="all"), out=out)
    json.dumps(record, allow_nan=False)
    assert {one["name"]: one["state"] for one in record["sets"]} == dict.fromkeys(names, "measured")
    for one in record["sets"]:
        figures = {entry["measure"]: entry["published"] for entry in one["measures"] if "published" in entry}
        wanted = {measure: value for (name, measure), value in MEDGEMMA_15_4B.items() if name == one["name"]}
        assert figures == wanted, one["name"]
    assert "Published (MedGemma 1.5 4B)" in evaluation_markdown(record)
