"""Samples for calibrated rounding: from the package alone, the same every time, with pictures where there are eyes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osler.errors import RequestError
from osler.model.config import OslerConfig
from osler.prepare import preprocess_for
from osler.quant.calibration import Calibration
from osler.train import calibration_samples
from osler.train.calibration_samples import calibration
from osler.weights.tokenizer import GemmaTokenizer
from tests.engine.conftest import config, tokenizer

__all__ = ["config", "tokenizer"]


def make(config: OslerConfig, tokenizer: GemmaTokenizer, *, tokens: int) -> Calibration:
    return calibration(config, method="gptq", tokenizer=tokenizer, preprocess=preprocess_for(config), tokens=tokens)


def test_texts_and_pictures_by_turns(config: OslerConfig, tokenizer: GemmaTokenizer) -> None:
    pytest.importorskip("pyarrow")
    made = make(config, tokenizer, tokens=2500)
    assert 2500 <= made.tokens < 3500
    assert made.source == "synthetic reports, shipped facts, questions, synthetic pictures"
    shown = [sample for sample in made.samples if sample.pixels is not None]
    assert 0.1 < sum(len(sample.token_ids) for sample in shown) / made.tokens < 0.5
    for sample in made.samples:
        places = int((sample.token_ids == config.tokens.image).sum())
        assert places == (0 if sample.pixels is None else config.image_tokens)
        assert sample.token_ids.max() < config.decoder.vocab
    again = make(config, tokenizer, tokens=2500)
    for one, other in zip(made.samples, again.samples, strict=True):
        np.testing.assert_array_equal(one.token_ids, other.token_ids)


def test_without_eyes_there_are_no_pictures_and_without_pyarrow_no_reports(
    config: OslerConfig, tokenizer: GemmaTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_samples, "_report_texts", lambda: (None, "shipped facts, questions"))
    made = calibration(
        replace(config, vision=None),
        method="awq",
        tokenizer=tokenizer,
        preprocess=preprocess_for(config),
        tokens=600,
    )
    assert made.source == "shipped facts, questions"
    assert all(sample.pixels is None for sample in made.samples)


def test_no_tokens_are_no_calibration(config: OslerConfig, tokenizer: GemmaTokenizer) -> None:
    with pytest.raises(RequestError, match=r"A calibration on 0 tokens"):
        make(config, tokenizer, tokens=0)
