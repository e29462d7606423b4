"""Heads that read image features, in JAX (twin of `osler.model.heads`).

Dimensions: B studies, M features of a study, V width of the tower, C width of a
text state, Q queries, F findings, K texts, N heads, H width of a head, E width
of the shared space. Coordinates run along x, y, z, 0 to 1.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from osler.jax import vision as tower
from osler.jax.linear import linear
from osler.jax.norm import layer_norm
from osler.model.config import HeadsConfig, VisionConfig

Tree = dict[str, Any]
_EPS = 1e-5
_FREQUENCIES = 8
_OFFSET = 0.08


def trunk(heads: Tree, x_BPV: Array, *, config: HeadsConfig, vision: VisionConfig) -> Array:
    """The last layers of the tower once more, (B, P, V), from the features before them."""
    if not config.trunk:
        return x_BPV
    x_BPV = tower.encode(heads["trunk"]["layers"], x_BPV, config=vision)
    return layer_norm(x_BPV, heads["trunk.norm.weight"], heads["trunk.norm.bias"], eps=vision.norm_eps)


def cross_attention(
    heads: Tree, q_BQV: Array, *, name: str, features_BMV: Array, padding_BM: Array | None = None, config: HeadsConfig
) -> Array:
    """Returns what queries gather of features, (B, Q, V).

    Args:
        heads: Weights. name: Of the attention in them, such as ``"boxes.attention"``.
        q_BQV: Queries. features_BMV: What they read.
        padding_BM: True where a feature is none.
        config: Of the heads.
    """

    def split(x: Array, projection: str) -> Array:
        out = linear(x, heads[f"{name}.{projection}.weight"], heads[f"{name}.{projection}.bias"])
        return out.reshape(*out.shape[:-1], config.heads, -1).swapaxes(1, 2)

    normed = layer_norm(q_BQV, heads[f"{name}.norm.weight"], heads[f"{name}.norm.bias"], eps=_EPS)
    q_BNQH, k_BNMH, v_BNMH = split(normed, "q_proj"), split(features_BMV, "k_proj"), split(features_BMV, "v_proj")
    scores = jnp.einsum("bnqh,bnmh->bnqm", q_BNQH, k_BNMH, preferred_element_type=jnp.float32)
    scores = _hidden(scores * q_BNQH.shape[-1] ** -0.5, padding_BM)
    shares = jax.nn.softmax(scores, axis=-1).astype(q_BQV.dtype)
    out_BNQH = jnp.einsum("bnqm,bnmh->bnqh", shares, v_BNMH, preferred_element_type=jnp.float32).astype(q_BQV.dtype)
    out_BQV = out_BNQH.swapaxes(1, 2).reshape(*q_BQV.shape[:2], -1)
    return linear(out_BQV, heads[f"{name}.out_proj.weight"], heads[f"{name}.out_proj.bias"])


def position_embedding(heads: Tree, positions_BM3: Array) -> Array:
    """Sines and cosines of coordinates, mapped to the width of the features, (B, M, V)."""
    weight = heads["boxes.position.proj.weight"]
    octaves = math.pi * 2.0 ** jnp.arange(_FREQUENCIES, dtype=jnp.float32) / 2
    angles = positions_BM3[..., None].astype(jnp.float32) * octaves
    angles = angles.reshape(*angles.shape[:-2], -1)
    return linear(jnp.concatenate((jnp.sin(angles), jnp.cos(angles)), axis=-1).astype(weight.dtype), weight)


def boxes(
    heads: Tree,
    text_BQC: Array,
    *,
    features_BMV: Array,
    positions_BM3: Array,
    padding_BM: Array | None = None,
    config: HeadsConfig,
) -> tuple[Array, Array]:
    """Finds one box a label; see `osler.model.heads.BoxHead`.

    Returns:
        Boxes (B, Q, 6): x0, y0, z0, x1, y1, z1 in 0 to 1, ordered; and logits of their presence (B, Q).
    """
    x_BQV, placed_BMV = box_states(
        heads,
        text_BQC,
        features_BMV=features_BMV,
        positions_BM3=positions_BM3,
        padding_BM=padding_BM,
        config=config,
    )
    edges = linear(x_BQV, heads["boxes.edges.weight"], heads["boxes.edges.bias"])
    edges_BQ6V = edges.reshape(*x_BQV.shape[:2], 6, -1)
    keys_BMV = linear(placed_BMV, heads["boxes.keys.weight"], heads["boxes.keys.bias"])
    scores = jnp.einsum("bqev,bmv->bqem", edges_BQ6V, keys_BMV).astype(jnp.float32) * edges_BQ6V.shape[-1] ** -0.5
    shares = jax.nn.softmax(_hidden(scores, padding_BM), axis=-1)
    places_BQ63 = jnp.einsum("bqem,bmc->bqec", shares, positions_BM3.astype(jnp.float32))
    found_BQ6 = places_BQ63[..., np.arange(6), np.arange(6) % 3]
    offset_BQ6 = linear(x_BQV, heads["boxes.offset.weight"], heads["boxes.offset.bias"]).astype(jnp.float32)
    found_BQ6 = jnp.clip(found_BQ6 + _OFFSET * jnp.tanh(offset_BQ6), 0, 1)
    low, high = found_BQ6[..., :3], found_BQ6[..., 3:]
    presence_BQ = linear(x_BQV, heads["boxes.presence.weight"], heads["boxes.presence.bias"])[..., 0]
    return jnp.concatenate((jnp.minimum(low, high), jnp.maximum(low, high)), axis=-1), presence_BQ.astype(jnp.float32)


def box_states(
    heads: Tree,
    text_BQC: Array,
    *,
    features_BMV: Array,
    positions_BM3: Array,
    padding_BM: Array | None = None,
    config: HeadsConfig,
) -> tuple[Array, Array]:
    """Gathers what each label needs; returns its state (B, Q, V) and the features with their places (B, M, V)."""
    placed_BMV = features_BMV + position_embedding(heads, positions_BM3).astype(features_BMV.dtype)
    x_BQV = linear(text_BQC, heads["boxes.query.weight"], heads["boxes.query.bias"])
    x_BQV = x_BQV + cross_attention(
        heads, x_BQV, name="boxes.attention", features_BMV=placed_BMV, padding_BM=padding_BM, config=config
    )
    normed = layer_norm(x_BQV, heads["boxes.norm.weight"], heads["boxes.norm.bias"], eps=_EPS)
    return x_BQV + _mlp(heads, normed, name="boxes.mlp"), placed_BMV


def findings(
    heads: Tree, features_BMV: Array, *, padding_BM: Array | None = None, config: HeadsConfig
) -> tuple[Array, Array]:
    """Returns a state (B, F, V) and a logit (B, F) for each finding, not yet calibrated."""
    queries_FV = heads["findings.queries"].astype(features_BMV.dtype)
    q_BFV = jnp.broadcast_to(queries_FV, (len(features_BMV), *queries_FV.shape))
    gathered = cross_attention(
        heads, q_BFV, name="findings.attention", features_BMV=features_BMV, padding_BM=padding_BM, config=config
    )
    if config.states == "batch":
        state_BFV = _picture_norm(heads, q_BFV + gathered)
    else:
        state_BFV = layer_norm(q_BFV + gathered, heads["findings.norm.weight"], heads["findings.norm.bias"], eps=_EPS)
    weight_FV, bias_F = (heads[f"findings.{name}"].astype(jnp.float32) for name in ("weight", "bias"))
    return state_BFV, (state_BFV.astype(jnp.float32) * weight_FV).sum(-1) + bias_F


def _picture_norm(heads: Tree, state_BFV: Array) -> Array:
    """Normalizes states by mean and variance over the pictures of training."""
    mean_FV, variance_FV = (heads[f"findings.norm.{name}"].astype(jnp.float32) for name in ("mean", "variance"))
    normed_BFV = (state_BFV.astype(jnp.float32) - mean_FV) * jax.lax.rsqrt(variance_FV + _EPS)
    return normed_BFV.astype(state_BFV.dtype)


def probabilities(heads: Tree, logits_BF: Array) -> Array:
    """Turns logits into probabilities, NaN for a finding that was not calibrated."""
    return jax.nn.sigmoid(heads["findings.scale"] * logits_BF + heads["findings.shift"])


def progression(heads: Tree, state_BFV: Array) -> Array:
    """Returns scores of `osler.model.heads.CHANGES`, (B, F, 6)."""
    normed = layer_norm(state_BFV, heads["progression.norm.weight"], heads["progression.norm.bias"], eps=_EPS)
    return _mlp(heads, normed, name="progression.mlp").astype(jnp.float32)


def embed_images(heads: Tree, features_BMV: Array, *, padding_BM: Array | None = None, config: HeadsConfig) -> Array:
    """Returns unit vectors of studies in the space of images and texts, (B, E)."""
    query_1V = heads["contrastive.query"].astype(features_BMV.dtype)
    q_B1V = jnp.broadcast_to(query_1V, (len(features_BMV), *query_1V.shape))
    pooled_BV = cross_attention(
        heads, q_B1V, name="contrastive.attention", features_BMV=features_BMV, padding_BM=padding_BM, config=config
    )[:, 0]
    return _unit(linear(pooled_BV, heads["contrastive.image.weight"]))


def embed_texts(heads: Tree, text_BC: Array) -> Array:
    """Returns unit vectors of texts in the same space, (B, E)."""
    normed = layer_norm(text_BC, heads["contrastive.text_norm.weight"], heads["contrastive.text_norm.bias"], eps=_EPS)
    return _unit(linear(normed, heads["contrastive.text.weight"]))


def contrastive_logits(heads: Tree, images_BE: Array, texts_KE: Array) -> Array:
    """Scores every image with every text, (B, K)."""
    scores = images_BE @ texts_KE.T
    return scores * jnp.exp(heads["contrastive.logit_scale"]) + heads["contrastive.logit_bias"]


def patch_positions(side: int, *, slices: int = 1) -> Array:
    """Centers of the patches of a stack of pictures, (slices * side * side, 3), 0 to 1 along x, y, z."""
    at = (jnp.arange(side, dtype=jnp.float32) + 0.5) / side
    depth = (jnp.arange(slices, dtype=jnp.float32) + 0.5) / slices
    z, y, x = jnp.meshgrid(depth, at, at, indexing="ij")
    return jnp.stack((x, y, z), axis=-1).reshape(-1, 3)


def volume_features(features_NPV: Array, *, depth_BS: Array, side: int) -> tuple[Array, Array]:
    """Joins the slices of volumes, four patches to one.

    Args:
        features_NPV: Of the slices of all volumes, one after the other.
        depth_BS: Center of each slice along its volume, 0 to 1; S slices each.
        side: Patches along one side of a slice, an even number.

    Returns:
        Features (B, M, V) and the places of their centers (B, M, 3).
    """
    B, S = depth_BS.shape
    V, half = features_NPV.shape[-1], side // 2
    grid = features_NPV.reshape(B, S, half, 2, half, 2, V).astype(jnp.float32)
    pooled_BMV = grid.mean((3, 5)).astype(features_NPV.dtype).reshape(B, -1, V)
    places_BSp3 = jnp.broadcast_to(patch_positions(half), (B, S, half * half, 3))
    places_BSp3 = places_BSp3.at[..., 2].set(depth_BS[..., None].astype(jnp.float32))
    return pooled_BMV, places_BSp3.reshape(B, -1, 3)


def _mlp(heads: Tree, x: Array, *, name: str) -> Array:
    hidden = jax.nn.gelu(linear(x, heads[f"{name}.0.weight"], heads[f"{name}.0.bias"]), approximate=False)
    return linear(hidden, heads[f"{name}.2.weight"], heads[f"{name}.2.bias"])


def _hidden(scores: Array, padding_BM: Array | None) -> Array:
    """Scores (B, ., Q, M) with those of padding at minus infinity."""
    return scores if padding_BM is None else jnp.where(padding_BM[:, None, None], -jnp.inf, scores)


def _unit(x: Array) -> Array:
    x = x.astype(jnp.float32)
    # The square root is kept from zero, where its gradient is infinite.
    return x * lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-24))
