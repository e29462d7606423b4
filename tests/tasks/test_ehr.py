"""Questions over a record: direct ones exactly, open ones by the model, measured on synthetic patients."""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

from osler.errors import RequestError
from osler.study import NO_MODEL, ClinicalEvent, Document, Study
from osler.tasks.ehr import EhrRequest, answer_from_events, ask_record
from osler.writers import load_schema
from tests.readers.make_dicom import ramp, write_series
from tests.readers.make_fhir import coded, observation, patient, resource, write
from tests.shared_data import SHARED_DATA, needs_shared_data

ROOT = Path(__file__).parents[2]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return write(
        tmp_path / "record.json", patient(), observation(identity="o1"),
        observation(value=1.1, date="2020-01-01", identity="o2"),
        resource("Condition", id="c1", code=coded("Asthma"), clinicalStatus=coded("", "active")), resource("Claim"),
    )  # fmt: skip


def test_a_direct_question_needs_no_model(record: Path) -> None:
    before = "torch" in sys.modules
    answer = ask_record(EhrRequest(question="What was the last creatinine?", records=(record,), model="absent"))
    assert answer.text == "Creatinine: 1.4 mg/dL, 2021-03-05."
    assert (answer.task, answer.model, answer.preprocess) == ("ehr", NO_MODEL, "")
    (one,) = answer.evidence
    assert (one.kind, one.date, one.value, one.unit, one.code) == ("event", dt.date(2021, 3, 5), 1.4, "mg/dL", "2160-0")
    assert one.file == f"{record}#Observation/o1"
    assert [event.value for event in answer.observations] == [1.4]
    assert [step.tool for step in answer.steps] == ["search_events", "last"]
    assert ("Claim", 1) in [(item.what, item.count) for item in answer.left_out]
    assert any("no model was used" in warning for warning in answer.warnings)
    jsonschema.validate(answer.to_dict(), load_schema("answer"))
    assert ("torch" in sys.modules) == before


def test_what_a_letter_says_is_left_to_the_model() -> None:
    letter = Document(name="Letter", pages=("Ferritin was 12 last week.",))
    event = ClinicalEvent(kind="condition", name="Asthma", date=dt.date(2020, 1, 1), status="active")
    study = Study(timepoints=(), events=(event,), documents=(letter,))
    assert answer_from_events(study, "What was the last ferritin?") is None
    answer = answer_from_events(study, "What was the last troponin?")
    assert answer is not None
    assert answer.text.startswith("The record does not say")


def test_a_study_without_a_record_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", volume=ramp(2))
    with pytest.raises(RequestError, match=r"no record at these paths.*osler ask"):
        ask_record(EhrRequest(question="What was the last creatinine?", records=(tmp_path / "scan",)))


def test_an_empty_question_is_refused_before_the_files(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="The question is empty"):
        ask_record(EhrRequest(question=" ", records=(tmp_path / "absent",)))


@pytest.mark.slow
def test_an_open_question_goes_to_the_model_with_the_record(record: Path) -> None:
    request = EhrRequest(question="Summarize the record.", records=(record,), model="gemma-3-270m", max_tokens=3)
    answer = ask_record(request)
    assert answer.model != NO_MODEL
    assert [one.note for one in answer.evidence] == ["Creatinine", "Creatinine", "Asthma"]
    assert answer.steps[-1].tool == "select_record"
    assert answer.steps[-1].result == "3 events and 0 documents shown, 0 not"
    jsonschema.validate(answer.to_dict(), load_schema("answer"))


def questions_module() -> ModuleType:
    """The benchmark that makes the questions, by its path: it is no part of the package."""
    spec = importlib.util.spec_from_file_location("ehr_questions", ROOT / "benchmarks" / "ehr_questions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ehr_questions"] = module
    spec.loader.exec_module(module)
    return module


@needs_shared_data
def test_questions_with_known_answers_are_answered_right_and_nothing_is_invented() -> None:
    """On patients that the planner was not written with; wordings that it was not written with are let off."""
    from osler.readers import open_study

    assert SHARED_DATA is not None
    module = questions_module()
    asked, right, invented = 0, 0, []
    for path in sorted((SHARED_DATA / "fhir").glob("*.json"))[1::2][:4]:
        study = open_study(path)
        for one in module.questions(path):
            answer = answer_from_events(study, one.text)
            good = answer is not None and one.right(answer.text)
            if one.kind == "unanswerable" and answer is not None and not good:
                invented.append(one.text)
            if not one.held_out:
                asked, right = asked + 1, right + good
    assert asked > 200
    assert right / asked > 0.99
    assert not invented
