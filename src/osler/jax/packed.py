"""Weights of 4 and 8 bits as arrays, and products with them in plain XLA (twin of `osler.quant.packed`).

The arrays hold the bytes of the files, see `osler.quant.packed` for their
layout, one array for all layers of a kind: a layer is named by its number, so
that a loop over layers copies no weights. A product turns a few blocks of
outputs into floating point, multiplies, and goes on: the weights never exist
in floating point as a whole.

Dimensions: Y layers, B blocks of 16 outputs, Q vectors of codes, G groups of
inputs, R rows, K inputs, M rows of activations, N outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh, PartitionSpec

from osler.jax.kernels import Kernels, native_linear
from osler.quant.formats import LANES, PackedLayout, WeightFormat

_CHUNK_WEIGHTS = 1 << 20


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("codes", "scale", "offset"),
    meta_fields=("format", "rows", "columns", "kernels", "mesh", "shares"),
)
@dataclass(frozen=True, kw_only=True, eq=False)
class PackedStack(PackedLayout):
    """Quantized matrices of one format and shape, such as one product of all layers of a kind.

    Args:
        format: How they are stored.
        rows: Outputs N. columns: Inputs K, not filled up.
        codes: uint8 (Y, B, Q, 16, 4). scale: float16 (Y, B, G, 16). offset: Alike, or ``None``.
        kernels: What multiplies; ``None`` for XLA.
        mesh: Of the devices that hold the blocks, along its axis ``tensor``; ``None`` for one device.
        shares: Into which the blocks are divided; 1: all of them are on every device.
    """

    format: WeightFormat
    rows: int
    columns: int
    codes: Array
    scale: Array
    offset: Array | None = None
    kernels: Kernels | None = None
    mesh: Mesh | None = None
    shares: int = 1

    def at(self, layer: Array | int) -> PackedWeight:
        """Names one of the matrices, without reading it."""
        return PackedWeight(self, layer)

    def of(self, layer: Array | int) -> PackedStack:
        """Returns one matrix as a stack of its own."""
        pick = partial(lax.dynamic_slice_in_dim, start_index=layer, slice_size=1, axis=0)
        offset = None if self.offset is None else pick(self.offset)
        return replace(self, codes=pick(self.codes), scale=pick(self.scale), offset=offset)


@partial(jax.tree_util.register_dataclass, data_fields=("stacks", "home", "place"), meta_fields=())
@dataclass(frozen=True, kw_only=True, eq=False)
class MixedStack:
    """Matrices of one shape in several formats, as a plan or a GGUF file gives them to different layers.

    Args:
        stacks: One for each format.
        home: The stack of each layer, int32 (Y,). place: Its number there, alike.
    """

    stacks: tuple[PackedStack, ...]
    home: Array
    place: Array

    def at(self, layer: Array | int) -> MixedWeight:
        """Names one of the matrices, without reading it."""
        return MixedWeight(self, layer)


class PackedWeight(NamedTuple):
    """One matrix of a stack."""

    stack: PackedStack
    layer: Array | int

    def product(self, x_K: Array) -> Array:
        """Returns (..., N) in the dtype of ``x_K``."""
        if self.stack.mesh is not None:
            return _shared_product(x_K, self)
        if self.stack.kernels is not None:
            return native_linear(x_K, self.stack, layer=self.layer)
        return matmul(x_K.reshape(-1, x_K.shape[-1]), self).reshape(*x_K.shape[:-1], -1)

    def take(self, ids: Array) -> Array:
        """Returns single rows, (..., K), in float32."""
        return take_rows(self, ids)


class MixedWeight(NamedTuple):
    """One matrix of a mixed stack."""

    mixed: MixedStack
    layer: Array | int

    def product(self, x_K: Array) -> Array:
        """Returns (..., N) in the dtype of ``x_K``."""
        mixed, layer = self.mixed, self.layer

        def branch(stack: PackedStack, place: Array) -> Array:
            return stack.at(place).product(x_K)

        return lax.switch(mixed.home[layer], [partial(branch, stack) for stack in mixed.stacks], mixed.place[layer])


def dequantize(weight: PackedWeight) -> Array:
    """Returns a packed weight in float32, (N, K)."""
    stack = weight.stack.of(weight.layer)
    offset = None if stack.offset is None else stack.offset[0]
    return _values(stack.codes[0], stack.scale[0], offset, stack)[: stack.rows, : stack.columns]


def take_rows(weight: PackedWeight, ids: Array) -> Array:
    """Returns single rows in float32, (..., K)."""
    stack, layer = weight
    block, lane = ids // LANES, ids % LANES
    codes = _plain(stack.codes[layer, block, :, lane], bits=stack.format.bits)
    x_RGW = codes.reshape(*ids.shape, -1, stack.group).astype(jnp.float32)
    offset = None if stack.offset is None else stack.offset[layer, block, :, lane]
    x_RGW = _scaled(x_RGW, stack.scale[layer, block, :, lane][..., None], offset, stack)
    return x_RGW.reshape(*ids.shape, -1)[..., : stack.columns]


def matmul(x_MK: Array, weight: PackedWeight) -> Array:
    """Multiplies in float32, a few blocks of outputs at a time; the result has the dtype of ``x_MK``, (M, N)."""
    stack = weight.stack
    x_wide = jnp.pad(x_MK.astype(jnp.float32), ((0, 0), (0, stack.padded - stack.columns)))
    blocks = stack.codes.shape[1]
    step = min(blocks, max(1, _CHUNK_WEIGHTS // (LANES * stack.padded)))

    def chunk(start: Array | int, *, size: int) -> Array:
        def cut(array: Array) -> Array:
            sizes = (1, size, *array.shape[2:])
            return lax.dynamic_slice(array, (weight.layer, start, *[0] * (array.ndim - 2)), sizes)[0]

        offset = None if stack.offset is None else cut(stack.offset)
        w_RK = _values(cut(stack.codes), cut(stack.scale), offset, stack)
        return lax.dot_general(x_wide, w_RK, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)

    whole = blocks // step
    parts: list[Array] = []
    if whole == 1:
        parts.append(chunk(0, size=step))
    else:
        out_CMR = lax.map(partial(chunk, size=step), jnp.arange(whole, dtype=jnp.int32) * step)
        parts.append(out_CMR.swapaxes(0, 1).reshape(len(x_MK), -1))
    if rest := blocks - whole * step:
        parts.append(chunk(whole * step, size=rest))
    return jnp.concatenate(parts, axis=1)[:, : stack.rows].astype(x_MK.dtype)


def _shared_product(x_K: Array, weight: PackedWeight) -> Array:
    """Has every device multiply by its own blocks of outputs, and joins what they found."""
    stack = weight.stack
    blocks = PartitionSpec(None, "tensor") if stack.shares > 1 else PartitionSpec()
    held = stack.codes.shape[1] // stack.shares * LANES if stack.shares > 1 else stack.rows
    parts = (stack.codes, stack.scale) if stack.offset is None else (stack.codes, stack.scale, stack.offset)

    def own(x_K: Array, layer: Array, *parts: Array) -> Array:
        offset = parts[2] if len(parts) > 2 else None
        local = replace(stack, rows=held, codes=parts[0], scale=parts[1], offset=offset, mesh=None, shares=1)
        return local.at(layer).product(x_K)

    outputs = PartitionSpec(*[None] * (x_K.ndim - 1), "tensor") if stack.shares > 1 else PartitionSpec()
    product = jax.shard_map(
        own,
        mesh=stack.mesh,
        in_specs=(PartitionSpec(), PartitionSpec(), *[blocks] * len(parts)),
        out_specs=outputs,
        check_vma=False,
    )
    return product(x_K, jnp.asarray(weight.layer, jnp.int32), *parts)[..., : stack.rows]


def _values(codes_BQ: Array, scale_BGL: Array, offset_BGL: Array | None, stack: PackedStack) -> Array:
    """Floating point of some blocks, (R, K)."""
    B = codes_BQ.shape[0]
    x_NK = _plain(codes_BQ.swapaxes(1, 2), bits=stack.format.bits)
    x_BLGW = x_NK.reshape(B, LANES, -1, stack.group).astype(jnp.float32)
    offset = None if offset_BGL is None else offset_BGL.swapaxes(1, 2)
    return _scaled(x_BLGW, scale_BGL.swapaxes(1, 2)[..., None], offset, stack).reshape(B * LANES, -1)


def _plain(codes_Q4: Array, *, bits: int) -> Array:
    """Codes in the order of the inputs, from vectors of one output, (..., K)."""
    if bits == 4:
        codes_Q4 = jnp.stack((codes_Q4 & 15, codes_Q4 >> 4), axis=-2)
        return codes_Q4.reshape(*codes_Q4.shape[:-3], -1)
    return codes_Q4.reshape(*codes_Q4.shape[:-2], -1)


def _scaled(codes_GW: Array, scale_G1: Array, offset_G: Array | None, stack: PackedStack) -> Array:
    scale = scale_G1.astype(jnp.float32)
    if offset_G is None:
        return (codes_GW - stack.format.zero_code) * scale
    return codes_GW * scale + offset_G.astype(jnp.float32)[..., None]
