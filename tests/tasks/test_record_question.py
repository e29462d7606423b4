"""The record answers what is its own, exactly; whatever may need the images goes to the model."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from osler.cli.demo import demo_scan
from osler.study import NO_MODEL, ClinicalEvent, Study
from osler.tasks.ask import AskRequest, ask
from osler.tasks.chat import Chat
from osler.tasks.record_question import UNSEEN, about_record_alone, answer_from_record
from osler.weights import Checkpoint
from osler.writers import is_own_picture, load_schema
from tests.cli.running import invoke
from tests.readers.make_fhir import coded, observation, patient, resource, write
from tests.tasks.scripted import Scripted
from tests.tasks.test_compare import study as image_study

_DAY = dt.date(2021, 3, 5)
_EVENTS = (
    ClinicalEvent(kind="observation", name="Calcium", code="17861-6", value=9.1, unit="mg/dL", date=_DAY),
    ClinicalEvent(kind="observation", name="Creatinine", code="2160-0", value=1.4, unit="mg/dL", date=_DAY),
    ClinicalEvent(kind="observation", name="Heart rate", code="8867-4", value=70, unit="/min", date=_DAY),
    ClinicalEvent(kind="observation", name="Body Height", code="8302-2", value=170, unit="cm", date=_DAY),
    ClinicalEvent(kind="medication", name="Metformin 500 MG", date=_DAY, status="active"),
    ClinicalEvent(kind="condition", name="Pleural effusion", date=_DAY, status="active"),
    ClinicalEvent(kind="condition", name="Fracture of left clavicle", date=_DAY, status="active"),
    ClinicalEvent(kind="imaging", name="Chest X-ray", date=_DAY),
    ClinicalEvent(kind="procedure", name="Lobectomy", date=_DAY),
)
OWN = (
    "What was the last creatinine?",
    "How has the creatinine changed over time?",
    "What was the calcium level in 2021?",
    "Which medications does the patient take?",
    "Is the patient taking metformin?",
    "When was the creatinine measured?",
    "Has the creatinine ever been above 1.2 mg/dL?",
)
NOT_OWN = (
    "Is there a pleural effusion?",
    "Does the patient have a pleural effusion?",
    "Which conditions does the patient have?",
    "Is there calcium?",
    "How much calcium is there?",
    "What was the last calcium score?",
    "Is calcium visible in the last image?",
    "What is the height of this vertebra?",
    "What is the highest calcium density?",
    "Is the heart enlarged?",
    "What is the size of the heart in the last scan?",
    "Is there a fracture?",
    "Was a lobectomy performed?",
    "When was the last chest X-ray?",
    "How has the effusion changed since 2021?",
    "What was the last creatinine? Is there a nodule?",
    "What was the last creatinine and does the lung look normal?",
    "Does this fit the last creatinine?",
    "What medications are seen in the stomach on this film?",
    "What is it?",
    "Which plane is this?",
)


def with_image() -> Study:
    return image_study(date=_DAY, events=_EVENTS)


@pytest.mark.parametrize("question", OWN)
def test_the_record_answers_what_is_its_own(question: str) -> None:
    answer = answer_from_record(with_image(), question)
    assert answer is not None
    assert answer.model == NO_MODEL
    assert answer.evidence
    assert all(one.kind == "event" for one in answer.evidence)
    assert UNSEEN in answer.warnings
    assert any("no model was used" in text for text in answer.warnings)
    jsonschema.validate(answer.to_dict(), load_schema("answer"))


@pytest.mark.parametrize("question", NOT_OWN)
def test_what_may_need_the_images_is_left_to_the_model(question: str) -> None:
    assert answer_from_record(with_image(), question) is None


def test_beside_images_an_absent_entry_is_no_answer() -> None:
    assert about_record_alone("What was the last potassium?")
    assert answer_from_record(with_image(), "What was the last potassium?") is None


def test_without_images_the_record_is_all_there_is() -> None:
    alone = Study(timepoints=(), events=_EVENTS)
    answer = answer_from_record(alone, "What was the last potassium?")
    assert answer is not None
    assert answer.text.startswith("The record does not say")
    effusion = answer_from_record(alone, "Does the patient have a pleural effusion?")
    assert effusion is not None
    assert effusion.text.startswith("Yes")
    assert UNSEEN not in effusion.warnings
    assert answer_from_record(Study(timepoints=()), "What was the last potassium?") is None


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return write(
        tmp_path / "record.json", patient(), observation(identity="o1"),
        resource("Condition", id="c1", code=coded("Asthma"), clinicalStatus=coded("", "active")),
    )  # fmt: skip


def test_ask_gives_it_with_its_entry_and_loads_no_weights(record: Path) -> None:
    pieces: list[str] = []
    stages: list[str] = []
    asked = ask(
        AskRequest(question="What was the last creatinine?", path=demo_scan(), records=(record,)),
        on_text=pieces.append,
        on_progress=lambda stage, done, total: stages.append(stage),
    )
    assert asked.answer.text == "".join(pieces) == "Creatinine: 1.4 mg/dL, 2021-03-05."
    assert asked.answer.task == "ask"
    assert asked.answer.evidence[0].file.endswith("record.json#Observation/o1")
    assert asked.prepared is None
    assert stages == ["read"]


def test_the_command_shows_the_entry_and_still_draws(record: Path, tmp_path: Path) -> None:
    picture = tmp_path / "seen.png"
    result = invoke(
        "ask", demo_scan(), "What was the last creatinine?", "--record", record, "--picture", picture, "--markdown",
        tmp_path / "a.md",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for part in ("Creatinine: 1.4 mg/dL, 2021-03-05.", "Entry     2021-03-05 Creatinine 1.4 mg/dL", UNSEEN):
        assert part in result.stdout
    assert is_own_picture(picture)
    assert "1.4 mg/dL" in (tmp_path / "a.md").read_text()


def test_chat_gives_it_too_and_keeps_the_turn(checkpoint: Checkpoint, record: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "scan.png")
    session = Scripted(checkpoint, trained={"answers"}, writer=lambda *_: "The chest.")
    talk = Chat(session=session, paths=(tmp_path / "scan.png",), records=(record,))
    answer, _ = talk.ask("What was the last creatinine?")
    assert answer.text.startswith("Creatinine: 1.4 mg/dL")
    assert session.asked == []
    assert talk.ask("What is shown?")[0].text == "The chest."
    assert [turn.question for turn in talk.turns] == ["What was the last creatinine?", "What is shown?"]
