"""The image tower on the compiled kernels: bfloat16 in tiles, attention in one pass, and no copy of the weights.

`fuse_tower` puts them in the place of PyTorch's layers where the processor has
tiles (AMX); see `osler.quant.tower_int8` for AVX-512. Parameters keep their names
and their memory, in floating point or stored in 8 bits: a mapped file stays mapped.

Between the parts of a layer activations lie in tiles, as the products load
them: norms, attention and the first layer of an MLP leave them so. What is
added to the stream is added to the sums of a product before they are rounded.

Dimensions: B images, P patches, D width, F width of the MLP, N heads, H width of
a head; M rows of all images.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from osler.model.osler import Osler
from osler.model.vision import EncoderLayer, VisionAttention, VisionMLP
from osler.quant.attention import attend
from osler.quant.kernels import Kernels, NativeKernels
from osler.quant.linear import QuantLinear
from osler.quant.tower_int8 import fits_layer, multiply_in_int8

MLP_ROWS = 1024
"""Rows that pass through both layers of an MLP at a time, so that what lies between them is small."""
_TILE = 32
_ROWS = 16


class LinearStruct(ctypes.Structure):
    """``OslerTowerLinear`` of ``native/tower.h``."""

    _fields_ = (
        ("tiles", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("residual", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("M", ctypes.c_int64),
        ("N", ctypes.c_int64),
        ("K", ctypes.c_int64),
        ("out_stride", ctypes.c_int64),
        ("gelu", ctypes.c_int32),
    )


class RowsStruct(ctypes.Structure):
    """``OslerTowerRows`` of ``native/tower.h``."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("M", ctypes.c_int64),
        ("D", ctypes.c_int64),
        ("eps", ctypes.c_float),
    )


@dataclass(frozen=True, slots=True, eq=False)
class TiledRows:
    """Rows of activations in tiles of 16 rows by 32 columns, filled up to pairs of tiles and whole ones.

    Args:
        data_RCrc: bfloat16, (R, C, 16, 32). rows: That count. columns: That count.
    """

    data_RCrc: Tensor
    rows: int
    columns: int

    @classmethod
    def empty(cls, rows: int, columns: int) -> TiledRows:
        """Returns room for rows."""
        shape = (-(-rows // _TILE) * 2, -(-columns // _TILE), _ROWS, _TILE)
        return cls(torch.empty(shape, dtype=torch.bfloat16), rows, columns)

    def part(self, first: int, last: int) -> TiledRows:
        """Returns rows ``first`` to ``last - 1``, where ``first`` is a multiple of 32."""
        return TiledRows(self.data_RCrc[first // _ROWS : -(-last // _TILE) * 2], last - first, self.columns)


class FusedLayer(nn.Module):
    """`EncoderLayer` on the kernels; takes no gradient."""

    def __init__(self, plain: EncoderLayer, *, kernels: NativeKernels) -> None:
        super().__init__()
        self.layer_norm1, self.self_attn = plain.layer_norm1, plain.self_attn
        self.layer_norm2, self.mlp = plain.layer_norm2, plain.mlp
        self._kernels = kernels

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Returns the stream after this layer, (B, P, D)."""
        x_MD = x_BPD.flatten(0, 1).contiguous()
        normed = lay_rows(self._kernels, x_MD, norm=self.layer_norm1)
        x_MD = attended(self._kernels, normed, weights=self.self_attn, images=len(x_BPD), residual_MD=x_MD)
        normed = lay_rows(self._kernels, x_MD, norm=self.layer_norm2)
        return transformed(self._kernels, normed, weights=self.mlp, residual_MD=x_MD).view_as(x_BPD)


def attended(
    kernels: NativeKernels, x: TiledRows, *, weights: VisionAttention, images: int, residual_MD: Tensor
) -> Tensor:
    """Returns the stream after the attention of a layer, (M, D).

    Args:
        kernels: With tiles.
        x: Normalized rows of all images. weights: Of the layer. images: How many.
        residual_MD: The stream before, bfloat16.
    """
    q_BNPH, k_BNPH, v_BNPH = (
        linear(kernels, x, weight=TiledWeight(layer, kernels=kernels))
        .view(images, -1, weights.heads, x.columns // weights.heads)
        .transpose(1, 2)
        for layer in (weights.q_proj, weights.k_proj, weights.v_proj)
    )
    out_BNPH = attend(kernels, q_BNPH, k_BKSH=k_BNPH, v_BKSH=v_BNPH, scale=q_BNPH.shape[-1] ** -0.5)
    rows = lay_rows(kernels, out_BNPH.transpose(1, 2).view_as(residual_MD))
    return linear(kernels, rows, weight=TiledWeight(weights.out_proj, kernels=kernels), residual_MN=residual_MD)


def transformed(kernels: NativeKernels, x: TiledRows, *, weights: VisionMLP, residual_MD: Tensor) -> Tensor:
    """Returns the stream after the MLP of a layer, (M, D), some rows at a time; see `attended`."""
    first, second = (TiledWeight(layer, kernels=kernels) for layer in (weights.fc1, weights.fc2))
    out_MD = torch.empty_like(residual_MD)
    inner = TiledRows.empty(min(MLP_ROWS, x.rows), first.outputs)
    for start in range(0, x.rows, MLP_ROWS):
        stop = min(start + MLP_ROWS, x.rows)
        some = linear_rows(
            kernels, x.part(start, stop), weight=first, out=inner.part(0, stop - start), activation="gelu"
        )
        linear(kernels, some, weight=second, residual_MN=residual_MD[start:stop], out=out_MD[start:stop])
    return out_MD


def fuse_tower(layers: nn.ModuleList, *, kernels: Kernels) -> bool:
    """Puts the kernels into layers of a tower, in place, where they run.

    Args:
        layers: Of `EncoderLayer`, in evaluation mode, on the CPU.
        kernels: Of the decoder's weights.

    Returns:
        Whether they took over whole layers: the processor has tiles, and the layers are in bfloat16 and of a shape that
        fits.
    """
    if not isinstance(kernels, NativeKernels):
        return False
    if kernels.vectors:
        multiply_in_int8(layers, kernels=kernels)
    if not (kernels.tiles and all(fits_layer(layer) for layer in layers)):
        return False
    for index, layer in enumerate(layers):
        if isinstance(layer, EncoderLayer):
            layers[index] = FusedLayer(layer, kernels=kernels)
    return True


def fuse_eyes(model: Osler, *, kernels: Kernels) -> None:
    """Puts the kernels into all layers that read images: those of the tower, and the copies that heads have."""
    if model.vision is not None:
        fuse_tower(model.vision.encoder.layers, kernels=kernels)
    if model.heads is not None:
        fuse_tower(model.heads.trunk.layers, kernels=kernels)


class TiledWeight:
    """A linear layer's weight in tiles, for as long as the layer runs: a copy of the tower is not kept."""

    def __init__(self, layer: nn.Linear | QuantLinear, *, kernels: NativeKernels) -> None:
        self.outputs, self.inputs = layer.out_features, layer.in_features
        stored = isinstance(layer, QuantLinear)
        self.tiles = kernels.stored_tiles(layer.prepared) if stored else kernels.tower_tiles(layer.weight)
        self.bias_N = layer.bias


def lay_rows(kernels: NativeKernels, x_MD: Tensor, *, norm: nn.LayerNorm | None = None) -> TiledRows:
    """Lays rows (bfloat16, contiguous) out in tiles, normalized if a norm is given."""
    assert x_MD.dtype == torch.bfloat16
    assert x_MD.is_contiguous()
    rows = TiledRows.empty(*x_MD.shape)
    struct = RowsStruct(
        x=x_MD.data_ptr(),
        scale=None if norm is None else norm.weight.data_ptr(),
        bias=None if norm is None else norm.bias.data_ptr(),
        out=rows.data_RCrc.data_ptr(),
        M=rows.rows,
        D=rows.columns,
        eps=0.0 if norm is None else norm.eps,
    )
    kernels.tower_rows(struct)
    return rows


def linear(
    kernels: NativeKernels,
    x: TiledRows,
    *,
    weight: TiledWeight,
    activation: Literal["none", "gelu"] = "none",
    residual_MN: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Multiplies, adds the bias, applies the activation and adds the residual, with sums in float32.

    Args:
        kernels: With tiles.
        x: As wide as the weight has inputs. weight: Of the layer.
        activation: ``"gelu"`` by its tanh approximation.
        residual_MN: bfloat16, contiguous.
        out: (M, N), whose rows may lie apart; made if not given.

    Returns:
        ``out``.
    """
    if out is None:
        out = torch.empty(x.rows, weight.outputs, dtype=torch.bfloat16)
    assert out.stride(1) == 1
    assert residual_MN is None or residual_MN.is_contiguous()
    _multiply(kernels, x, weight=weight, activation=activation, residual_MN=residual_MN, out=out, stride=out.stride(0))
    return out


def linear_rows(
    kernels: NativeKernels, x: TiledRows, *, weight: TiledWeight, out: TiledRows, activation: Literal["none", "gelu"]
) -> TiledRows:
    """As `linear`, with results in tiles."""
    _multiply(kernels, x, weight=weight, activation=activation, residual_MN=None, out=out.data_RCrc, stride=0)
    return out


def _multiply(
    kernels: NativeKernels,
    x: TiledRows,
    *,
    weight: TiledWeight,
    activation: str,
    residual_MN: Tensor | None,
    out: Tensor,
    stride: int,
) -> None:
    assert x.columns == weight.inputs
    product = LinearStruct(
        tiles=weight.tiles.data_ptr(),
        bias=None if weight.bias_N is None else weight.bias_N.data_ptr(),
        x=x.data_RCrc.data_ptr(),
        residual=None if residual_MN is None else residual_MN.data_ptr(),
        out=out.data_ptr(),
        M=x.rows,
        N=weight.outputs,
        K=weight.inputs,
        out_stride=stride,
        gelu=activation == "gelu",
    )
    kernels.tower_linear(product)
