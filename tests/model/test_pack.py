"""Packed weights: the same results, in every layout that this machine has."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from osler.model.config import DecoderConfig, get_config
from osler.model.decoder import Decoder
from osler.model.pack import Packing, choose_packing, pack

GEMMA3 = get_config("debug").decoder
GEMMA2 = replace(GEMMA3, qk_norm="none", attention_softcap=5.0, logit_softcap=3.0)


def _decoder(config: DecoderConfig, *, dtype: torch.dtype) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(config).eval()
    for name, parameter in decoder.named_parameters():
        if "norm" in name:
            parameter.data.normal_(0, 0.3)
    return decoder.to(dtype)


def _logits(decoder: Decoder, *, length: int) -> torch.Tensor:
    ids = torch.arange(3, 3 + length)[None]
    return decoder.logits(decoder(decoder.embed(ids), positions_BL=torch.arange(length)[None]))


@torch.inference_mode()
@pytest.mark.parametrize("config", [GEMMA3, GEMMA2], ids=["gemma3", "gemma2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 5, 70])
def test_packing_changes_no_result(config: DecoderConfig, dtype: torch.dtype, length: int) -> None:
    plain = _decoder(config, dtype=dtype)
    wanted = _logits(plain, length=length)
    packed = deepcopy(plain)
    pack(packed)
    found = _logits(packed, length=length)
    # The kernels may add in another order; nothing else may differ.
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 2e-2}[dtype]
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()


@torch.inference_mode()
def test_packing_is_exact_in_the_plain_layout() -> None:
    plain = _decoder(GEMMA3, dtype=torch.bfloat16)
    packed = deepcopy(plain)
    pack(packed, packing=Packing(layout="plain", reason="asked for"))
    error = (_logits(packed, length=30) - _logits(plain, length=30)).abs().max()
    assert error <= 2e-2 * _logits(plain, length=30).abs().max()


def test_plain_weights_are_let_go() -> None:
    decoder = _decoder(GEMMA3, dtype=torch.bfloat16)
    pack(decoder)
    assert [name for name, _ in decoder.named_parameters()] == ["embed_tokens.weight"]


def test_the_choice_has_a_reason() -> None:
    assert choose_packing(device=torch.device("cpu"), dtype=torch.float32).layout == "plain"
    assert "bfloat16" in choose_packing(device=torch.device("cpu"), dtype=torch.float32).reason
    assert "cuda" in choose_packing(device=torch.device("cuda"), dtype=torch.bfloat16).reason
