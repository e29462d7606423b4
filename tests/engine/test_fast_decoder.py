"""The fast decoder computes what the model computes, in bfloat16 to the bit where kernels allow."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from osler.engine.device import has_fast_bfloat16
from osler.engine.fast_decoder import FastDecoder, choose_packing
from osler.engine.kv_cache import KVCache
from osler.model.config import OslerConfig
from osler.model.decoder import Decoder
from osler.model.osler import Osler

needs_bfloat16 = pytest.mark.skipif(not has_fast_bfloat16(), reason="this CPU has no bfloat16 kernels")


def _hidden(decoder: Decoder | FastDecoder, model: Osler, *, lengths: tuple[int, ...]) -> list[torch.Tensor]:
    """Hidden states of successive parts of one sequence."""
    generator = torch.Generator().manual_seed(1)
    cache = KVCache(model.config.decoder, planned=sum(lengths))
    out = []
    for length in lengths:
        ids_1L = torch.randint(110, 490, (1, length), generator=generator)
        positions_1L = torch.arange(cache.length, cache.length + length)[None]
        run = decoder.forward
        with torch.inference_mode():
            out.append(run(model.decoder.embed(ids_1L), positions_BL=positions_1L, cache=cache))
    return out


PARTS = (9, 1, 1, 40, 1, 1, 3)


def test_float32_agrees_with_the_model(model: Osler) -> None:
    fast = FastDecoder(model.decoder)
    expected = _hidden(model.decoder, model, lengths=PARTS)
    for found, wanted in zip(_hidden(fast, model, lengths=PARTS), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@needs_bfloat16
def test_bfloat16_is_equal_to_the_bit_when_reading(model: Osler) -> None:
    small = copy.deepcopy(model).bfloat16()
    fast = FastDecoder(small.decoder)
    found, wanted = (_hidden(decoder, small, lengths=(30,))[0] for decoder in (fast, small.decoder))
    assert torch.equal(found, wanted)
    assert torch.equal(fast.logits(found), small.logits(wanted))


@needs_bfloat16
def test_bfloat16_steps_stay_within_its_precision(model: Osler) -> None:
    small = copy.deepcopy(model).bfloat16()
    expected = _hidden(small.decoder, small, lengths=PARTS)
    for found, wanted in zip(_hidden(FastDecoder(small.decoder), small, lengths=PARTS), expected, strict=True):
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.03


def test_soft_caps_are_left_to_the_model(config: OslerConfig) -> None:
    capped = Decoder(replace(config.decoder, attention_softcap=50.0))
    value, reason = choose_packing(capped, available=1 << 40)
    assert (value, reason) == ("plain", "soft-capped attention has no fast path")


def test_float32_is_not_packed(model: Osler) -> None:
    value, reason = choose_packing(model.decoder, available=1 << 40)
    assert value == "plain"
    assert "float32" in reason


@needs_bfloat16
def test_packing_needs_the_memory(model: Osler) -> None:
    small = copy.deepcopy(model.decoder).bfloat16()
    assert choose_packing(small, available=1 << 40).value == "packed"
    value, reason = choose_packing(small, available=1000)
    assert value == "plain"
    assert "packed copy would take" in reason
