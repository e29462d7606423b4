"""The cross-attention adapter in JAX (twin of `osler.model.adapter`).

Layers of the adapter are stacked; a table says which layer of the decoder reads
through which of them, so that `jax.lax.scan` over the decoder stays one trace.

Dimensions: A layers of the adapter, B batch, L tokens, D width of the decoder,
I images, P patches, s patches of a side, M features of the memory, V width of
the tower, N heads, H width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from osler.jax.attention import MASKED
from osler.jax.linear import linear
from osler.jax.norm import layer_norm
from osler.model.config import AdapterConfig, DecoderConfig, VisionConfig

Tree = dict[str, Any]
_EPS = 1e-5


class AdapterMemory(NamedTuple):
    """What the decoder reads of the images of each row.

    Args:
        keys: (A, B, N, M, H). values: The same.
        padding_BM: True where there is no feature.
    """

    keys: Array
    values: Array
    padding_BM: Array

    @property
    def rows(self) -> int:
        """Number B."""
        return self.keys.shape[1]

    @property
    def length(self) -> int:
        """Number M."""
        return self.keys.shape[3]

    @property
    def bytes(self) -> int:
        """Memory that is held."""
        return sum(array.nbytes for array in self)

    def nothing(self) -> AdapterMemory:
        """A memory of the same adapter for one row without images."""
        empty = jnp.zeros_like(self.keys[:, :1, :, :1])
        return AdapterMemory(empty, empty, jnp.ones((1, 1), bool))

    @staticmethod
    def stack(memories: Sequence[AdapterMemory]) -> AdapterMemory:
        """Joins memories of single rows into one of several; shorter ones are padded.

        Args:
            memories: Of one adapter, one at least.
        """
        longest = max(memory.length for memory in memories)
        longer = [padded_memory(memory, to=longest) for memory in memories]
        return AdapterMemory(
            keys=jnp.concatenate([memory.keys for memory in longer], axis=1),
            values=jnp.concatenate([memory.values for memory in longer], axis=1),
            padding_BM=jnp.concatenate([memory.padding_BM for memory in longer]),
        )


def padded_memory(memory: AdapterMemory, *, to: int) -> AdapterMemory:
    """Returns a memory of ``to`` features, the new ones padding."""
    more = to - memory.length
    if not more:
        return memory
    wide = ((0, 0), (0, 0), (0, 0), (0, more), (0, 0))
    return AdapterMemory(
        keys=jnp.pad(memory.keys, wide),
        values=jnp.pad(memory.values, wide),
        padding_BM=jnp.pad(memory.padding_BM, ((0, 0), (0, more)), constant_values=True),
    )


def pool_patches(features_IPV: Array, *, config: AdapterConfig, vision: VisionConfig) -> Array:
    """Averages squares of patches of each image, (I, P / pool**2, V)."""
    images, _, width = features_IPV.shape
    side, pool = vision.side, config.pool
    grid = features_IPV.reshape(images, side // pool, pool, side // pool, pool, width)
    return grid.astype(jnp.float32).mean((2, 4)).astype(features_IPV.dtype).reshape(images, -1, width)


def memory_keys_values(
    adapter: Tree, memory_BMV: Array, *, config: AdapterConfig, padding_BM: Array | None = None
) -> AdapterMemory:
    """Computes keys and values of all layers, once for a study.

    Args:
        memory_BMV: Features of the tower.
        padding_BM: True where there is no feature.
    """

    def of(layer: Tree) -> tuple[Array, Array]:
        normal_BMV = layer_norm(memory_BMV, layer["memory_norm.weight"], layer["memory_norm.bias"], eps=_EPS)
        k, v = (_split(linear(normal_BMV, layer[f"{name}_proj.weight"]), heads=config.heads) for name in ("k", "v"))
        return k, v

    keys, values = lax.map(of, adapter["layers"])
    if padding_BM is None:
        padding_BM = jnp.zeros(memory_BMV.shape[:2], bool)
    return AdapterMemory(keys=keys, values=values, padding_BM=padding_BM)


def layer_numbers(config: AdapterConfig, *, decoder: DecoderConfig) -> np.ndarray:
    """The adapter layer that each layer of the decoder reads through, -1 for none, (layers,)."""
    numbers = np.full(decoder.layers, -1, np.int32)
    having = list(config.layers(decoder))
    numbers[having] = np.arange(len(having))
    return numbers


def read(adapter: Tree, x_BLD: Array, *, memory: AdapterMemory, number: Array, config: AdapterConfig) -> Array:
    """Returns the stream before a layer of the decoder, with what it reads of the memory added.

    Args:
        number: From `layer_numbers`; -1 leaves the stream as it is.
    """

    def reading(x_BLD: Array) -> Array:
        layer = jax.tree.map(lambda stack: stack[number], adapter["layers"])
        return forward(
            layer,
            x_BLD,
            k_BNMH=memory.keys[number],
            v_BNMH=memory.values[number],
            padding_BM=memory.padding_BM,
            heads=config.heads,
        )

    return lax.cond(number >= 0, reading, lambda x_BLD: x_BLD, x_BLD)


def forward(layer: Tree, x_BLD: Array, *, k_BNMH: Array, v_BNMH: Array, padding_BM: Array, heads: int) -> Array:
    """Returns the stream with what one layer reads, (B, L, D); a row without any feature reads nothing."""
    q_BNLH = _split(
        linear(layer_norm(x_BLD, layer["norm.weight"], layer["norm.bias"], eps=_EPS), layer["q_proj.weight"]),
        heads=heads,
    )
    scores = jnp.einsum("bnlh,bnmh->bnlm", q_BNLH, k_BNMH, preferred_element_type=jnp.float32)
    scores = jnp.where(padding_BM[:, None, None], MASKED, scores * q_BNLH.shape[-1] ** -0.5)
    shares = jax.nn.softmax(scores, axis=-1).astype(x_BLD.dtype)
    out_BNLH = jnp.einsum("bnlm,bnmh->bnlh", shares, v_BNMH, preferred_element_type=jnp.float32).astype(x_BLD.dtype)
    out_BNLH = jnp.where(padding_BM.all(1)[:, None, None, None], 0, out_BNLH)
    B, L, _ = x_BLD.shape
    found_BLD = linear(out_BNLH.swapaxes(1, 2).reshape(B, L, -1), layer["out_proj.weight"])
    return x_BLD + jnp.tanh(layer["gate"]) * found_BLD


def _split(x_BLC: Array, *, heads: int) -> Array:
    return x_BLC.reshape(*x_BLC.shape[:2], heads, -1).swapaxes(1, 2)
