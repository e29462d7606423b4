"""An answer that speaks otherwise than the headers is flagged; one that may be right is not."""

from __future__ import annotations

import dataclasses

import pytest

from osler.study import Study
from osler.tasks.chat import Chat
from osler.tasks.disagreement import disagreements
from osler.weights import Checkpoint
from tests.tasks.scripted import Scripted
from tests.tasks.volumes import straight, study_of


def chest() -> Study:
    return study_of(dataclasses.replace(straight(), body_part="CHEST", description="THORAX"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("This is an MRI scan.", "The model sees MR, the files say CT."),
        ("An X-ray.", "The model sees X-ray, the files say CT."),
        ("The knee.", "The model sees the knee, the files say the chest."),
        ("These are coronal slices.", "The model sees coronal slices, the files say axial."),
    ],
)
def test_what_differs_is_said(text: str, said: str) -> None:
    assert list(disagreements(text, study=chest())) == [said]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A CT of the chest.",
        "The liver and the lungs.",
        "It is not an MRI.",
        "CT or MRI.",
        "Axial and coronal slices.",
    ],
)
def test_what_may_be_right_is_not(text: str) -> None:
    assert list(disagreements(text, study=chest())) == []


def test_files_that_say_nothing_are_not_compared() -> None:
    silent = study_of(dataclasses.replace(chest().volumes()[0], modality="", body_part="", description=""))
    assert list(disagreements("An axial MRI of the knee.", study=silent)) == []


def test_chat_flags_it(checkpoint: Checkpoint) -> None:
    session = Scripted(checkpoint, trained={"answers"}, writer=lambda *_: "This is an MRI scan.")
    answer, _ = Chat(session=session, study=chest()).ask("Which kind of scan is this?")
    assert "The model sees MR, the files say CT." in answer.warnings
