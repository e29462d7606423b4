"""What the kernels need to run a few tokens through all layers of a packed decoder.

PyTorch and Python spend as long around the products of a small decoder as the
products take; the compiled kernels do the norms, rotations, attention and the
gate of a token themselves, with the same roundings. Tokens that go together
share one reading of the weights, and each gets the bits that it gets alone.

Dimensions: L tokens, D width, N query heads, K key heads, H width of a head.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from osler.quant.kernels import NativeKernels, Prepared, WeightStruct
from osler.quant.linear import JoinedLinear, QuantLinear
from osler.quant.packed import FEW_ROWS

MOST_PARTS = 3
_POINTER = ctypes.c_void_p
_ALL = 1 << 62


class ProductStruct(ctypes.Structure):
    """``OslerProduct`` of ``native/token.h``."""

    _fields_ = (("parts", ctypes.POINTER(WeightStruct) * MOST_PARTS), ("count", ctypes.c_int64))


class LayerStruct(ctypes.Structure):
    """``OslerTokenLayer``."""

    _fields_ = (
        ("qkv", ProductStruct),
        ("out", ProductStruct),
        ("gate_up", ProductStruct),
        ("down", ProductStruct),
        ("norms", _POINTER * 4),
        ("qk_scale", _POINTER),
        ("keys", _POINTER),
        ("values", _POINTER),
        ("capacity", ctypes.c_int64),
        ("place", ctypes.c_int64),
        ("window", ctypes.c_int64),
        ("rotation", ctypes.c_int64),
    )


class TokenStruct(ctypes.Structure):
    """``OslerToken``."""

    _fields_ = (
        ("layers", ctypes.POINTER(LayerStruct)),
        ("count", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("key_heads", ctypes.c_int64),
        ("head_dim", ctypes.c_int64),
        ("mlp_width", ctypes.c_int64),
        ("norm", _POINTER),
        ("cos", _POINTER * 2),
        ("sin", _POINTER * 2),
        ("eps", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("tokens", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLayer:
    """A layer whose products are packed.

    Args:
        products: Of queries, keys and values; of what attention gathers; gate and up; down.
        norms: Scales (D) in float32: before and after attention, before and after the MLP.
        qk_scale: (N + K, H) in float32, or ``None``.
        rotation: Which of the two rotations it takes.
    """

    products: tuple[nn.Module, nn.Module, nn.Module, nn.Module]
    norms: tuple[Tensor, Tensor, Tensor, Tensor]
    qk_scale: Tensor | None
    rotation: int


def native_parts(product: nn.Module) -> list[tuple[NativeKernels, Prepared]] | None:
    """Returns the packed parts of a product, ``None`` where it is none that the kernels can run."""
    layers = list(product.parts) if isinstance(product, JoinedLinear) else [product]
    if len(layers) > MOST_PARTS:
        return None
    found = []
    for layer in layers:
        if not isinstance(layer, QuantLinear) or layer.bias is not None:
            return None
        if not isinstance(layer.kernels, NativeKernels) or not isinstance(layer.prepared, Prepared):
            return None
        found.append((layer.kernels, layer.prepared))
    return found


class TokenRun:
    """Runs a few tokens of one row through the layers.

    Args:
        layers: All layers.
        norm: Scale after the last of them, (D).
        heads: N. key_heads: K. head_dim: H. mlp_width: Of the MLP.
        eps: Of the norms. scale: Of the scores.
    """

    def __init__(
        self,
        layers: Sequence[TokenLayer],
        *,
        norm: Tensor,
        heads: int,
        key_heads: int,
        head_dim: int,
        mlp_width: int,
        eps: float,
        scale: float,
    ) -> None:
        # The structures hold addresses; these keep what lies there.
        self._kept: list[object] = [norm, *layers]
        self._structs = (LayerStruct * len(layers))()
        for struct, layer in zip(self._structs, layers, strict=True):
            self._fill(struct, layer)
        self._token = TokenStruct(
            layers=self._structs,
            count=len(layers),
            width=len(norm),
            heads=heads,
            key_heads=key_heads,
            head_dim=head_dim,
            mlp_width=mlp_width,
            norm=norm.data_ptr(),
            eps=eps,
            scale=scale,
        )

    def _fill(self, struct: LayerStruct, layer: TokenLayer) -> None:
        for name, product in zip(("qkv", "out", "gate_up", "down"), layer.products, strict=True):
            parts = native_parts(product)
            assert parts
            self._kernels = parts[0][0]
            target = getattr(struct, name)
            target.count = len(parts)
            for number, (_, prepared) in enumerate(parts):
                self._kept.append(prepared)
                target.parts[number] = ctypes.pointer(prepared.struct)
        struct.norms[:] = [norm.data_ptr() for norm in layer.norms]
        struct.qk_scale = None if layer.qk_scale is None else layer.qk_scale.data_ptr()
        struct.rotation = layer.rotation

    def place(self, layer: int, *, keys_BKSH: Tensor, values_BKSH: Tensor, place: int, window: int | None) -> None:
        """Says where a layer's keys and values are, and where those of the tokens go.

        Args:
            place: Of the first token. window: Tokens that one sees at most, itself included; ``None`` for all.
        """
        struct = self._structs[layer]
        struct.keys, struct.values = keys_BKSH.data_ptr(), values_BKSH.data_ptr()
        struct.capacity, struct.place = keys_BKSH.shape[2], place
        struct.window = _ALL if window is None else window

    def run(self, x_LD: Tensor, *, rotations: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Replaces the embeddings of at most `FEW_ROWS` tokens, bfloat16, by their hidden states after the last norm.

        Args:
            x_LD: Changed in place.
            rotations: Two pairs of cosines and signed sines, each (L, H) in bfloat16.
        """
        assert x_LD.dtype == torch.bfloat16
        assert x_LD.is_contiguous()
        assert len(x_LD) <= FEW_ROWS
        for number, (cos_LH, sin_LH) in enumerate(rotations):
            self._token.cos[number], self._token.sin[number] = cos_LH.data_ptr(), sin_LH.data_ptr()
        self._token.tokens = len(x_LD)
        self._kernels.token(self._token, x_LD)
