"""Adapters travel between Osler and peft."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Gemma3ForConditionalGeneration

from osler.model.config import get_config
from osler.model.osler import Osler
from osler.weights.huggingface import load_huggingface, save_huggingface
from osler.weights.lora import DECODER_LINEARS, LoraConfig, add_lora, load_adapter, merge_lora, save_adapter

peft = pytest.importorskip("peft", reason="peft is not installed")

_IDS = torch.arange(3, 43)[None]


@torch.no_grad()
def _ours(model: Osler) -> torch.Tensor:
    return model.logits(model.decoder(model.embed(_IDS), positions_BL=torch.arange(_IDS.shape[1])[None]))


@torch.no_grad()
def _theirs(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=_IDS).logits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(11)
    save_huggingface(Osler(get_config("debug")), tmp_path / "base")
    return tmp_path


def test_peft_reads_our_adapter(folder: Path) -> None:
    ours = load_huggingface(folder / "base").model
    plain = _ours(ours)
    config = LoraConfig(rank=4, alpha=8, targets=DECODER_LINEARS)
    for parameter in add_lora(ours.decoder, config=config):
        parameter.data.normal_(std=0.2)
    save_adapter(ours, folder / "adapter", config=config)
    base = Gemma3ForConditionalGeneration.from_pretrained(folder / "base").eval()
    theirs = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    assert (_ours(ours) - plain).abs().max() > 1e-3
    torch.testing.assert_close(_theirs(theirs), _ours(ours), rtol=1e-4, atol=1e-5)
    merge_lora(ours)
    torch.testing.assert_close(_theirs(theirs.merge_and_unload()), _ours(ours), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rslora", [False, True])
def test_we_read_an_adapter_of_peft(folder: Path, rslora: bool) -> None:
    base = Gemma3ForConditionalGeneration.from_pretrained(folder / "base").eval()
    settings = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], use_rslora=rslora)
    theirs = peft.get_peft_model(base, settings).eval()
    torch.manual_seed(12)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.2)
    theirs.save_pretrained(folder / "adapter")
    ours = load_huggingface(folder / "base").model
    plain = _ours(ours)
    load_adapter(ours, folder / "adapter")
    assert (_ours(ours) - plain).abs().max() > 1e-3
    torch.testing.assert_close(_ours(ours), _theirs(theirs), rtol=1e-4, atol=1e-5)
