"""A conversation: history, its bounds, commands and the transcript."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from osler.engine.session import Session
from osler.errors import CapacityError, FileFormatError, RequestError
from osler.study import Study, TimePoint
from osler.tasks.chat import COMMANDS, Chat, is_own_transcript, transcript, transcript_form
from osler.weights import Checkpoint
from tests.prepare.slides_in_memory import slide_of
from tests.readers.make_dicom import ramp, write_series
from tests.tasks.scripted import Scripted
from tests.tasks.volumes import straight, study_of


@pytest.fixture
def chat(checkpoint: Checkpoint, ct_study: Study) -> Chat:
    return Chat(session=Session(checkpoint), study=ct_study, max_tokens=4)


def test_a_second_question_reads_only_what_is_new(chat: Chat) -> None:
    first, _ = chat.ask("what is this?")
    second, note = chat.ask("and this?")
    assert note == ""
    assert first.tokens["reused"] == 0
    assert second.tokens["reused"] >= second.tokens["images"]
    assert second.tokens["prompt"] > first.tokens["prompt"]
    assert [turn.question for turn in chat.turns] == ["what is this?", "and this?"]


def test_history_goes_along_as_in_ask(chat: Chat, checkpoint: Checkpoint, ct_study: Study) -> None:
    first, _ = chat.ask("what is this?")
    second, _ = chat.ask("and this?")
    alone = Session(checkpoint).ask(ct_study, "and this?", history=[("what is this?", first.text or "-")], max_tokens=4)
    assert second.text == alone.text
    assert second.tokens["prompt"] == alone.tokens["prompt"]


def test_the_oldest_turns_are_dropped_and_it_is_said(chat: Chat) -> None:
    room = chat.session.model.config.decoder.max_positions
    question = "x" * (room // 3)
    notes = [chat.ask(question)[1] for _ in range(4)]
    assert notes[0] == ""
    assert any("The context is full: the oldest turn of the conversation was dropped." in note for note in notes)
    assert len(chat.turns) == 4  # the transcript keeps all
    with pytest.raises(CapacityError):
        chat.ask("x" * room)


def test_a_question_that_is_stopped_is_not_kept(chat: Chat) -> None:
    chat.ask("what?")

    def stop(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat.ask("why?", on_text=stop)
    assert [turn.question for turn in chat.turns] == ["what?"]
    assert chat.ask("and now?")[0].stopped in ("end", "max_tokens")


def test_one_slice_may_be_shown_alone(chat: Chat) -> None:
    assert chat.command("/slice 3") == "Only slice 3 is shown."
    answer, _ = chat.ask("what is this?")
    assert [entry.slice for entry in answer.evidence] == [2]
    assert chat.evidence() == answer.evidence
    assert "slice 8, the nearest, is shown alone" in chat.command("/slice 99")
    assert chat.command("/slice all") == "All slices are shown again."
    assert len(chat.ask("and now?")[0].evidence) == 8
    with pytest.raises(RequestError, match="'three' is no slice"):
        chat.command("/slice three")


def test_open_starts_anew_and_prior_adds(checkpoint: Checkpoint, tmp_path: Path) -> None:
    from osler.study import Affine

    write_series(tmp_path / "a", volume=ramp(3), affine=Affine.from_parts(spacing=(1, 1, 2)))
    chat = Chat(session=Session(checkpoint), max_tokens=2)
    assert chat.ask("words only?")[0].used == ()
    with pytest.raises(RequestError, match="There is no scan yet"):
        chat.command("/prior x")
    with pytest.raises(RequestError, match="no volume to take a slice of"):
        chat.command("/slice 2")
    assert chat.command(f"/open {tmp_path / 'a'}") == "1 series of 1 study. The conversation starts anew."
    assert chat.turns == []
    assert len(chat.ask("what?")[0].evidence) == 3
    with pytest.raises(FileFormatError, match="absent"):
        chat.command(f"/open {tmp_path / 'absent'}")
    assert chat.paths == (str(tmp_path / "a"),)  # a failed command changes nothing


def test_commands_are_few_and_unknown_ones_are_answered(chat: Chat) -> None:
    assert set(chat.command("/help").replace("\n", " ").split()) >= set(COMMANDS)
    with pytest.raises(RequestError, match=r"Unknown command '/opne'.*Did you mean '/open'"):
        chat.command("/opne x")
    with pytest.raises(RequestError, match="/open needs more: PATH"):
        chat.command("/open")


def test_a_question_that_does_not_fit_is_noticed_before_it_is_asked(checkpoint: Checkpoint) -> None:
    volume = dataclasses.replace(straight(), body_part="KNEE")
    chat = Chat(session=Scripted(checkpoint), study=study_of(volume))
    assert chat.notice("Are the lungs clear?") == ("The question speaks of the lungs, but the data shows the knee.",)
    assert chat.notice("What HU has the X-ray?") == ("The question speaks of X-ray, but the data is CT.",)
    assert Chat(session=Scripted(checkpoint)).notice("Are the lungs clear?") == ()
    knee = dataclasses.replace(straight(), body_part="KNEE", modality="MR", units="arbitrary")
    chat = Chat(session=Scripted(checkpoint), study=study_of(knee))
    assert chat.notice("Is the brain normal?") == ("The question speaks of the head, but the data shows the knee.",)


def test_a_slide_asked_about_the_lungs_is_noticed_without_asking_the_model(checkpoint: Checkpoint) -> None:
    study = Study(timepoints=(TimePoint(series=(slide_of(np.zeros((40, 40, 3), np.uint8)),)),))
    session = Scripted(checkpoint, trained=["answers"])
    (said,) = Chat(session=session, study=study).notice("Are the lungs clear?")
    assert said.startswith("The question speaks of the lungs, but a slide shows a piece of tissue")
    assert session.asked == []


def test_the_transcript_holds_every_turn(chat: Chat, tmp_path: Path) -> None:
    chat.ask("what is\nthis?")
    chat.command("/slice 2")
    chat.ask("and this?")
    record = json.loads(transcript(chat, form="json"))
    assert [turn["shown"] for turn in record["turns"]] == ["all", "slice 2"]
    assert record["turns"][0]["answer"]["task"] == "ask"
    page = transcript(chat, form="markdown")
    assert "**Question:** what is this?" in page
    assert "**Question (slice 2 alone):** and this?" in page
    assert "not a medical device" in page
    for form, name in (("json", "a.json"), ("markdown", "a.md")):
        (tmp_path / name).write_text(transcript(chat, form=form), encoding="utf-8")
        assert is_own_transcript(tmp_path / name)
        assert transcript_form(name) == form
    (tmp_path / "mine.md").write_text("# My notes")
    assert not is_own_transcript(tmp_path / "mine.md")
    with pytest.raises(RequestError, match=r"cannot be written to 'a.txt'"):
        transcript_form("a.txt")
