"""Attention of queries over keys whose positions are given (twin of `osler.model.attention`).

Every key carries its position, -1 where nothing is stored, so that a ring of
keys, a row that is shorter than others and a padded chunk need no other rule.

Dimensions: B batch, L queries, S keys, N query heads, K key heads, G query
heads of a key head, H width of a head.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

MASKED = -1e30
"""Added to a score that does not count; finite, so that a row without keys does not become NaN."""


def visible(positions_BL: Array, *, last_BL: Array, keys_BS: Array, window: int | None) -> Array:
    """Says which keys a query sees, (B, L, S).

    Args:
        positions_BL: Positions of the queries.
        last_BL: Greatest position that each query sees.
        keys_BS: Positions of the keys, -1 for none.
        window: Keys that a query sees, its own included; ``None`` for all.
    """
    keys_B1S = keys_BS[:, None]
    seen_BLS = (keys_B1S <= last_BL[..., None]) & (keys_B1S >= 0)
    if window is not None:
        seen_BLS &= keys_B1S > positions_BL[..., None] - window
    return seen_BLS


def attend(
    q_BNLH: Array, *, k_BKSH: Array, v_BKSH: Array, seen_BLS: Array, scale: float, softcap: float | None
) -> Array:
    """Computes attention, query heads in groups that share a key head; the softmax is in float32.

    Returns:
        (B, N, L, H).
    """
    B, N, L, H = q_BNLH.shape
    K = k_BKSH.shape[1]
    scores = _scores(q_BNLH.reshape(B, K, N // K, L, H), k_BKSH) * scale
    if softcap is not None:
        scores = jnp.tanh(scores / softcap) * softcap
    scores = jnp.where(seen_BLS[:, None, None], scores, MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(q_BNLH.dtype)
    out_BKGLH = jnp.einsum("bkgls,bksh->bkglh", weights, v_BKSH, preferred_element_type=jnp.float32)
    return out_BKGLH.astype(q_BNLH.dtype).reshape(B, N, L, H)


def _scores(q_BKGLH: Array, k_BKSH: Array) -> Array:
    """Products of queries and keys, (B, K, G, L, S), in float32."""
    _, _, G, L, H = q_BKGLH.shape
    if G * L < H:
        # On a CPU the right operand of a product is rearranged: that should not be all keys for the sake of one query.
        scores_BKSGL = jnp.einsum("bksh,bkglh->bksgl", k_BKSH, q_BKGLH, preferred_element_type=jnp.float32)
        return jnp.moveaxis(scores_BKSGL, 2, 4)
    return jnp.einsum("bkglh,bksh->bkgls", q_BKGLH, k_BKSH, preferred_element_type=jnp.float32)
