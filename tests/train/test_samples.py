"""Training sees the very ids that inference sees."""

from __future__ import annotations

import numpy as np
import pytest

from osler.model.config import get_config
from osler.prepare import Preprocess, prepare_inputs, preprocess_for
from osler.study import Affine, ArrayPixels, Image, Study, TimePoint, Volume
from osler.train.answers import Exchange
from osler.train.samples import SampleMaker, collate
from osler.weights import GemmaTokenizer, embedded_gguf, read_gguf

CONFIG = get_config("osler-mini")


@pytest.fixture(scope="module")
def maker() -> SampleMaker:
    tokenizer = GemmaTokenizer.from_gguf(read_gguf(embedded_gguf()))
    return SampleMaker(tokenizer=tokenizer, tokens=CONFIG.tokens, preprocess=preprocess_for(CONFIG))


EXCHANGE = Exchange(question="What plane is this?", answer="This is an axial slice.")


def _study(kind: str) -> Study | None:
    if kind == "text":
        return None
    pixels = np.random.default_rng(0).integers(0, 255, (3, 40, 40)).astype(np.uint8)
    if kind == "image":
        series = Image(series="i", pixels=ArrayPixels(pixels[0]), modality="CR")
    else:
        series = Volume(
            series="v", pixels=ArrayPixels(pixels.astype(np.float32)), affine=Affine.from_parts(), modality="MR"
        )  # type: ignore[assignment]
    return Study(timepoints=(TimePoint(series=(series,)),))


@pytest.mark.parametrize(("kind", "images"), [("text", 0), ("image", 1), ("volume", 3)])
def test_ids_and_mask_are_those_of_prepare(maker: SampleMaker, kind: str, images: int) -> None:
    wanted = prepare_inputs(
        _study(kind),
        EXCHANGE.question,
        preprocess=maker.preprocess,
        tokenizer=maker.tokenizer,
        tokens=maker.tokens,
        answer=EXCHANGE.answer,
    )
    sample = maker.make([EXCHANGE], rows=tuple(range(images)), form=kind)
    np.testing.assert_array_equal(sample.token_ids, wanted.token_ids)
    np.testing.assert_array_equal(sample.answer_mask, wanted.answer_mask)


def test_answer_ends_with_the_end_of_its_turn(maker: SampleMaker) -> None:
    sample = maker.make([EXCHANGE, EXCHANGE], rows=(0,))
    said = sample.token_ids[sample.answer_mask]
    assert (said == CONFIG.tokens.end_of_turn).sum() == 2
    assert maker.preprocess == Preprocess(image_size=256, image_tokens=64, sampling="equidistant")


def test_batches_ask_for_the_next_id(maker: SampleMaker) -> None:
    long, short = maker.make([EXCHANGE], rows=(4,)), maker.make([EXCHANGE])
    batch = collate([long, short], pad=CONFIG.tokens.pad)
    assert batch.rows.tolist() == [4]
    assert batch.padding_BL[1].sum() == len(long.token_ids) - len(short.token_ids)
    targets = batch.token_ids_BL.roll(-1, dims=1)[batch.wanted_BL].numpy()
    said = np.concatenate([s.token_ids[s.answer_mask] for s in (long, short)])
    np.testing.assert_array_equal(targets, said)
