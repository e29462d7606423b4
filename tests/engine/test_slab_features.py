"""Volumes as slabs through the engine: right tokens, kept work, nothing mixed up between budgets."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.engine.features import FeatureStore
from osler.engine.generate import Prompt, generate
from osler.engine.options import Decoding
from osler.engine.runner import Runner
from osler.engine.session import Session
from osler.engine.slab_features import SlabStore
from osler.errors import CapacityError, RequestError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.prepare import Preprocess, assemble, prepare_images, with_visual_tokens
from osler.study import ArrayPixels, Image, Study, TimePoint
from osler.weights import Checkpoint


@pytest.fixture
def session(checkpoint: Checkpoint) -> Session:
    return Session(checkpoint)


@pytest.fixture
def encoded(model: Osler, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Slabs that the tower encodes, call by call."""
    calls: list[int] = []
    plain = model.encode_slabs

    def counted(tubelets: torch.Tensor) -> torch.Tensor:
        calls.append(len(tubelets))
        return plain(tubelets)

    monkeypatch.setattr(model, "encode_slabs", counted)
    return calls


@pytest.fixture
def contract(checkpoint: Checkpoint) -> Preprocess:
    return with_visual_tokens(checkpoint.preprocess, 6)


def test_slabs_of_one_slice_without_merging_are_the_images(model: Osler, contract: Preprocess, ct_study: Study) -> None:
    single = replace(contract, slab_depth=1, visual_tokens=1000)
    prepared = prepare_images(ct_study, preprocess=single)
    tokens_M1D = SlabStore(model).encode_shown(prepared, images=FeatureStore(model))
    features_NTD = FeatureStore(model).encode(prepared.pixels)
    assert tokens_M1D is not None
    assert features_NTD is not None
    assert torch.equal(tokens_M1D[:, 0], features_NTD.flatten(0, 1))


def test_an_image_beside_a_volume_keeps_its_place(model: Osler, contract: Preprocess, ct_study: Study) -> None:
    picture = Image(series="x", pixels=ArrayPixels(np.eye(32, dtype=np.uint8) * 255), modality="DX")
    (point,) = ct_study.timepoints
    for series in ((picture, *point.series), (*point.series, picture)):
        prepared = prepare_images(Study(timepoints=(TimePoint(series=series),)), preprocess=contract)
        tokens = SlabStore(model).encode_shown(prepared, images=FeatureStore(model))
        assert tokens is not None
        alone = FeatureStore(model).encode(
            prepare_images(Study(timepoints=(TimePoint(series=(picture,)),)), preprocess=contract).pixels
        )
        assert alone is not None
        first = series[0] is picture
        torch.testing.assert_close(tokens[:4, 0] if first else tokens[-4:, 0], alone[0])
        (plan,) = prepared.volumes.values()
        assert len(tokens) == 4 + plan.grid.tokens


def test_an_answer_on_slabs_is_that_of_the_whole_forward_pass(
    checkpoint: Checkpoint, contract: Preprocess, ct_study: Study, plain_answer: Callable[..., list[int]]
) -> None:
    model = checkpoint.model
    prepared = prepare_images(ct_study, preprocess=contract)
    inputs = assemble(prepared, "Why?", preprocess=contract, tokenizer=checkpoint.tokenizer, tokens=model.config.tokens)
    features = SlabStore(model).encode_shown(inputs, images=FeatureStore(model))
    prompt = Prompt(token_ids=inputs.token_ids, features_NTD=features)
    for chunk in (512, 8):
        (result,) = generate(Runner(model), [prompt], decoding=Decoding(max_tokens=8, chunk=chunk))
        assert result.token_ids == plain_answer(prompt, count=8)


def test_a_session_spends_the_tokens_it_was_given(session: Session, ct_study: Study) -> None:
    slices = session.ask(ct_study, "Why?", max_tokens=4)
    slabs = session.ask(ct_study, "Why?", max_tokens=4, visual_tokens=6)
    assert slices.tokens["images"] == 8 * 4
    assert 0 < slabs.tokens["images"] <= 6
    assert slabs.tokens["prompt"] < slices.tokens["prompt"]
    assert slabs.preprocess != slices.preprocess
    assert "8 of 8 slices as 3 slabs" in slabs.used[0].view
    assert len(slabs.evidence) == 8
    assert session.ask(ct_study, "Why?", max_tokens=4).text == slices.text


def test_untrained_weights_say_what_they_see(session: Session, ct_study: Study, checkpoint: Checkpoint) -> None:
    said = "was not trained to read volumes as slabs"
    answer = session.ask(ct_study, "Why?", max_tokens=2, visual_tokens=6)
    assert any(said in warning for warning in answer.warnings)
    assert not any(said in warning for warning in session.ask(ct_study, "Why?", max_tokens=2).warnings)
    trained = Osler(get_config("debug-parts")).eval()
    trained.load_state_dict(checkpoint.model.state_dict(), strict=False)
    other = Session(replace(checkpoint, model=trained))
    answer = other.ask(ct_study, "Why?", max_tokens=2, visual_tokens=6)
    assert not any(said in warning for warning in answer.warnings)


def test_a_second_question_or_budget_does_not_encode_again(
    session: Session, ct_study: Study, encoded: list[int]
) -> None:
    first = session.ask(ct_study, "Why?", max_tokens=2, visual_tokens=6)
    assert sum(encoded) == 3
    second = session.ask(ct_study, "Where?", max_tokens=2, visual_tokens=6)
    assert second.tokens["reused"] > first.tokens["images"]
    session.ask(ct_study, "Where?", max_tokens=2, visual_tokens=3)
    assert sum(encoded) == 3


def test_budgets_are_not_mixed_up(session: Session, checkpoint: Checkpoint, ct_study: Study) -> None:
    for budget in (6, 3, 12, 6):
        found = session.ask(ct_study, "Why?", max_tokens=6, visual_tokens=budget)
        fresh = Session(checkpoint).ask(ct_study, "Why?", max_tokens=6, visual_tokens=budget)
        assert found.text == fresh.text
        assert found.tokens["images"] == fresh.tokens["images"] <= budget


def test_slabs_outlive_the_session_on_disk(
    checkpoint: Checkpoint, ct_study: Study, encoded: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSLER_STUDY_CACHE", str(tmp_path))
    known = replace(checkpoint, identity="random-weights")
    first = Session(known, studies="disk").ask(ct_study, "Why?", max_tokens=4, visual_tokens=6)
    again = Session(known, studies="disk").ask(ct_study, "Why?", max_tokens=4, visual_tokens=6)
    assert sum(encoded) == 3
    assert again.text == first.text
    assert again.tokens["reused"] > 0


def test_weights_that_say_so_read_slabs_by_themselves(checkpoint: Checkpoint, ct_study: Study) -> None:
    own = replace(checkpoint, preprocess=with_visual_tokens(checkpoint.preprocess, 6))
    session = Session(own)
    assert session.ask(ct_study, "Why?", max_tokens=2).tokens["images"] <= 6
    assert session.ask(ct_study, "Why?", max_tokens=2, visual_tokens="slices").tokens["images"] == 32


def test_many_questions_are_answered_as_one_by_one(session: Session, ct_study: Study) -> None:
    view = session.seeing(6)
    batch = list(view.ask_many([(ct_study, "Why?"), (ct_study, "Where?")], max_tokens=4))
    single = [session.ask(ct_study, text, max_tokens=4, visual_tokens=6) for text in ("Why?", "Where?")]
    assert [answer.text for answer in batch] == [answer.text for answer in single]


@pytest.mark.parametrize("budget", [0, -2, 1.5, True])
def test_a_budget_that_is_none_is_refused(session: Session, ct_study: Study, budget: object) -> None:
    with pytest.raises(RequestError, match="visual tokens"):
        session.ask(ct_study, "Why?", visual_tokens=budget)


def test_a_budget_beyond_the_patches_merges_nothing(session: Session, ct_study: Study) -> None:
    answer = session.ask(ct_study, "Why?", max_tokens=2, visual_tokens=10**9)
    assert answer.tokens["images"] == 3 * 4


def test_memory_is_planned_by_the_tokens_that_are_spent(
    session: Session, ct_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osler.engine.session.available_memory", lambda: 1)
    with pytest.raises(CapacityError):
        session.ask(ct_study, "Why?", visual_tokens=6)


def test_forget_lets_go_of_slabs(session: Session, ct_study: Study, encoded: list[int]) -> None:
    session.ask(ct_study, "Why?", max_tokens=2, visual_tokens=6)
    session.forget()
    session.ask(ct_study, "Why?", max_tokens=2, visual_tokens=6)
    assert sum(encoded) == 6


def test_low_precision_weights_read_slabs_too(checkpoint: Checkpoint, ct_study: Study) -> None:
    low = Session(replace(checkpoint, model=copy.deepcopy(checkpoint.model).bfloat16()))
    assert low.ask(ct_study, "Why?", max_tokens=4, visual_tokens=6).tokens["images"] <= 6
