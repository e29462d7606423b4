"""Keys and values of earlier tokens in arrays of fixed shape (twin of `osler.engine.kv_cache`).

Sliding layers share rings of one length, global layers buffers of another. The
position of every slot is kept beside them, -1 where nothing is stored: rows of
unequal length need no padding, and going back to a shorter length only forgets
positions. The arrays of a step are donated to the next one.

Dimensions: Y layers of a kind, B rows, L new tokens, S slots, K key heads,
H width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from osler.model.config import DecoderConfig

SHORTEST = 512
"""Slots of the smallest buffer of global layers; longer ones double."""


class LayerKeys(NamedTuple):
    """Keys and values of all layers of one kind, each (Y, B, K, S, H)."""

    keys: Array
    values: Array

    def with_keys(self, layer: Array, k_BKLH: Array, v_BKLH: Array, *, slots_BL: Array) -> LayerKeys:
        """Stores new keys and values of one layer; a slot past the end is dropped."""
        rows_B1 = jnp.arange(slots_BL.shape[0])[:, None]
        place = (layer, rows_B1, slice(None), slots_BL)
        return LayerKeys(
            self.keys.at[place].set(k_BKLH.swapaxes(1, 2), mode="drop"),
            self.values.at[place].set(v_BKLH.swapaxes(1, 2), mode="drop"),
        )


class Cache(NamedTuple):
    """The cache of a whole decoder.

    Args:
        sliding: Of sliding layers. everything: Of global layers.
        sliding_positions: (B, S), the position in each slot, -1 for none. everything_positions: The same.
    """

    sliding: LayerKeys
    everything: LayerKeys
    sliding_positions: Array
    everything_positions: Array

    def with_positions(self, positions_BL: Array) -> Cache:
        """Notes the positions of new tokens in the slots that they will take."""
        return self._replace(
            sliding_positions=_noted(self.sliding_positions, positions_BL),
            everything_positions=_noted(self.everything_positions, positions_BL),
        )

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for kind in (self.sliding, self.everything) for array in kind)


def slots_of(positions_BL: Array, *, size: int) -> Array:
    """The slot of each position in a ring; past the end, at ``size``, for the position -1."""
    return jnp.where(positions_BL < 0, size, positions_BL % size)


def empty_cache(config: DecoderConfig, *, planned: int, longest: int, rows: int, dtype: DTypeLike) -> Cache:
    """Makes an empty cache.

    Args:
        planned: Tokens that a row will hold at most.
        longest: Tokens of the longest part that is read at once.
        rows: Rows.
    """
    layers = {kind: sum(config.kind(i) == kind for i in range(config.layers)) for kind in ("sliding", "global")}
    ring = _up(config.window - 1 + longest, multiple=128)
    length = bucket(planned)

    def keys(count: int, slots: int) -> LayerKeys:
        shape = (count, rows, config.kv_heads, slots, config.head_dim)
        return LayerKeys(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    return Cache(
        sliding=keys(layers["sliding"], ring),
        everything=keys(layers["global"], length),
        sliding_positions=jnp.full((rows, ring), -1, jnp.int32),
        everything_positions=jnp.full((rows, length), -1, jnp.int32),
    )


def bucket(planned: int) -> int:
    """Slots of the global layers for this many tokens: a power of two, so that few shapes are compiled."""
    size = SHORTEST
    while size < planned:
        size *= 2
    return size


def stack(caches: Sequence[Cache], *, planned: int) -> Cache:
    """Joins caches of single rows into one batch that can hold ``planned`` tokens a row."""
    length = max(bucket(planned), *(cache.everything_positions.shape[1] for cache in caches))
    grown = [_grown(cache, length) for cache in caches]

    def joined(kind: str) -> LayerKeys:
        parts = [getattr(cache, kind) for cache in grown]
        return LayerKeys(*(jnp.concatenate([part[i] for part in parts], axis=1) for i in range(2)))

    return Cache(
        sliding=joined("sliding"),
        everything=joined("everything"),
        sliding_positions=jnp.concatenate([cache.sliding_positions for cache in grown]),
        everything_positions=jnp.concatenate([cache.everything_positions for cache in grown]),
    )


def grown(cache: Cache, *, planned: int) -> Cache:
    """Returns a cache that can hold ``planned`` tokens a row."""
    return _grown(cache, max(bucket(planned), cache.everything_positions.shape[1]))


def _grown(cache: Cache, length: int) -> Cache:
    more = length - cache.everything_positions.shape[1]
    if not more:
        return cache
    pad = ((0, 0), (0, 0), (0, 0), (0, more), (0, 0))
    return cache._replace(
        everything=LayerKeys(*(jnp.pad(array, pad) for array in cache.everything)),
        everything_positions=jnp.pad(cache.everything_positions, ((0, 0), (0, more)), constant_values=-1),
    )


def _noted(table_BS: Array, positions_BL: Array) -> Array:
    slots_BL = slots_of(positions_BL, size=table_BS.shape[1])
    rows_B1 = jnp.arange(table_BS.shape[0])[:, None]
    return table_BS.at[rows_B1, slots_BL].set(positions_BL, mode="drop")


def _up(value: int, *, multiple: int) -> int:
    return -(-value // multiple) * multiple
