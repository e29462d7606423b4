"""Weights are packed where it pays and fits."""

from __future__ import annotations

import pytest
import torch

from osler.engine.packing import choose_packing
from osler.errors import RequestError
from osler.model import pack as packs
from osler.model.config import get_config
from osler.model.decoder import Decoder

ROOMY = 1 << 40
needs_bfloat16 = pytest.mark.skipif(
    packs.choose_packing(device=torch.device("cpu"), dtype=torch.bfloat16).layout != "onednn",
    reason="this CPU has no bfloat16 kernels",
)


def _decoder(name: str, *, dtype: torch.dtype, device: str = "cpu") -> Decoder:
    with torch.device(device):
        return Decoder(get_config(name).decoder).to(dtype)


def test_a_wish_is_granted() -> None:
    decoder = _decoder("debug", dtype=torch.float32)
    assert choose_packing(decoder, wish="packed", available=0) == ("packed", "asked for")
    assert choose_packing(decoder, wish="plain", available=ROOMY) == ("plain", "asked for")


def test_float32_stays_plain() -> None:
    value, reason = choose_packing(_decoder("debug", dtype=torch.float32), available=ROOMY)
    assert value == "plain"
    assert "bfloat16" in reason


@needs_bfloat16
def test_packing_needs_the_memory() -> None:
    decoder = _decoder("debug", dtype=torch.bfloat16)
    assert choose_packing(decoder, available=ROOMY).value == "packed"
    value, reason = choose_packing(decoder, available=1000)
    assert value == "plain"
    assert "0.0 GB are free" in reason


@needs_bfloat16
def test_a_large_model_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        packs, "choose_packing", lambda **options: packs.Packing(layout="onednn", reason="chosen by the test")
    )
    decoder = _decoder("medgemma-1.5-4b", dtype=torch.bfloat16, device="meta")
    value, reason = choose_packing(decoder, available=ROOMY)
    assert value == "plain"
    assert "7.8 GB takes longer" in reason


def test_an_unknown_wish_names_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"Unknown packing 'pack'.*Did you mean 'packed'"):
        choose_packing(_decoder("debug", dtype=torch.float32), wish="pack", available=ROOMY)
