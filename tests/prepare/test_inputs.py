from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osler.errors import CapacityError, RequestError
from osler.prepare import MAX_QUESTION, Turn, assemble, first_turn, prepare_images, prepare_inputs
from osler.study import Study


@pytest.fixture
def ask(contract, tokenizer, tokens):
    def asked(study, question, **options):
        return prepare_inputs(study, question, preprocess=contract, tokenizer=tokenizer, tokens=tokens, **options)

    return asked


def test_image_tokens_and_pixels_agree(ask, make, contract, tokens):
    inputs = ask(make.study(make.volume(make.ct_pixels()), make.image(make.xray_pixels())), "What is seen?")
    assert (inputs.token_ids == tokens.image).sum() == len(inputs.pixels) * contract.image_tokens == 8 * 4
    assert len(inputs.images) == len(inputs.pixels) == 8
    assert inputs.token_ids.dtype == np.int64
    assert inputs.preprocess_hash == contract.hash
    assert sum(used.tokens for used in inputs.used) == 32


@pytest.mark.parametrize("study", [None, Study(timepoints=())])
def test_question_without_an_image(ask, study, tokens):
    inputs = ask(study, "What is pneumonia?")
    assert len(inputs.pixels) == 0
    assert inputs.pixels.array().shape == (0, 3, 64, 64)
    assert (inputs.token_ids == tokens.image).sum() == 0
    assert inputs.warnings == ()


@pytest.mark.parametrize("question", ["", "  \n\t"])
def test_empty_question_is_refused(ask, question):
    with pytest.raises(RequestError, match=r"question is empty\. Ask something"):
        ask(None, question)


def test_long_question_is_refused_with_the_limit(ask):
    with pytest.raises(RequestError, match=r"has 100,000 characters\. At most 20,000"):
        ask(None, "x" * 100_000)
    assert len(ask(None, "x" * MAX_QUESTION).token_ids) > MAX_QUESTION


def test_question_of_another_type_is_refused(ask):
    with pytest.raises(RequestError, match="question of type bytes"):
        ask(None, b"What?")


def test_prompt_longer_than_the_context_is_refused_with_the_numbers(ask, make):
    study = make.study(make.volume(make.ct_pixels()))
    length = len(ask(study, "Why?").token_ids)
    assert len(ask(study, "Why?", context=length).token_ids) == length
    with pytest.raises(CapacityError, match=rf"{length} tokens, 28 of them for 7 images.*at most {length - 1}"):
        ask(study, "Why?", context=length - 1)


def test_answer_is_masked_for_training(ask, make, tokenizer, tokens):
    study = make.study(make.image(make.xray_pixels()))
    inputs = ask(study, "What?", answer="A chest.")
    said = inputs.token_ids[inputs.answer_mask].tolist()
    assert said == [*tokenizer.encode("A chest."), tokens.end_of_turn]
    assert not ask(study, "What?").answer_mask.any()


def test_another_modality_in_the_question_is_said(ask, make):
    inputs = ask(make.study(make.volume(make.ct_pixels())), "What does this chest X-ray show?")
    assert inputs.warnings == ("The question speaks of X-ray, but the data is CT.",)


def test_many_questions_share_the_images(make, contract, tokenizer, tokens):
    prepared = prepare_images(make.study(make.image(make.xray_pixels())), preprocess=contract)
    options = {"preprocess": contract, "tokenizer": tokenizer, "tokens": tokens}
    first = assemble(prepared, "One?", **options)
    assert assemble(prepared, "Two?", **options).pixels is first.pixels
    history = [first_turn(prepared, "One?", preprocess=contract), Turn.of("assistant", "Yes.")]
    later = assemble(prepared, "Two?", history=history, **options)
    known = first.token_ids.tolist() + tokenizer.encode("Yes.")
    assert later.token_ids.tolist()[: len(known)] == known
    with pytest.raises(RequestError, match="shows 0 images, but 1 were prepared"):
        assemble(prepared, "Two?", history=[Turn.of("user", "a"), Turn.of("assistant", "b")], **options)


def test_padding_and_stretching_differ_only_where_they_should(make, contract, tokenizer, tokens):
    study = make.study(make.image(np.full((40, 20), 90, dtype=np.uint8)))
    padded = prepare_inputs(
        study, "Why?", preprocess=replace(contract, aspect="pad-square"), tokenizer=tokenizer, tokens=tokens
    )
    grey = padded.pixels.rgb[0, 32, :, 0]
    assert (grey[:15] == 0).all()
    assert (grey[17:47] == 90).all()
    assert (grey[49:] == 0).all()
