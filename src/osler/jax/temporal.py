"""Clinical-temporal attention in JAX (twin of `osler.model.temporal`).

Dimensions: B patients, T time points, n tokens of a time point, V width, E
events, C width of a text state, N heads, H width of a head, G features of a gap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from osler.jax.linear import linear
from osler.jax.norm import layer_norm
from osler.model.config import TemporalConfig

Tree = dict[str, Any]
_SCALES = (1.0, 7.0, 30.0, 180.0, 730.0)
_EPS = 1e-5


class Events(NamedTuple):
    """Events of the record; see `osler.model.temporal.Events`.

    Args:
        text_BEC: Mean embedding of the tokens of each name and unit.
        value_BE: 0 at the middle and 1 at the upper end of the reference range; NaN without one.
        day_BE: Day, on the scale of the time points.
        padding_BE: True where there is no event.
    """

    text_BEC: Array
    value_BE: Array
    day_BE: Array
    padding_BE: Array


def forward(
    temporal: Tree,
    tokens_BTnV: Array,
    *,
    days_BT: Array,
    padding_BT: Array | None = None,
    events: Events | None = None,
    config: TemporalConfig,
) -> tuple[Array, Array]:
    """Attends over time and events.

    Args:
        temporal: Weights.
        tokens_BTnV: Tokens of each time point, in order of time.
        days_BT: Day of each, NaN where it is not known.
        padding_BT: True where there is no time point.
        events: Of the record, or ``None``.
        config: Of this part.

    Returns:
        The tokens, unchanged while the gate is zero, and the states that the progression head reads;
        each (B, T, n, V).
    """
    B, T = days_BT.shape
    if padding_BT is None:
        padding_BT = jnp.zeros((B, T), bool)
    # A padded time point sees itself, so that no row of the softmax is empty.
    seen_BTT = (np.tri(T, dtype=bool) & ~padding_BT[:, None]) | np.eye(T, dtype=bool)
    gaps_BTTG = gap_features(days_BT[:, :, None] - days_BT[:, None]).astype(tokens_BTnV.dtype)
    record = None
    if events is not None:
        ahead_BTE = days_BT[:, :, None] - events.day_BE[:, None]
        # An event of the day itself counts; one whose gap is not known does not.
        seen_BTE = (ahead_BTE >= 0) & ~events.padding_BE[:, None]
        gaps_BTEG = gap_features(ahead_BTE).astype(tokens_BTnV.dtype)
        record = (embed_events(temporal, events)[:, :, None], seen_BTE, gaps_BTEG)

    def layer(x_BTnV: Array, tree: Tree) -> tuple[Array, None]:
        return _layer(tree, x_BTnV, (seen_BTT, gaps_BTTG), record, heads=config.heads), None

    x_BTnV, _ = lax.scan(layer, tokens_BTnV, temporal["layers"])
    mixed_BTnV = tokens_BTnV + jnp.tanh(temporal["gate"]) * (x_BTnV - tokens_BTnV)
    return mixed_BTnV, layer_norm(x_BTnV, temporal["norm.weight"], temporal["norm.bias"], eps=_EPS)


def embed_events(temporal: Tree, events: Events) -> Array:
    """What an event is, and how far its value lies from the middle of the reference range, (B, E, V)."""
    known_BE = ~jnp.isnan(events.value_BE)
    value_BE = jnp.where(known_BE, events.value_BE, 0.0).astype(jnp.float32)
    above_BE, below_BE = jax.nn.relu(value_BE - 1), jax.nn.relu(-1 - value_BE)
    features = jnp.stack(
        (known_BE.astype(jnp.float32), jnp.arcsinh(value_BE), jnp.log1p(above_BE), jnp.log1p(below_BE)), axis=-1
    )
    text_BEV = linear(events.text_BEC, temporal["event.text.weight"], temporal["event.text.bias"])
    features = features.astype(events.text_BEC.dtype)
    event_BEV = text_BEV + linear(features, temporal["event.value.weight"], temporal["event.value.bias"])
    return layer_norm(event_BEV, temporal["event.norm.weight"], temporal["event.norm.bias"], eps=_EPS)


def _layer(
    layer: Tree,
    x_BTnV: Array,
    times: tuple[Array, Array],
    record: tuple[Array, Array, Array] | None,
    *,
    heads: int,
) -> Array:
    """Attention over time points, attention over events, an MLP; each added to the stream."""
    seen_BTT, gaps_BTTG = times
    keys = layer_norm(x_BTnV, layer["time.norm.weight"], layer["time.norm.bias"], eps=_EPS)
    x_BTnV = x_BTnV + gap_attention(layer, x_BTnV, name="time", keys=keys, seen=seen_BTT, gaps=gaps_BTTG, heads=heads)
    if record is not None:
        event_BE1V, seen_BTE, gaps_BTEG = record
        x_BTnV = x_BTnV + gap_attention(
            layer, x_BTnV, name="record", keys=event_BE1V, seen=seen_BTE, gaps=gaps_BTEG, heads=heads
        )
    normed = layer_norm(x_BTnV, layer["norm.weight"], layer["norm.bias"], eps=_EPS)
    hidden = jax.nn.gelu(linear(normed, layer["mlp.0.weight"], layer["mlp.0.bias"]), approximate=False)
    return x_BTnV + linear(hidden, layer["mlp.2.weight"], layer["mlp.2.bias"])


def gap_attention(layer: Tree, x_BTnV: Array, *, name: str, keys: Array, seen: Array, gaps: Array, heads: int) -> Array:
    """Attention whose scores and values know the gap in days between query and key.

    Args:
        layer: Weights of a layer. name: Of the attention in it, ``"time"`` or ``"record"``.
        x_BTnV: Queries.
        keys: (B, S, n or 1, V), normalized; one for all tokens, or one a token.
        seen: (B, T, S). gaps: (B, T, S, G).
        heads: N.

    Returns:
        (B, T, n, V); zero where a time point sees no key.
    """

    def projected(x: Array, projection: str) -> Array:
        return linear(x, layer[f"{name}.{projection}.weight"], layer[f"{name}.{projection}.bias"])

    def split(x: Array) -> Array:
        return x.reshape(*x.shape[:-1], heads, -1)

    B, _, n, V = x_BTnV.shape
    normed = layer_norm(x_BTnV, layer[f"{name}.norm.weight"], layer[f"{name}.norm.bias"], eps=_EPS)
    q_BTnNH = split(projected(normed, "q_proj"))
    shape = (B, keys.shape[1], n, heads, V // heads)
    k_BSnNH = jnp.broadcast_to(split(projected(keys, "k_proj")), shape)
    v_BSnNH = jnp.broadcast_to(split(projected(keys, "v_proj")), shape)
    scores = jnp.einsum("btnhd,bsnhd->bnhts", q_BTnNH, k_BSnNH).astype(jnp.float32) * q_BTnNH.shape[-1] ** -0.5
    scores = scores + projected(gaps, "gap_bias").astype(jnp.float32).transpose(0, 3, 1, 2)[:, None]
    seen_B11TS = seen[:, None, None]
    shares = (jax.nn.softmax(jnp.where(seen_B11TS, scores, -1e30), axis=-1) * seen_B11TS).astype(x_BTnV.dtype)
    out_BTnV = jnp.einsum("bnhts,bsnhd->btnhd", shares, v_BSnNH).reshape(x_BTnV.shape)
    gap_BTSNH = split(linear(gaps, layer[f"{name}.gap_value.weight"]))
    out_BTnV = out_BTnV + jnp.einsum("bnhts,btshd->btnhd", shares, gap_BTSNH).reshape(x_BTnV.shape)
    return projected(out_BTnV, "out_proj") * seen.any(-1)[..., None, None]


def gap_features(gaps: Array) -> Array:
    """Smooth functions of a gap in days, (..., G); a gap that is not known (NaN) has a mark of its own."""
    known = ~jnp.isnan(gaps)
    size = jnp.where(known, jnp.abs(gaps), 0.0).astype(jnp.float32)[..., None]
    scales = jnp.array(_SCALES, jnp.float32)
    sign = jnp.where(known, jnp.sign(gaps), 0.0).astype(jnp.float32)[..., None]
    unknown = (~known).astype(jnp.float32)[..., None]
    return jnp.concatenate((1 - jnp.exp(-size / scales), jnp.log1p(size / scales), sign, unknown), axis=-1)
