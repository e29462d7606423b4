"""Rearranges a decoder's weights for fast inference, with the same results.

- Queries, keys and values become one product, gate and up another.
- On a CPU with bfloat16 instructions the weights are laid out as oneDNN reads
  them: a product with one token then runs at the memory's speed. Plain weights
  are rearranged at every call.
- ``1 + weight`` of the norms is computed once; queries and keys are normalized
  and rotated together.

A packed decoder cannot be trained or saved, and takes no adapters: merge them
first. Packing copies the weights, layer by layer, and lets the plain ones go.

Dimensions: as in `osler.model.decoder`; J = N + 2 K heads of queries, keys and
values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.model.decoder import MLP, Attention, Decoder, DecoderLayer
from osler.model.norm import RMSNorm, normalize
from osler.model.rope import rotate

Layout = Literal["onednn", "plain"]

Join = Callable[[str, Sequence[nn.Linear]], nn.Module]
"""Takes the name of a product, such as ``"layers.0.mlp.gate_up_proj"``, and the linear layers that it joins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How the weights are laid out, and why.

    Args:
        layout: Of the weights.
        reason: Why this layout, for people.
    """

    layout: Layout
    reason: str


def choose_packing(*, device: torch.device, dtype: torch.dtype) -> Packing:
    """Chooses the layout for weights of a dtype on a device."""
    if device.type != "cpu":
        return Packing(layout="plain", reason=f"on {device.type} the plain layout is the fast one")
    if dtype != torch.bfloat16:
        return Packing(layout="plain", reason=f"only bfloat16 gains from the oneDNN layout, not {dtype}")
    if not _has_onednn():
        return Packing(layout="plain", reason="this torch was built without oneDNN's packed products")
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return Packing(layout="plain", reason="this CPU has no bfloat16 instructions")
    return Packing(layout="onednn", reason="bfloat16 on a CPU with bfloat16 instructions")


def pack(decoder: Decoder, *, packing: Packing | None = None) -> Packing:
    """Rearranges the weights of a decoder in place.

    Args:
        decoder: In evaluation mode, on its final device, in its final dtype.
        packing: The layout; ``None`` chooses.

    Returns:
        What was chosen.
    """
    weight_VD = decoder.embed_tokens.weight
    if packing is None:
        packing = choose_packing(device=weight_VD.device, dtype=weight_VD.dtype)
    fuse(decoder, join=partial(_packed, layout=packing.layout))
    if packing.layout == "onednn":
        # The embedding itself stays: rows are looked up in it.
        decoder.head = PackedLinear(weight_VD.detach(), layout=packing.layout)
    return packing


def fuse(decoder: Decoder, *, join: Join) -> None:
    """Puts one product in the place of several with the same input, layer by layer.

    Args:
        decoder: Its norms hold their values; its linear layers only what ``join`` reads of them.
        join: Makes each product.
    """
    with torch.no_grad():
        for number, layer in enumerate(decoder.layers):
            _fuse_layer(layer, name=f"layers.{number}", join=join)
        decoder.norm = PackedNorm(decoder.norm)


class PackedLinear(nn.Module):
    """A product with a constant matrix, without a bias.

    Args:
        weight: (out, in).
        layout: How to keep it.
    """

    def __init__(self, weight: Tensor, *, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        # Not a buffer: the rearranged tensor has no storage that torch could move or save.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if layout == "onednn" else weight

    def forward(self, x: Tensor) -> Tensor:
        """Returns the product, (..., out)."""
        if self.layout == "onednn":
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return F.linear(x, self.weight)

    def gated(self, x: Tensor) -> Tensor:
        """Returns what `gate` makes of the outputs."""
        return gate(self(x))


class PackedNorm(nn.Module):
    """RMSNorm with its scale computed once."""

    def __init__(self, plain: RMSNorm) -> None:
        super().__init__()
        self.eps = plain.eps
        self.scale_D = nn.Buffer(1.0 + plain.weight.detach().float(), persistent=False)

    def forward(self, x_D: Tensor) -> Tensor:
        """Returns ``x`` normalized, see `RMSNorm`."""
        return normalize(x_D, scale_D=self.scale_D, eps=self.eps)

    def onto(self, stream_D: Tensor, *, update_D: Tensor) -> Tensor:
        """See `RMSNorm.onto`."""
        return stream_D + self(update_D)


class PackedAttention(Attention):
    """Attention with one product for queries, keys and values."""

    def __init__(self, plain: Attention, *, name: str, join: Join) -> None:
        nn.Module.__init__(self)
        self.index, self.kind, self.head_dim = plain.index, plain.kind, plain.head_dim
        self.scale, self.softcap = plain.scale, plain.softcap
        projections = (plain.q_proj, plain.k_proj, plain.v_proj)
        self.heads = [projection.out_features // self.head_dim for projection in projections]
        self.qkv_proj = join(f"{name}.qkv_proj", projections)
        self.o_proj = join(f"{name}.o_proj", (plain.o_proj,))
        self.norm_scale: Tensor | None
        self.register_buffer("norm_scale", None, persistent=False)
        if plain.q_norm is not None and plain.k_norm is not None:
            self.eps = plain.q_norm.eps
            scales = (
                (1.0 + norm.weight.detach().float()).expand(count, 1, -1)
                for norm, count in zip((plain.q_norm, plain.k_norm), self.heads, strict=False)
            )
            self.norm_scale = torch.cat(tuple(scales))

    def project(self, x_BLD: Tensor, *, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Attention.project`."""
        queries, keys, values = self.heads
        qkv_BJLH = self.qkv_proj(x_BLD).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        qk_BJLH, v_BKLH = qkv_BJLH.split((queries + keys, values), dim=1)
        if self.norm_scale is not None:
            qk_BJLH = normalize(qk_BJLH, scale_D=self.norm_scale, eps=self.eps)
        q_BNLH, k_BKLH = rotate(qk_BJLH, rotation=rotation).split((queries, keys), dim=1)
        return q_BNLH, k_BKLH, v_BKLH


class PackedMLP(nn.Module):
    """The gated MLP with one product for gate and up."""

    def __init__(self, plain: MLP, *, name: str, join: Join) -> None:
        super().__init__()
        self.gate_up_proj = join(f"{name}.gate_up_proj", (plain.gate_proj, plain.up_proj))
        self.down_proj = join(f"{name}.down_proj", (plain.down_proj,))

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        return self.down_proj(self.gate_up_proj.gated(x_BLD))


def gate(gate_up: Tensor) -> Tensor:
    """Returns ``gelu(first half) * second half`` of the last dimension."""
    first, second = gate_up.chunk(2, dim=-1)
    return F.gelu(first, approximate="tanh") * second


def _packed(name: str, parts: Sequence[nn.Linear], *, layout: Layout) -> PackedLinear:
    weights = [part.weight.detach() for part in parts]
    return PackedLinear(weights[0] if len(weights) == 1 else torch.cat(weights), layout=layout)


def _fuse_layer(layer: DecoderLayer, *, name: str, join: Join) -> None:
    layer.self_attn = PackedAttention(layer.self_attn, name=f"{name}.self_attn", join=join)
    layer.mlp = PackedMLP(layer.mlp, name=f"{name}.mlp", join=join)
    for name, child in tuple(layer.named_children()):
        if isinstance(child, RMSNorm):
            setattr(layer, name, PackedNorm(child))


def _has_onednn() -> bool:
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)
