"""Folders that Osler writes load in transformers with the same logits, and the other way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
)

from osler.model.config import DecoderConfig, OslerConfig, get_config
from osler.model.osler import Osler, image_blocks
from osler.weights.huggingface import load_huggingface, save_huggingface
from osler.weights.safetensors_io import read_safetensors, write_safetensors

_TEXT = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "sliding_window": 24,
    "query_pre_attn_scalar": 16,
    "max_position_embeddings": 4096,
}
_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}
_IDS = [2, 9, 500, 511, 511, 511, 511, 501, *range(20, 60)]


def _shake(model: torch.nn.Module) -> torch.nn.Module:
    """Random values everywhere: fresh norms and projections are zeros or ones, which hide a wrong name."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def _theirs() -> Gemma3ForConditionalGeneration:
    config = Gemma3Config(
        text_config=_TEXT | {"rope_parameters": _ROPE},
        vision_config={
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 4,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        boi_token_index=500,
        eoi_token_index=501,
        image_token_index=511,
    )
    return _shake(Gemma3ForConditionalGeneration(config))


@torch.no_grad()
def _our_logits(model: Osler, *, pixels: torch.Tensor | None) -> torch.Tensor:
    ids = torch.tensor([_IDS if pixels is not None else _IDS[8:]])
    features = None if pixels is None else model.encode_images(pixels)
    blocks = None if pixels is None else image_blocks(ids, image_token=511)
    positions = torch.arange(ids.shape[1])[None]
    hidden = model.decoder(model.embed(ids, features), positions_BL=positions, image_blocks_BL=blocks)
    return model.logits(hidden)


@torch.no_grad()
def _their_logits(model: torch.nn.Module, *, pixels: torch.Tensor | None) -> torch.Tensor:
    if pixels is None:
        return model(input_ids=torch.tensor([_IDS[8:]])).logits
    ids = torch.tensor([_IDS])
    return model(input_ids=ids, pixel_values=pixels, token_type_ids=(ids == 511).long()).logits


def _pixels() -> torch.Tensor:
    return torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(8)) * 2 - 1


def _close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def _to_new_layout(folder: Path) -> None:
    """Renames tensors as transformers 4.52 to 4.57 saved them in memory."""
    stored = read_safetensors(folder / "model.safetensors").tensors
    renamed = {}
    for name, tensor in stored.items():
        name = name.replace("language_model.model.", "model.language_model.", 1)
        name = name.replace("vision_tower.", "model.vision_tower.", 1)
        renamed[name.replace("multi_modal_projector.", "model.multi_modal_projector.", 1)] = tensor.clone()
    renamed["lm_head.weight"] = renamed["model.language_model.embed_tokens.weight"].clone()
    write_safetensors(renamed, path=folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("layout", ["saved", "new"])
@pytest.mark.parametrize("shards", ["single", "sharded"])
def test_their_folder_gives_their_logits(tmp_path: Path, layout: str, shards: str) -> None:
    if layout == "new" and shards == "sharded":
        pytest.skip("renaming is done on the single file")
    theirs = _theirs()
    theirs.save_pretrained(tmp_path, max_shard_size="200KB" if shards == "sharded" else "5GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == (shards == "sharded")
    if layout == "new":
        _to_new_layout(tmp_path)
    loaded = load_huggingface(tmp_path)
    _close(_our_logits(loaded.model, pixels=_pixels()), _their_logits(theirs, pixels=_pixels()))


@pytest.mark.parametrize("shard_bytes", [5_000_000_000, 200_000])
def test_our_folder_gives_our_logits_there(tmp_path: Path, shard_bytes: int) -> None:
    ours = _shake(Osler(get_config("debug")))
    save_huggingface(ours, tmp_path, shard_bytes=shard_bytes)
    theirs, info = Gemma3ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    _close(_our_logits(ours, pixels=_pixels()), _their_logits(theirs.eval(), pixels=_pixels()))


def test_text_only_gemma_3_both_ways(tmp_path: Path) -> None:
    theirs = _shake(Gemma3ForCausalLM(Gemma3TextConfig(**_TEXT, rope_parameters=_ROPE)))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_huggingface(tmp_path / "theirs").model
    _close(_our_logits(ours, pixels=None), _their_logits(theirs, pixels=None))
    save_huggingface(ours, tmp_path / "ours")
    again = Gemma3ForCausalLM.from_pretrained(tmp_path / "ours").eval()
    _close(_our_logits(ours, pixels=None), _their_logits(again, pixels=None))


def test_gemma_2_both_ways(tmp_path: Path) -> None:
    config = Gemma2Config(**_TEXT, attn_implementation="eager")
    theirs = _shake(Gemma2ForCausalLM(config))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_huggingface(tmp_path / "theirs").model
    assert (ours.config.decoder.qk_norm, ours.config.decoder.attention_softcap) == ("none", 50.0)
    _close(_our_logits(ours, pixels=None), _their_logits(theirs, pixels=None))
    save_huggingface(ours, tmp_path / "ours")
    again = Gemma2ForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    _close(_our_logits(ours, pixels=None), _their_logits(again, pixels=None))


def test_absent_keys_take_their_class_defaults(tmp_path: Path) -> None:
    """The same defaults, read from the class itself, so that a change there is noticed here."""
    given = {"model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 6}
    (tmp_path / "config.json").write_text(json.dumps(given))
    theirs = Gemma3TextConfig(hidden_size=64, num_hidden_layers=6)
    from osler.weights.hf_config import config_from_huggingface

    ours = config_from_huggingface(given, source="x").config
    assert ours == OslerConfig(
        name="gemma3",
        vision=None,
        decoder=DecoderConfig(
            vocab=theirs.vocab_size,
            width=64,
            mlp_width=theirs.intermediate_size,
            layers=6,
            heads=theirs.num_attention_heads,
            kv_heads=theirs.num_key_value_heads,
            head_dim=theirs.head_dim,
            window=theirs.sliding_window,
            query_scalar=theirs.query_pre_attn_scalar,
            rope_theta=theirs.rope_parameters["full_attention"]["rope_theta"],
            rope_theta_sliding=theirs.rope_parameters["sliding_attention"]["rope_theta"],
            norm_eps=theirs.rms_norm_eps,
            max_positions=theirs.max_position_embeddings,
        ),
    )
