"""Pairs of networks with the same random weights: the reference and ours.

The configurations are small and have the true structure: grouped queries,
sliding and global layers, several layers of each kind, soft-caps for Gemma 2.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from osler.model.config import DecoderConfig, OslerConfig, VisionConfig, get_config
from osler.model.osler import Osler

GEMMA3 = get_config("debug")
GEMMA2 = OslerConfig(
    name="gemma-2-debug",
    decoder=replace(
        GEMMA3.decoder,
        layers=4,
        global_every=2,
        rope_theta=10_000.0,
        rope_scale=1.0,
        qk_norm="none",
        attention_softcap=2.0,
        logit_softcap=1.5,
    ),
    vision=None,
)


def relative_difference(ours: Tensor, *, reference: Tensor) -> float:
    """Greatest difference over the greatest magnitude of the reference."""
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    return float((ours.double() - reference.double()).abs().max() / reference.double().abs().max())


def randomize(module: nn.Module, *, seed: int) -> None:
    """Fills all parameters, those that start at zero or one included."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            fan_in = parameter.shape[0] if name.endswith("projection_weight") else parameter[0].numel()
            noise = noise / fan_in**0.5
        else:
            noise = noise * 0.2
        parameter.data = (parameter.data * 0 + noise).to(parameter.dtype)


def text_config(config: DecoderConfig) -> Gemma3TextConfig:
    """Writes a decoder configuration as the reference knows it."""
    return Gemma3TextConfig(
        vocab_size=config.vocab,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        sliding_window=config.window,
        sliding_window_pattern=config.global_every,
        query_pre_attn_scalar=int(config.query_scalar),
        rms_norm_eps=config.norm_eps,
        max_position_embeddings=config.max_positions,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": config.rope_scale, "rope_theta": config.rope_theta},
            "sliding_attention": {"rope_type": "default", "rope_theta": config.rope_theta_sliding},
        },
        attn_implementation="eager",
    )


def vision_config(config: VisionConfig) -> SiglipVisionConfig:
    """Writes a tower configuration as the reference knows it."""
    return SiglipVisionConfig(
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        image_size=config.image_size,
        patch_size=config.patch,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=config.norm_eps,
        vision_use_head=False,
        attn_implementation="eager",
    )


def multimodal_pair(config: OslerConfig = GEMMA3, *, seed: int = 0) -> tuple[Gemma3ForConditionalGeneration, Osler]:
    """Builds the reference with images and text, and ours with its weights."""
    assert config.vision is not None
    reference_config = Gemma3Config(
        text_config=text_config(config.decoder),
        vision_config=vision_config(config.vision),
        mm_tokens_per_image=config.image_tokens,
        boi_token_index=config.tokens.start_of_image,
        eoi_token_index=config.tokens.end_of_image,
        image_token_index=config.tokens.image,
        attn_implementation="eager",
    )
    reference = Gemma3ForConditionalGeneration(reference_config).eval()
    randomize(reference, seed=seed)
    ours = Osler(config).eval()
    ours.load_state_dict(
        {
            name.removeprefix("model."): tensor
            for name, tensor in reference.state_dict().items()
            if not name.startswith("lm_head")
        }
    )
    return reference, ours


def text_pair(config: OslerConfig, *, seed: int = 0) -> tuple[Gemma3ForCausalLM | Gemma2ForCausalLM, Osler]:
    """Builds a text-only reference, Gemma 3 or Gemma 2, and ours with its weights."""
    reference: Gemma3ForCausalLM | Gemma2ForCausalLM
    if config.decoder.qk_norm == "rms":
        reference = Gemma3ForCausalLM(text_config(config.decoder)).eval()
    else:
        reference = Gemma2ForCausalLM(_gemma2_config(config.decoder)).eval()
    randomize(reference, seed=seed)
    ours = Osler(replace(config, vision=None)).eval()
    ours.load_state_dict(
        {
            name.replace("model.", "language_model.", 1): tensor
            for name, tensor in reference.state_dict().items()
            if not name.startswith("lm_head")
        }
    )
    return reference, ours


def vision_reference(config: VisionConfig) -> SiglipVisionModel:
    """Builds the reference tower alone."""
    return SiglipVisionModel(vision_config(config)).eval()


def _gemma2_config(config: DecoderConfig) -> Gemma2Config:
    return Gemma2Config(
        vocab_size=config.vocab,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        sliding_window=config.window,
        query_pre_attn_scalar=int(config.query_scalar),
        rms_norm_eps=config.norm_eps,
        max_position_embeddings=config.max_positions,
        attn_logit_softcapping=config.attention_softcap,
        final_logit_softcapping=config.logit_softcap,
        attn_implementation="eager",
    )
