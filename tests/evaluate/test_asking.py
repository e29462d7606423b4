"""Questions in batches see what a session sees, whichever way volumes are read."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from osler.engine.session import Session
from osler.errors import RequestError
from osler.evaluate.asking import Asker
from osler.prepare import VisualTokens, with_visual_tokens
from osler.study import Study
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, ct_study, model, tokenizer  # noqa: F401 (fixtures)


@pytest.mark.parametrize("visual_tokens", ["slices", 6])
def test_answers_are_those_of_a_session(
    checkpoint: Checkpoint,  # noqa: F811
    ct_study: Study,  # noqa: F811
    visual_tokens: VisualTokens,
) -> None:
    own = dataclasses.replace(checkpoint, preprocess=with_visual_tokens(checkpoint.preprocess, visual_tokens))
    asker = Asker(own, max_tokens=8)
    prepared, features = asker.look(ct_study)
    assert features.shape[:2] == ((8, 4) if visual_tokens == "slices" else (len(features), 1))
    questions = ("What is it?", "Which part?")
    replies = asker.ask([asker.prompt(text, prepared=prepared, features=features) for text in questions])
    session = Session(own)
    assert [reply.text for reply in replies] == [
        session.ask(ct_study, text, max_tokens=8).text.strip() for text in questions
    ]
    blank = asker.blank(prepared)
    assert blank.shape == features.shape
    assert not torch.equal(blank, features)
    (gray,) = asker.ask([asker.prompt("What is it?", prepared=prepared, features=blank)])
    assert isinstance(gray.text, str)


def test_a_study_without_images_is_said(checkpoint: Checkpoint) -> None:  # noqa: F811
    with pytest.raises(RequestError, match="no image"):
        Asker(checkpoint).look(Study(timepoints=()))
