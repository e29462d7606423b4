"""Ask as a task: what is refused before anything heavy starts, and a real answer without an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import FileFormatError, RequestError
from osler.tasks.ask import AskRequest, ask


def test_the_question_is_looked_at_before_the_files(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="The question is empty"):
        ask(AskRequest(question=" ", path=tmp_path / "absent"))


def test_the_model_is_looked_up_before_the_files(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"Unknown model 'osler-mny'.*Did you mean 'osler-mini'"):
        ask(AskRequest(question="Why?", path=tmp_path / "absent", model="osler-mny"))


def test_the_files_are_opened_before_the_weights_are_loaded(tmp_path: Path) -> None:
    stages: list[str] = []
    with pytest.raises(FileFormatError, match="absent"):
        ask(
            AskRequest(question="Why?", path=tmp_path / "absent"),
            on_progress=lambda stage, done, total: stages.append(stage),
        )
    assert stages == ["read"]


@pytest.mark.slow
def test_a_question_without_an_image_is_answered_and_streamed() -> None:
    pieces: list[str] = []
    stages: list[str] = []
    asked = ask(
        AskRequest(question="The capital of France is", path=None, model="gemma-3-270m", max_tokens=4),
        on_text=pieces.append,
        on_progress=lambda stage, done, total: stages.append(stage),
    )
    assert "".join(pieces).strip() == asked.answer.text
    assert asked.answer.used == ()
    assert asked.study.timepoints == ()
    assert list(dict.fromkeys(stages))[:2] == ["read", "load"]
    assert {"prefill", "answer"} <= set(stages)
    assert list(asked.answer.timings)[:2] == ["read", "load"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"top_p": 0.0}, r"The top_p 0\.0 is out of range"),
        ({"temperature": float("inf")}, "The temperature inf is out of range"),
        ({"seed": 2**63}, "The seed 9223372036854775808 is out of range"),
        ({"max_tokens": 0}, "The max_tokens 0 is out of range"),
        ({"stop": ("",)}, "A stop string is empty"),
    ],
)
def test_options_are_looked_at_before_the_files(option: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message):
        ask(AskRequest(question="Why?", path=tmp_path / "absent", **option))
