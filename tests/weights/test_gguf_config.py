"""What the embedded file says about its network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from osler.errors import CheckpointError
from osler.model.config import get_config
from osler.weights.assemble import empty_network
from osler.weights.gguf_config import config_from_gguf, gguf_tensors
from osler.weights.gguf_file import GgufFile


def test_the_embedded_file_describes_the_mini_decoder(embedded: GgufFile) -> None:
    config = config_from_gguf(embedded)
    assert config.decoder == get_config("osler-mini").decoder
    assert config.tokens == get_config("osler-mini").tokens
    assert config.vision is None


def test_names_and_shapes_are_the_networks(embedded: GgufFile) -> None:
    wanted = {name: value.shape for name, value in empty_network(config_from_gguf(embedded)).state_dict().items()}
    assert {name: value.shape for name, value in gguf_tensors(embedded, dtype=torch.bfloat16)} == wanted


def test_norms_are_stored_one_higher(embedded: GgufFile) -> None:
    stored = embedded.read("blk.0.attn_norm.weight", dtype=torch.float32)
    for name, value in gguf_tensors(embedded, dtype=torch.float32):
        if name == "language_model.layers.0.input_layernorm.weight":
            assert torch.equal(value, stored - 1)
            return
    pytest.fail("no input norm")


def test_scaled_rotary_positions_and_gemma_2_are_read(embedded: GgufFile) -> None:
    scaled = replace(embedded, metadata=embedded.metadata | {"gemma3.rope.scaling.factor": 8.0})
    assert config_from_gguf(scaled).decoder.rope_scale == 8.0
    older = {key.replace("gemma3.", "gemma2."): value for key, value in embedded.metadata.items()}
    older |= {"general.architecture": "gemma2", "gemma2.attention.sliding_window": 4096}
    older.pop("gemma2.rope.freq_base")
    decoder = config_from_gguf(replace(embedded, metadata=older)).decoder
    assert (decoder.qk_norm, decoder.global_every, decoder.window) == ("none", 2, 4096)
    assert (decoder.attention_softcap, decoder.logit_softcap) == (50.0, 30.0)
    assert (decoder.rope_theta, decoder.rope_theta_sliding) == (10_000.0, 10_000.0)


def test_another_architecture_is_refused(embedded: GgufFile) -> None:
    other = replace(embedded, metadata=embedded.metadata | {"general.architecture": "llama"})
    with pytest.raises(CheckpointError, match=r"architecture 'llama'.*Osler runs gemma2 and gemma3 files"):
        config_from_gguf(other)


def test_odd_metadata_are_refused(embedded: GgufFile) -> None:
    other = replace(embedded, metadata=embedded.metadata | {"gemma3.block_count": "many"})
    with pytest.raises(CheckpointError, match="make no network: invalid literal"):
        config_from_gguf(other)
