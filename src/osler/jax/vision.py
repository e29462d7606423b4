"""The SigLIP image tower in JAX (twin of `osler.model.vision`).

Dimensions: B images, C channels, S side of an image (px), s patches of a side,
p side of a patch (px), P patches, D width, N heads, H width of a head.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from osler.jax.linear import linear
from osler.jax.norm import layer_norm
from osler.model.config import VisionConfig

Tree = dict[str, Any]


def forward(tower: Tree, pixels_BCSS: Array, *, config: VisionConfig) -> Array:
    """Encodes images; returns one feature vector a patch, (B, P, D), row by row from the top left."""
    x_BPD = encode(tower["layers"], embed_patches(tower, pixels_BCSS, config=config), config=config)
    return norm(tower, x_BPD, config=config)


def forward_to(tower: Tree, pixels_BCSS: Array, *, layers: int, config: VisionConfig) -> Array:
    """Encodes images with the first layers only, (B, P, D); the last norm belongs to all of them."""
    if layers >= config.layers:
        return forward(tower, pixels_BCSS, config=config)
    first = jax.tree.map(lambda stack: stack[:layers], tower["layers"])
    return encode(first, embed_patches(tower, pixels_BCSS, config=config), config=config)


def encode(layers: Tree, x_BPD: Array, *, config: VisionConfig) -> Array:
    """Runs stacked layers over embedded patches, (B, P, D)."""
    x_BPD, _ = lax.scan(lambda x, layer: (_layer(layer, x, config=config), None), x_BPD, layers)
    return x_BPD


def norm(tower: Tree, x_BPD: Array, *, config: VisionConfig) -> Array:
    """The last norm of the tower."""
    return layer_norm(x_BPD, tower["post_layernorm.weight"], tower["post_layernorm.bias"], eps=config.norm_eps)


def embed_patches(tower: Tree, pixels_BCSS: Array, *, config: VisionConfig) -> Array:
    """Projects patches and adds their positions, (B, P, D)."""
    weight_DCpp = tower["patch_embedding.weight"]
    B, C, _, _ = pixels_BCSS.shape
    s, p = config.side, config.patch
    grid = pixels_BCSS[..., : s * p, : s * p].astype(weight_DCpp.dtype).reshape(B, C, s, p, s, p)
    patches = grid.transpose(0, 2, 4, 1, 3, 5).reshape(B, s * s, C * p * p)
    flat = weight_DCpp.reshape(weight_DCpp.shape[0], -1)
    return linear(patches, flat, tower["patch_embedding.bias"]) + tower["position_embedding"]


def _layer(layer: Tree, x_BPD: Array, *, config: VisionConfig) -> Array:
    eps = config.norm_eps
    normed = layer_norm(x_BPD, layer["layer_norm1.weight"], layer["layer_norm1.bias"], eps=eps)
    x_BPD = x_BPD + _attention(layer, normed, heads=config.heads)
    normed = layer_norm(x_BPD, layer["layer_norm2.weight"], layer["layer_norm2.bias"], eps=eps)
    hidden = jax.nn.gelu(linear(normed, layer["mlp.fc1.weight"], layer["mlp.fc1.bias"]), approximate=True)
    return x_BPD + linear(hidden, layer["mlp.fc2.weight"], layer["mlp.fc2.bias"])


def _attention(layer: Tree, x_BPD: Array, *, heads: int) -> Array:
    B, P, D = x_BPD.shape
    q_BPNH, k_BPNH, v_BPNH = (
        linear(x_BPD, layer[f"self_attn.{name}_proj.weight"], layer[f"self_attn.{name}_proj.bias"]).reshape(
            B, P, heads, -1
        )
        for name in ("q", "k", "v")
    )
    scale = q_BPNH.shape[-1] ** -0.5
    scores = jnp.einsum("bqnh,bknh->bnqk", q_BPNH, k_BPNH, preferred_element_type=jnp.float32) * scale
    weights = jax.nn.softmax(scores, axis=-1).astype(x_BPD.dtype)
    out = jnp.einsum("bnqk,bknh->bqnh", weights, v_BPNH, preferred_element_type=jnp.float32).astype(x_BPD.dtype)
    return linear(out.reshape(B, P, D), layer["self_attn.out_proj.weight"], layer["self_attn.out_proj.bias"])
