"""Pictures between new lessons: drawn from the training split, shown as inference shows them, as often as asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from osler.engine.session import Session
from osler.engine.words import Words
from osler.errors import RequestError
from osler.train.finetune_model import Learner, build_learner, image_encoder
from osler.train.picture_book import GENERATED, open_book
from osler.train.picture_replay import PictureReplay
from osler.train.recipe import FinetuneRecipe
from osler.train.taught import Joined


def _recipe(base: Path, out: Path) -> FinetuneRecipe:
    return FinetuneRecipe(stage="finetune", out=str(out), films="films", base=str(base), rank=2, precision="float32")


def _replay(learner: Learner, folder: Path, *, count: int) -> PictureReplay:
    book = open_book(Path(GENERATED), split="train", preprocess=learner.checkpoint.preprocess)
    return PictureReplay(
        book, count=count, checkpoint=learner.checkpoint, encode=image_encoder(learner), folder=folder, seed=3
    )


def test_a_sample_is_the_prompt_of_inference_with_its_answer(small_base: Path, tmp_path: Path) -> None:
    learner = build_learner(_recipe(small_base, tmp_path / "out"), device=torch.device("cpu"))
    source = _replay(learner, tmp_path / "kept", count=5)
    session = Session(learner.checkpoint)
    for number in range(len(source)):
        study, exchange, _ = source._shown(number)
        sample = source[number]
        prompt = list(session._inputs(study, Words(question=exchange.question), on_progress=None).token_ids)
        assert sample.token_ids[: len(prompt)].tolist() == prompt
        answer = learner.checkpoint.tokenizer.decode(sample.token_ids[sample.answer_mask].tolist())
        assert answer.startswith(exchange.answer)
        encoded = session.encode(session.prepare(study))
        assert encoded is not None
        torch.testing.assert_close(sample.images, encoded.bfloat16())
        session.forget()
    again = _replay(learner, tmp_path / "kept", count=5)
    assert [again[n].token_ids.tolist() for n in range(5)] == [source[n].token_ids.tolist() for n in range(5)]


def test_joined_sources_go_on_where_the_one_before_ends(small_base: Path, tmp_path: Path) -> None:
    learner = build_learner(_recipe(small_base, tmp_path / "out"), device=torch.device("cpu"))
    first, second = (_replay(learner, tmp_path / name, count=count) for name, count in (("a", 2), ("b", 3)))
    both = Joined(first, second)
    names = [source[number].name for source in (first, second) for number in range(len(source))]
    assert [both[number].name for number in range(len(both))] == names


def test_pictures_need_films_or_a_table_an_adapter_and_a_share(small_base: Path, tmp_path: Path) -> None:
    recipe = _recipe(small_base, tmp_path)
    with pytest.raises(RequestError, match="between films, or between the scans"):
        dataclasses.replace(recipe, films="", reports="shards", pictures="data")
    with pytest.raises(RequestError, match="to an adapter alone"):
        dataclasses.replace(recipe, method="full", pictures="data")
    with pytest.raises(RequestError, match="picture_share is 1"):
        dataclasses.replace(recipe, picture_share=1.0)
