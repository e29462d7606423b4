"""The Gemma decoder in JAX (twin of `osler.model.decoder`).

Layers repeat in periods of ``global_every``: sliding ones, then a global one.
Their weights are stacked, so that one traced layer of each kind stands for all
(`jax.lax.scan`), and compiling takes the same time for 18 layers and for 34.

Dimensions: B batch, L tokens, D width, F width of the MLP, N query heads, K key
heads, H width of a head, S stored keys, V vocabulary, P periods.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from osler.jax import adapter
from osler.jax.adapter import AdapterMemory
from osler.jax.attention import attend, visible
from osler.jax.kernels import native_attention
from osler.jax.kv_cache import Cache, LayerKeys, slots_of
from osler.jax.linear import kernels_of, linear, lookup, table
from osler.jax.norm import rms_norm
from osler.jax.rope import rotary_table, rotate
from osler.model.config import AdapterConfig, DecoderConfig, LayerKind
from osler.quant.formats import LANES

Tree = dict[str, Any]


class Step(NamedTuple):
    """What all layers share in one forward pass, of some of it a value for each kind of layer.

    Args:
        positions_BL: Position of each token, -1 for padding.
        last_BL: Greatest position that each token sees.
        rotations: Cosine and signed sine.
        stored: Position in each slot of the cache, (B, S).
        seen: Which keys each query sees, (B, L, S).
        slots: Where new keys are stored, (B, L); past the end for padding, which is dropped.
    """

    positions_BL: Array
    last_BL: Array
    rotations: dict[LayerKind, tuple[Array, Array]]
    stored: dict[LayerKind, Array]
    seen: dict[LayerKind, Array]
    slots: dict[LayerKind, Array]


class Reading(NamedTuple):
    """The adapter and what it reads, where there is one.

    Args:
        weights: Of the adapter. config: Of it.
        memory: Features of images.
        numbers: From `osler.jax.adapter.layer_numbers`, on the host.
    """

    weights: Tree
    config: AdapterConfig
    memory: AdapterMemory
    numbers: np.ndarray


def embed(decoder: Tree, token_ids_BL: Array, *, config: DecoderConfig) -> Array:
    """Looks up scaled embeddings, (B, L, D)."""
    dtype = decoder["norm"].dtype
    return lookup(decoder["embed_tokens"], token_ids_BL).astype(dtype) * jnp.asarray(config.width**0.5, dtype)


def logits(decoder: Tree, hidden_BLD: Array, *, config: DecoderConfig) -> Array:
    """Scores the vocabulary with the tied embedding: (..., D) to (..., V)."""
    scores = linear(hidden_BLD, table(decoder["embed_tokens"]))
    cap = config.logit_softcap
    return scores if cap is None else jnp.tanh(scores / cap) * cap


def forward(
    decoder: Tree,
    x_BLD: Array,
    *,
    config: DecoderConfig,
    positions_BL: Array,
    last_BL: Array,
    cache: Cache,
    reading: Reading | None = None,
) -> tuple[Array, Cache]:
    """Runs all layers.

    Args:
        decoder: Weights, from `osler.jax.parameters`.
        x_BLD: Scaled embeddings, image features in place.
        positions_BL: Position of each token, -1 for padding.
        last_BL: Greatest position that each token sees: its own, or the last of its image.
        cache: Holds earlier keys and values; the new ones are added.
        reading: What the layers read through the adapter, or ``None``.

    Returns:
        Hidden states after the last norm, (B, L, D), and the cache.
    """
    cache = cache.with_positions(positions_BL)
    step = _step(config, positions_BL, last_BL=last_BL, cache=cache, dtype=x_BLD.dtype)
    stacks = decoder["layers"]
    windows, everything = cache.sliding, cache.everything

    # Packed weights are not sliced by the loop: a product names its layer, and reads no other.
    packed: dict[LayerKind, Tree] = decoder.get("packed", {})

    def whole(layer: Tree, kind: LayerKind, row: Array) -> Tree:
        return layer | {name: stack.at(row) for name, stack in packed.get(kind, {}).items()}

    def sliding(carry: tuple[Array, LayerKeys], layer: Tree, row: Array) -> tuple[Array, LayerKeys]:
        x, near = carry
        # Row r of the sliding layers is layer r + r // (global_every - 1) of all.
        x = _read(x, reading, layer=row + row // max(config.global_every - 1, 1))
        return _layer(whole(layer, "sliding", row), x, near, row=row, kind="sliding", step=step, config=config)

    def period(carry: Any, layers: Tree) -> tuple[Any, None]:
        x, near, far, number = carry
        within = config.global_every - 1
        rows = number * within + jnp.arange(within)
        (x, near), _ = lax.scan(lambda c, xs: (sliding(c, *xs), None), (x, near), (layers["sliding"], rows))
        x = _read(x, reading, layer=number * config.global_every + within)
        layer = whole(layers["global"], "global", number)
        x, far = _layer(layer, x, far, row=number, kind="global", step=step, config=config)
        return (x, near, far, number + 1), None

    periods = config.layers // config.global_every
    if periods:
        carry = (x_BLD, windows, everything, jnp.int32(0))
        (x_BLD, windows, everything, _), _ = lax.scan(period, carry, stacks["periods"])
    if rest := config.layers % config.global_every:
        rows = periods * (config.global_every - 1) + jnp.arange(rest)
        (x_BLD, windows), _ = lax.scan(lambda c, xs: (sliding(c, *xs), None), (x_BLD, windows), (stacks["rest"], rows))
    hidden_BLD = rms_norm(x_BLD, decoder["norm"], eps=config.norm_eps)
    return hidden_BLD, cache._replace(sliding=windows, everything=everything)


def _step(config: DecoderConfig, positions_BL: Array, *, last_BL: Array, cache: Cache, dtype: Any) -> Step:
    tables: dict[LayerKind, tuple[float, float]] = {
        "global": (config.rope_theta, config.rope_scale),
        "sliding": (config.rope_theta_sliding, 1.0),
    }
    keys: dict[LayerKind, Array] = {"global": cache.everything_positions, "sliding": cache.sliding_positions}
    windows: dict[LayerKind, int | None] = {"global": None, "sliding": config.window}
    return Step(
        positions_BL=positions_BL,
        last_BL=last_BL,
        rotations={
            kind: rotary_table(positions_BL, head_dim=config.head_dim, theta=theta, scale=scale, dtype=dtype)
            for kind, (theta, scale) in tables.items()
        },
        stored=keys,
        seen={
            kind: visible(positions_BL, last_BL=last_BL, keys_BS=keys[kind], window=windows[kind]) for kind in tables
        },
        slots={kind: slots_of(positions_BL, size=keys[kind].shape[1]) for kind in tables},
    )


def _read(x_BLD: Array, reading: Reading | None, *, layer: Array) -> Array:
    """What the adapter adds to the stream before a layer."""
    if reading is None:
        return x_BLD
    number = jnp.asarray(reading.numbers)[layer]
    return adapter.read(reading.weights, x_BLD, memory=reading.memory, number=number, config=reading.config)


def _layer(
    layer: Tree, x_BLD: Array, stored: LayerKeys, *, row: Array, kind: LayerKind, step: Step, config: DecoderConfig
) -> tuple[Array, LayerKeys]:
    """Attention and MLP, each between two norms, added to the stream."""
    eps = config.norm_eps
    normed_BLD = rms_norm(x_BLD, layer["input_layernorm"], eps=eps)
    update_BLD, stored = _attention(layer, normed_BLD, stored, row=row, kind=kind, step=step, config=config)
    x_BLD = x_BLD + rms_norm(update_BLD, layer["post_attention_layernorm"], eps=eps)
    update_BLD = _mlp(layer, rms_norm(x_BLD, layer["pre_feedforward_layernorm"], eps=eps))
    return x_BLD + rms_norm(update_BLD, layer["post_feedforward_layernorm"], eps=eps), stored


def _attention(
    layer: Tree, x_BLD: Array, stored: LayerKeys, *, row: Array, kind: LayerKind, step: Step, config: DecoderConfig
) -> tuple[Array, LayerKeys]:
    B, L, _ = x_BLD.shape
    q_BNLH, k_BKLH, v_BKLH = (
        part.reshape(B, L, -1, config.head_dim).swapaxes(1, 2) for part in _queries_keys_values(layer, x_BLD, config)
    )
    if config.qk_norm == "rms":
        q_BNLH = rms_norm(q_BNLH, layer["self_attn.q_norm"], eps=config.norm_eps)
        k_BKLH = rms_norm(k_BKLH, layer["self_attn.k_norm"], eps=config.norm_eps)
    rotation = step.rotations[kind]
    q_BNLH, k_BKLH = rotate(q_BNLH, rotation=rotation), rotate(k_BKLH, rotation=rotation)
    stored = stored.with_keys(row, k_BKLH, v_BKLH, slots_BL=step.slots[kind])
    out_BLNH = _attend(q_BNLH.swapaxes(1, 2), stored, layer=layer, row=row, kind=kind, step=step, config=config)
    return linear(out_BLNH.reshape(B, L, -1), layer["self_attn.o_proj"]), stored


def _attend(
    q_BLNH: Array, stored: LayerKeys, *, layer: Tree, row: Array, kind: LayerKind, step: Step, config: DecoderConfig
) -> Array:
    """Attends over the keys of a layer, with the kernels that its products have, or in XLA; (B, L, N, H)."""
    scale = config.query_scalar**-0.5
    kernels = kernels_of(layer["self_attn.o_proj"])
    fits = config.attention_softcap is None and config.head_dim % LANES == 0 and q_BLNH.dtype == jnp.float32
    if kernels is not None and fits:
        return native_attention(
            q_BLNH,
            stored,
            layer=row,
            positions_BL=step.positions_BL,
            last_BL=step.last_BL,
            stored_BS=step.stored[kind],
            window=config.window if kind == "sliding" else None,
            scale=scale,
            kernels=kernels,
        )
    out_BNLH = attend(
        q_BLNH.swapaxes(1, 2),
        k_BKSH=stored.keys[row],
        v_BKSH=stored.values[row],
        seen_BLS=step.seen[kind],
        scale=scale,
        softcap=config.attention_softcap,
    )
    return out_BNLH.swapaxes(1, 2)


def _mlp(layer: Tree, x_BLD: Array) -> Array:
    """Gated MLP: ``down(gelu(gate(x)) * up(x))``."""
    if "mlp.gate_up_proj" in layer:
        gate_BLF, up_BLF = jnp.split(linear(x_BLD, layer["mlp.gate_up_proj"]), 2, axis=-1)
    else:
        gate_BLF, up_BLF = (linear(x_BLD, layer[f"mlp.{name}_proj"]) for name in ("gate", "up"))
    return linear(jax.nn.gelu(gate_BLF, approximate=True) * up_BLF, layer["mlp.down_proj"])


def _queries_keys_values(layer: Tree, x_BLD: Array, config: DecoderConfig) -> list[Array]:
    """Three products, or one where the weights are joined."""
    if "self_attn.qkv_proj" not in layer:
        return [linear(x_BLD, layer[f"self_attn.{name}_proj"]) for name in ("q", "k", "v")]
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    return jnp.split(linear(x_BLD, layer["self_attn.qkv_proj"]), (queries, queries + keys), axis=-1)
