"""A session answers, says what it used, and refuses bad requests before it works."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

import osler.engine.load as load_module
import osler.engine.session as session_module
from osler.engine.ahead import Turn
from osler.engine.device import Choice
from osler.engine.load import load
from osler.engine.options import Decoding
from osler.engine.session import Session
from osler.errors import CapacityError, FileFormatError, OslerError, RequestError
from osler.study import Affine, Answer, Box2D, Study
from osler.weights import Checkpoint
from osler.writers import load_schema
from tests.readers.make_dicom import ramp, write_enhanced, write_series
from tests.readers.make_slide import tissue_pixels, write_svs

_STRAIGHT = Affine.from_parts(spacing=(0.8, 0.8, 2.0))


@pytest.fixture
def session(checkpoint: Checkpoint) -> Session:
    return Session(checkpoint)


def test_an_answer_says_what_it_rests_on(session: Session, ct_study: Study) -> None:
    answer = session.ask(ct_study, "what is this?", max_tokens=20)
    assert answer.stopped in ("max_tokens", "end")
    assert [(entry.slice, entry.file, entry.sop_uid) for entry in answer.evidence] == [
        (index, f"{index}.dcm", f"1.2.3.{index}") for index in range(8)
    ]
    assert answer.used[0].slices == tuple(range(8))
    assert answer.preprocess == session.checkpoint.preprocess.hash
    assert (answer.model.name, answer.model.bits, answer.model.backend) == ("debug", 32, "torch")
    assert answer.model.weights == "random-weights"
    assert answer.tokens["prompt"] > answer.tokens["images"] == 8 * 4
    assert set(answer.timings) == {"read", "prepare", "encode", "prefill", "decode"}
    assert all(seconds >= 0 for seconds in answer.timings.values())


def test_evidence_names_the_frame_of_a_multi_frame_file(session: Session, tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "mf.dcm", volume=ramp(4), affine=_STRAIGHT, order=[2, 0, 3, 1])
    answer = session.ask(path, "what is this?", max_tokens=2)
    assert [entry.frame for entry in answer.evidence] == [2, 4, 1, 3]  # as DICOM counts them, from 1
    assert {entry.file for entry in answer.evidence} == {str(path)}
    assert answer.to_dict()["evidence"][0]["frame"] == 2


def test_evidence_names_where_each_tile_of_a_slide_lies(session: Session, tmp_path: Path) -> None:
    pixels = tissue_pixels(width=3700, height=1800, blobs=((0.25, 0.5, 0.45), (0.75, 0.5, 0.45)))
    write_svs(tmp_path / "a.svs", pixels)
    answer = session.ask(tmp_path / "a.svs", "what is this?", max_tokens=2)
    assert [(entry.kind, entry.file) for entry in answer.evidence] == [("tile", str(tmp_path / "a.svs"))] * 2
    assert answer.evidence[1].pixel == Box2D(x0=1792, y0=0, x1=3584, y1=1792)
    assert answer.evidence[1].slide == Box2D(x0=0.896, y0=0, x1=1.792, y1=0.896, frame="slide")
    assert answer.evidence[1].note == "tile 2, level 1, 10x"
    record = answer.to_dict()
    jsonschema.validate(record, load_schema("answer"))
    assert record["evidence"][1]["slide"] == {"x0": 0.896, "y0": 0, "x1": 1.792, "y1": 0.896}


def test_evidence_says_which_slices_were_interpolated(session: Session, tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(6), affine=_STRAIGHT, keep=[0, 1, 3, 4, 5])
    answer = session.ask(tmp_path, "what is this?", max_tokens=2)
    assert [entry.note for entry in answer.evidence] == [
        "", "", "interpolated between two slices, 50% of it from this file", "", "", ""
    ]  # fmt: skip
    assert all(entry.frame is None for entry in answer.evidence)
    assert "note" not in answer.to_dict()["evidence"][0]


def test_evidence_says_how_a_tilted_slice_was_shifted(session: Session, tmp_path: Path) -> None:
    tilted = np.eye(4)
    tilted[1, 2], tilted[2, 2] = 1.5, 3.0
    write_series(tmp_path, volume=ramp(5), affine=Affine(tilted))
    notes = [entry.note for entry in session.ask(tmp_path, "what is this?", max_tokens=2).evidence]
    assert notes[0] == ""
    assert notes[2] == "shifted in its plane by 0.0 columns and 3.0 rows"


def test_streamed_text_is_the_answer(session: Session, ct_study: Study) -> None:
    pieces: list[str] = []
    answer = session.ask(ct_study, "what is this?", max_tokens=40, on_text=pieces.append)
    assert "".join(pieces).strip() == answer.text != ""
    assert all(pieces)


def test_the_second_question_reuses_study_features_and_prefix(
    session: Session, checkpoint: Checkpoint, ct_study: Study
) -> None:
    session.ask(ct_study, "what is this?", max_tokens=30)
    again = session.ask(ct_study, "which organ?", max_tokens=30)
    fresh = Session(checkpoint).ask(ct_study, "which organ?", max_tokens=30)
    assert again.text == fresh.text
    assert again.tokens["reused"] > again.tokens["images"]
    assert fresh.tokens["reused"] == 0


def test_forget_starts_over(session: Session, ct_study: Study) -> None:
    first = session.ask(ct_study, "what is this?", max_tokens=10)
    session.forget()
    again = session.ask(ct_study, "what is this?", max_tokens=10)
    assert again.tokens["reused"] == 0
    assert again.text == first.text


def test_a_question_needs_no_study(session: Session) -> None:
    answer = session.ask(None, "what is a lung?", max_tokens=10)
    assert answer.evidence == answer.used == ()
    assert answer.tokens["images"] == 0


def test_a_path_is_opened(session: Session, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "xray.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)).save(path)
    answer = session.ask(path, "what is this?", max_tokens=5)
    assert answer.evidence[0].kind == "image"
    assert answer.evidence[0].file.endswith("xray.png")


def test_a_stop_string_ends_the_answer(session: Session, ct_study: Study) -> None:
    whole = session.ask(ct_study, "what is this?", max_tokens=40)
    stop = whole.text[5:7]
    answer = session.ask(ct_study, "what is this?", max_tokens=40, stop=(stop,))
    assert answer.stopped == "stop_string"
    assert whole.text.startswith(answer.text)
    assert stop not in answer.text


def test_progress_names_each_stage(session: Session, ct_study: Study) -> None:
    seen: dict[str, tuple[int, int]] = {}
    session.ask(
        ct_study, "hm?", max_tokens=3, on_progress=lambda stage, done, total: seen.__setitem__(stage, (done, total))
    )
    assert set(seen) == {"prepare", "encode", "prefill", "answer"}
    assert seen["encode"] == seen["prepare"] == (8, 8)
    assert seen["prefill"][0] == seen["prefill"][1]


def test_a_cut_answer_is_said(session: Session, ct_study: Study) -> None:
    answer = session.ask(ct_study, "what is this?", max_tokens=3)
    assert any("cut off after 3 tokens" in warning for warning in answer.warnings)


def test_sampling_with_a_seed_repeats_and_is_stamped(session: Session, ct_study: Study) -> None:
    def draw(seed: int) -> Any:
        return session.ask(ct_study, "what is this?", max_tokens=12, temperature=2.0, top_p=0.95, seed=seed)

    assert draw(3).text == draw(3).text != draw(4).text
    assert draw(3).model.seed == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"question": ""}, "question is empty"),
        ({"question": "  \n"}, "question is empty"),
        ({"question": "x" * 100_000}, "question has 100,000 characters"),
        ({"max_tokens": 0}, "max_tokens 0 is out of range"),
        ({"max_tokens": -5}, "max_tokens -5 is out of range"),
        ({"temperature": -1.0}, "temperature -1.0 is out of range"),
        ({"top_p": 0.0}, "top_p 0.0 is out of range"),
        ({"top_p": 1.1}, "top_p 1.1 is out of range"),
        ({"stop": ("",)}, "stop string is empty"),
    ],
)
def test_a_bad_request_is_refused_before_the_study_is_read(
    session: Session, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    request = {"question": "what?", **options}
    with pytest.raises(RequestError, match=message):
        session.ask(tmp_path / "absent.dcm", request.pop("question"), **request)


def test_a_prompt_beyond_the_context_is_refused(session: Session, ct_study: Study) -> None:
    with pytest.raises(CapacityError, match=r"takes [\d,]+ tokens.*holds 4,096 tokens"):
        session.ask(ct_study, "word " * 1500)
    with pytest.raises(CapacityError, match=r"answer may take 4,096.*Ask for at most"):
        session.ask(ct_study, "what?", max_tokens=4096)


def test_too_little_memory_is_refused_before_images_are_encoded(
    session: Session, ct_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "available_memory", lambda: 1000)
    stages: set[str] = set()
    with pytest.raises(CapacityError, match=r"of memory \(KV cache .*activations .*0\.00 GB are free.*fewer slices"):
        session.ask(ct_study, "what?", on_progress=lambda stage, done, total: stages.add(stage))
    assert stages <= {"prepare"}


def test_an_error_leaves_the_session_usable(session: Session, ct_study: Study) -> None:
    expected = session.ask(ct_study, "what is this?", max_tokens=20).text

    def fail(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.ask(ct_study, "and this?", max_tokens=40, on_text=fail)
    assert session.ask(ct_study, "what is this?", max_tokens=20).text == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 3}, r"3 bits do not exist here.*Bits: 4, 8, 16, 32"),
        ({"backend": "torhc"}, r"Unknown backend 'torhc'.*Did you mean 'torch'"),
        ({"device": "gpu0"}, r"Unknown device 'gpu0'"),
        ({"dtype": "float16"}, r"overflows"),
        ({"bits": 32, "dtype": "bfloat16"}, r"contradict each other"),
    ],
)
def test_load_refuses_unknown_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load("osler-mini", **options)


def test_load_refuses_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(OslerError, match="nothing-here"):
        load(str(tmp_path / "nothing-here"))


def test_load_refuses_weights_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "available_memory", lambda: 100_000_000)
    with pytest.raises(CapacityError, match=r"weights 0\.\d+ GB.*0\.10 GB are free.*smaller model"):
        load("osler-mini")


def test_the_stamp_names_the_digest_of_the_weights(checkpoint: Checkpoint) -> None:
    answer = Session(dataclasses.replace(checkpoint, digest="0123456789abcdef")).ask(None, "why?", max_tokens=2)
    assert answer.model.weights == "random-weights sha256:0123456789abcdef"


_PAIRS = ("what is this?", "which organ?", "is there a tumor in it, or is it healthy?")


def _same(one: Answer, two: Answer) -> None:
    """All but the times and what was read before."""
    left, right = one.to_dict(), two.to_dict()
    for record in (left, right):
        del record["timings"], record["tokens"]["reused"]
    assert left == right


@pytest.fixture(params=["ahead", "in turn"])
def turn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Turn:
    """When images are encoded, whatever the machine of the test."""
    monkeypatch.setattr(session_module, "when_to_encode", lambda device: Choice(request.param, "a test"))
    return request.param


@pytest.mark.usefixtures("turn")
@pytest.mark.parametrize(("batch", "sampling"), [(1, {}), (4, {}), (4, {"temperature": 0.9, "seed": 5})])
def test_many_questions_are_answered_as_one_by_one(
    checkpoint: Checkpoint, ct_study: Study, tmp_path: Path, batch: int, sampling: dict[str, Any]
) -> None:
    write_series(tmp_path, volume=ramp(5), affine=_STRAIGHT)
    pairs = [(study, question) for study in (ct_study, None, tmp_path) for question in _PAIRS]
    options: dict[str, Any] = {"max_tokens": 12, "system": "be brief", **sampling}
    together = list(Session(checkpoint).ask_many(pairs, batch=batch, **options))
    alone = Session(checkpoint)
    assert len({answer.text for answer in together}) > 3
    for answer, (study, question) in zip(together, pairs, strict=True):
        _same(answer, alone.ask(study, question, **options))


def test_rows_of_a_batch_stop_at_their_own_stop_strings(checkpoint: Checkpoint, ct_study: Study) -> None:
    pairs = [(ct_study, question) for question in _PAIRS]
    whole = [answer.text for answer in Session(checkpoint).ask_many(pairs, max_tokens=24)]
    stop = whole[1][4:6]
    together = list(Session(checkpoint).ask_many(pairs, max_tokens=24, stop=[stop]))
    assert together[1].stopped == "stop_string"
    for answer, (study, question) in zip(together, pairs, strict=True):
        _same(answer, Session(checkpoint).ask(study, question, max_tokens=24, stop=[stop]))


def test_a_batch_is_made_smaller_where_memory_is_short(
    session: Session, ct_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    generate = session_module.generate
    monkeypatch.setattr(
        session_module,
        "generate",
        lambda runner, prompts, **rest: sizes.append(len(prompts)) or generate(runner, prompts, **rest),
    )
    pairs = [(ct_study, question) for question in (*_PAIRS, *_PAIRS)]
    answers = list(session.ask_many(pairs, max_tokens=5, batch=4))
    assert sizes == [4, 2]
    longest = max(answer.tokens["prompt"] for answer in answers if answer.tokens)
    two = session._plan(longest=longest, images=16, rows=2, decoding=Decoding(max_tokens=5)).total
    session.forget()
    monkeypatch.setattr(session_module, "available_memory", lambda: int(two / 0.95) + 1)
    sizes.clear()
    fewer = [answer.text for answer in session.ask_many(pairs, max_tokens=5, batch=4)]
    assert fewer == [answer.text for answer in answers]
    assert sizes == [2, 2, 2]


def test_answers_come_as_their_batch_is_done_and_studies_are_opened_when_reached(
    session: Session, ct_study: Study, tmp_path: Path, turn: Turn
) -> None:
    taken: list[int] = []

    def requests() -> Iterator[tuple[Study | Path | None, str]]:
        for number in range(9):
            taken.append(number)
            yield (ct_study if number < 8 else tmp_path / "absent.dcm"), "what is this?"

    answers = session.ask_many(requests(), batch=2, max_tokens=4)
    assert taken == []
    assert next(answers).text
    # One is read ahead; where others are encoded ahead, as many as a batch holds.
    assert len(taken) == 3 if turn == "in turn" else 3 <= len(taken) <= 6
    assert [next(answers).text for _ in range(7)]
    with pytest.raises(FileFormatError, match="absent"):
        list(answers)


@pytest.mark.parametrize("batch", [0, -1, True, 2.0])
def test_a_batch_is_a_whole_number(session: Session, batch: object) -> None:
    with pytest.raises(RequestError, match="whole number from 1"):
        session.ask_many([], batch=batch)


def test_options_of_many_questions_are_checked_at_once(session: Session) -> None:
    with pytest.raises(RequestError, match="max_tokens"):
        session.ask_many([], max_tokens=0)
    assert list(session.ask_many([])) == []


@pytest.mark.usefixtures("turn")
def test_failures_of_a_batch_stand_in_their_place(checkpoint: Checkpoint, ct_study: Study, tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"no image")
    requests = [(ct_study, "a"), (tmp_path / "broken.dcm", "b"), (ct_study, " "), (None, "c"), (ct_study, "d")]
    results = list(Session(checkpoint).ask_many(requests, max_tokens=4, failures="yield"))
    assert [type(result).__name__ for result in results] == [
        "Answer", "FileFormatError", "RequestError", "Answer", "Answer"
    ]  # fmt: skip
    alone = Session(checkpoint)
    for number in (0, 3, 4):
        _same(results[number], alone.ask(*requests[number], max_tokens=4))
    with pytest.raises(FileFormatError):
        list(Session(checkpoint).ask_many(requests, max_tokens=4))


def _ahead_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("osler-ahead")]


def test_the_next_study_is_encoded_while_the_present_one_is_answered(
    checkpoint: Checkpoint, ct_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "when_to_encode", lambda device: Choice("ahead", "a test"))
    write_series(tmp_path, volume=ramp(5), affine=_STRAIGHT)
    session, generate = Session(checkpoint), session_module.generate
    encoded = threading.Event()
    encode = session._slabs.encode_shown

    def encode_and_tell(shown: Any, **rest: Any) -> torch.Tensor | None:
        features = encode(shown, **rest)
        if len(shown.pixels) == 5:
            encoded.set()
        return features

    def generate_later(*positional: Any, **rest: Any) -> Any:
        assert encoded.wait(timeout=60), "the second study is not encoded before the first one is answered"
        return generate(*positional, **rest)

    monkeypatch.setattr(session._slabs, "encode_shown", encode_and_tell)
    monkeypatch.setattr(session_module, "generate", generate_later)
    answers = list(session.ask_many([(ct_study, "a"), (tmp_path, "b")], batch=1, max_tokens=2))
    assert [answer.tokens["images"] for answer in answers] == [32, 20]


@pytest.mark.usefixtures("turn")
@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, ZeroDivisionError])
def test_a_batch_that_is_stopped_leaves_no_thread_and_a_session_that_answers(
    checkpoint: Checkpoint, ct_study: Study, tmp_path: Path, stopped_by: type[BaseException]
) -> None:
    write_series(tmp_path, volume=ramp(5), affine=_STRAIGHT)
    session = Session(checkpoint)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "answer":
            raise stopped_by

    with pytest.raises(stopped_by):
        list(session.ask_many([(ct_study, "a"), (tmp_path, "b")] * 4, batch=2, max_tokens=4, on_progress=stop))
    assert _ahead_threads() == []
    _same(session.ask(ct_study, "a", max_tokens=4), Session(checkpoint).ask(ct_study, "a", max_tokens=4))


@pytest.mark.usefixtures("turn")
def test_a_session_answers_between_the_answers_of_a_batch(
    checkpoint: Checkpoint, ct_study: Study, tmp_path: Path
) -> None:
    write_series(tmp_path, volume=ramp(5), affine=_STRAIGHT)
    session = Session(checkpoint)
    pairs = [(tmp_path, question) for question in _PAIRS]
    answers = session.ask_many(pairs, batch=1, max_tokens=4)
    for pair, answer in zip(pairs, answers, strict=True):
        _same(answer, Session(checkpoint).ask(*pair, max_tokens=4))
        _same(session.ask(ct_study, "a", max_tokens=4), Session(checkpoint).ask(ct_study, "a", max_tokens=4))
