"""Counts the arithmetic of reading a volume: multiplications and additions of matrix products, each as one operation.

Norms, softmax, rotations and activations are left out: they are below 2% of it.
Sums of causal attention count the keys that a token sees, not the square.
"""

from __future__ import annotations

from osler.model.config import DecoderConfig, OslerConfig, VisionConfig, VolumeConfig


def tower_flops(vision: VisionConfig) -> int:
    """Of one image, or of one slab, through the image tower."""
    patches, width = vision.side**2, vision.width
    embedding = 2 * patches * 3 * vision.patch**2 * width
    linear = 2 * patches * (4 * width**2 + 2 * width * vision.mlp_width)
    attention = 4 * patches**2 * width
    return embedding + vision.layers * (linear + attention)


def projection_flops(config: OslerConfig, *, tokens: int) -> int:
    """Of the projector's product for so many soft tokens."""
    assert config.vision is not None
    return 2 * tokens * config.vision.width * config.decoder.width


def mixing_flops(volume: VolumeConfig, *, config: OslerConfig, slabs: int) -> int:
    """Of what a trained volumetric path adds: deviation and mixing layers."""
    vision = config.vision
    assert vision is not None
    width, cells = vision.width, slabs * config.image_tokens
    deviation = slabs * 2 * vision.side**2 * 3 * volume.depth * vision.patch**2 * width
    linear = 2 * cells * (4 * width**2 + 2 * width * volume.mlp_width)
    seen = sum(min(slabs, s + volume.reach + 1) - max(0, s - volume.reach) for s in range(slabs))
    attention = 4 * seen * config.image_tokens * width
    return deviation + volume.layers * (linear + attention)


def prefill_flops(decoder: DecoderConfig, *, tokens: int) -> int:
    """Of reading a prompt, the scores of the vocabulary after its last token included."""
    heads = 2 * decoder.heads + 2 * decoder.kv_heads
    linear = 2 * tokens * decoder.width * (heads * decoder.head_dim + 3 * decoder.mlp_width)
    seen = {"global": tokens * (tokens + 1) // 2}
    short = min(tokens, decoder.window)
    seen["sliding"] = short * (short + 1) // 2 + (tokens - short) * decoder.window
    attention = sum(seen[decoder.kind(layer)] for layer in range(decoder.layers))
    return (
        decoder.layers * linear + 4 * attention * decoder.heads * decoder.head_dim + 2 * decoder.width * decoder.vocab
    )
