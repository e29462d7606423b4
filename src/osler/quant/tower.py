"""The image tower on the compiled kernels: bfloat16 in tiles, attention in one pass, and no copy of the weights.

`fuse_tower` puts them in the place of PyTorch's products where the processor
has tiles (AMX); elsewhere the tower stays as it is. Parameters keep their names
and their memory: a mapped file stays mapped.

Dimensions: B images, P patches, D width, F width of the MLP, N heads, H width of
a head; M rows of all images.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from osler.model.osler import Osler
from osler.model.vision import EncoderLayer, VisionAttention, VisionMLP
from osler.quant.attention import attend, fits_head
from osler.quant.kernels import Kernels, NativeKernels

MLP_ROWS = 1024
"""Rows that pass through both layers of an MLP at a time, so that what lies between them is small."""
_TILE = 32


class LinearStruct(ctypes.Structure):
    """``OslerTowerLinear`` of ``native/tower.h``."""

    _fields_ = (
        ("tiles", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("M", ctypes.c_int64),
        ("N", ctypes.c_int64),
        ("K", ctypes.c_int64),
        ("x_stride", ctypes.c_int64),
        ("out_stride", ctypes.c_int64),
        ("gelu", ctypes.c_int32),
    )


class FusedAttention(nn.Module):
    """`VisionAttention` on the kernels; takes no gradient."""

    def __init__(self, plain: VisionAttention, *, kernels: NativeKernels) -> None:
        super().__init__()
        self.heads = plain.heads
        self.k_proj, self.v_proj, self.q_proj = plain.k_proj, plain.v_proj, plain.q_proj
        self.out_proj = plain.out_proj
        self._kernels = kernels

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Returns (B, P, D)."""
        x_MD = x_BPD.flatten(0, 1).contiguous()
        q_BPNH, k_BPNH, v_BPNH = (
            linear(self._kernels, x_MD, weight=TiledWeight(layer, kernels=self._kernels)).view(
                *x_BPD.shape[:2], self.heads, -1
            )
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q_BNPH, k_BNPH, v_BNPH = (part.transpose(1, 2) for part in (q_BPNH, k_BPNH, v_BPNH))
        scale = q_BPNH.shape[-1] ** -0.5
        out_BNPH = attend(self._kernels, q_BNPH, k_BKSH=k_BNPH, v_BKSH=v_BNPH, scale=scale)
        weight = TiledWeight(self.out_proj, kernels=self._kernels)
        return linear(self._kernels, out_BNPH.transpose(1, 2).view_as(x_MD), weight=weight).view_as(x_BPD)


class FusedMLP(nn.Module):
    """`VisionMLP` on the kernels, with the GELU in the first product; takes no gradient."""

    def __init__(self, plain: VisionMLP, *, kernels: NativeKernels) -> None:
        super().__init__()
        self.fc1, self.fc2 = plain.fc1, plain.fc2
        self._kernels = kernels

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Returns (B, P, D)."""
        x_MD = x_BPD.flatten(0, 1).contiguous()
        out_MD = torch.empty_like(x_MD)
        # Rows end at whole tiles, which the second product loads; what is past the end stays zero.
        wide = -(-self.fc1.out_features // _TILE) * _TILE
        room_RW = torch.zeros(min(MLP_ROWS, len(x_MD)), wide, dtype=x_MD.dtype)
        first, second = (TiledWeight(layer, kernels=self._kernels) for layer in (self.fc1, self.fc2))
        for x_RD, out_RD in zip(x_MD.split(MLP_ROWS), out_MD.split(MLP_ROWS), strict=True):
            inner_RF = room_RW[: len(x_RD), : self.fc1.out_features]
            linear(self._kernels, x_RD, weight=first, activation="gelu", out=inner_RF)
            linear(self._kernels, inner_RF, weight=second, out=out_RD)
        return out_MD.view_as(x_BPD)


def fuse_tower(layers: Iterable[EncoderLayer], *, kernels: Kernels) -> bool:
    """Puts the kernels into layers of a tower, in place, where they run.

    Args:
        layers: In evaluation mode, on the CPU.
        kernels: Of the decoder's weights.

    Returns:
        Whether they were put in: the processor has tiles, and the layers are in bfloat16 and of a shape that fits.
    """
    layers = list(layers)
    if not (isinstance(kernels, NativeKernels) and kernels.tiles and all(_fits(layer) for layer in layers)):
        return False
    for layer in layers:
        if isinstance(layer.self_attn, VisionAttention):
            layer.self_attn = FusedAttention(layer.self_attn, kernels=kernels)
            layer.mlp = FusedMLP(layer.mlp, kernels=kernels)
    return True


def fuse_eyes(model: Osler, *, kernels: Kernels) -> None:
    """Puts the kernels into all layers that read images: those of the tower, and the copies that heads have."""
    if model.vision is not None:
        fuse_tower(model.vision.encoder.layers, kernels=kernels)
    if model.heads is not None:
        fuse_tower(model.heads.trunk.layers, kernels=kernels)


class TiledWeight:
    """A linear layer's weight in tiles, for as long as the layer runs: a copy of the tower is not kept."""

    def __init__(self, layer: nn.Linear, *, kernels: NativeKernels) -> None:
        self.outputs, self.inputs = layer.out_features, layer.in_features
        self.tiles = kernels.tower_tiles(layer.weight)
        self.bias_N = layer.bias


def linear(
    kernels: NativeKernels,
    x_MK: Tensor,
    *,
    weight: TiledWeight,
    activation: Literal["none", "gelu"] = "none",
    out: Tensor | None = None,
) -> Tensor:
    """Multiplies, adds the bias, and applies the activation, with sums in float32.

    Args:
        kernels: With tiles.
        x_MK: bfloat16; rows may lie apart, and then up to the next multiple of 32 values they hold finite ones.
        weight: Of the layer. activation: ``"gelu"`` by its tanh approximation.
        out: (M, N), whose rows may lie apart; made if not given.

    Returns:
        ``out``.
    """
    if out is None:
        out = torch.empty(len(x_MK), weight.outputs, dtype=x_MK.dtype)
    assert x_MK.dtype == out.dtype == torch.bfloat16
    assert x_MK.stride(1) == out.stride(1) == 1
    product = LinearStruct(
        tiles=weight.tiles.data_ptr(),
        bias=None if weight.bias_N is None else weight.bias_N.data_ptr(),
        x=x_MK.data_ptr(),
        out=out.data_ptr(),
        M=len(x_MK),
        N=weight.outputs,
        K=weight.inputs,
        x_stride=x_MK.stride(0),
        out_stride=out.stride(0),
        gelu=activation == "gelu",
    )
    kernels.tower_linear(product)
    return out


def _fits(layer: EncoderLayer) -> bool:
    weight, heads = layer.mlp.fc1.weight, layer.self_attn.heads
    head = weight.shape[1] // heads
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and fits_head(head)
        and head * heads == weight.shape[1]
    )
