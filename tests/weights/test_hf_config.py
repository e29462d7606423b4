"""config.json files: hub style, transformers 5 style, absent keys, and other networks."""

from __future__ import annotations

import json

import pytest

from osler.errors import CheckpointError
from osler.model.config import config_names, get_config
from osler.weights.hf_config import config_from_huggingface, huggingface_config

_HUB_4B = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "eos_token_id": [1, 106],
    "image_token_index": 262144,
    "mm_tokens_per_image": 256,
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "vision_config": {
        "hidden_size": 1152,
        "image_size": 896,
        "intermediate_size": 4304,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
        "vision_use_head": False,
    },
}


def _changed(**text: object) -> dict[str, object]:
    return _HUB_4B | {"text_config": _HUB_4B["text_config"] | text}


def test_the_hub_file_is_the_published_network() -> None:
    found = config_from_huggingface(_HUB_4B, source="config.json")
    assert found.config == get_config("medgemma-1.5-4b")
    assert found.warnings == ()


def test_an_absent_key_takes_the_class_default_and_is_warned_about() -> None:
    content = _changed()
    del content["text_config"]["sliding_window"]
    found = config_from_huggingface(content, source="config.json")
    assert found.config.decoder.window == 4096
    assert "decoder.window is 4096, published 1024" in found.warnings[0]
    assert "sliding_window" in found.warnings[0]


def test_an_empty_text_config_is_the_class_default() -> None:
    decoder = config_from_huggingface({"model_type": "gemma3"}, source="x").config.decoder
    assert (decoder.width, decoder.mlp_width, decoder.layers, decoder.window) == (2304, 9216, 26, 4096)


def test_rotary_positions_of_transformers_5_are_read() -> None:
    content = _changed(
        rope_parameters={
            "full_attention": {"factor": 8.0, "rope_theta": 500_000.0, "rope_type": "linear"},
            "sliding_attention": {"rope_theta": 9_000.0, "rope_type": "default"},
        }
    )
    del content["text_config"]["rope_scaling"]
    decoder = config_from_huggingface(content, source="x").config.decoder
    assert (decoder.rope_theta, decoder.rope_theta_sliding, decoder.rope_scale) == (500_000.0, 9_000.0, 8.0)


@pytest.mark.parametrize("name", config_names())
def test_every_variant_goes_out_and_comes_back(name: str) -> None:
    config = get_config(name)
    content = json.loads(json.dumps(huggingface_config(config)))
    found = config_from_huggingface(content, source="x").config
    assert found.decoder == config.decoder
    assert found.vision == config.vision
    if config.vision is not None:
        assert found.tokens == config.tokens
        assert found.image_tokens == config.image_tokens


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "network of type None"),
        ({"model_type": "llama"}, r"network of type 'llama'.*Osler runs gemma3"),
        (_changed(hidden_activation="silu"), r"hidden_activation = 'silu'.*has 'gelu_pytorch_tanh'"),
        (_changed(attention_bias=True), "attention_bias = True"),
        (_changed(tie_word_embeddings=False), "tie_word_embeddings = False"),
        (_changed(rope_scaling={"rope_type": "yarn", "factor": 2.0}), r"rope_type = 'yarn'"),
        (_changed(layer_types=["full_attention", "sliding_attention"] * 17), "layer_types"),
        (_changed(hidden_size="wide"), r"make no network: ValueError"),
        (_changed(hidden_size=[1]), r"make no network: TypeError"),
        (_HUB_4B | {"text_config": [1]}, "make no network"),
        (_HUB_4B | {"vision_config": _HUB_4B["vision_config"] | {"num_channels": 1}}, "num_channels = 1"),
    ],
)
def test_other_networks_and_wrong_values_are_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        config_from_huggingface(content, source="folder/config.json")
