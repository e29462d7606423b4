"""Layers with packed weights, in place of `nn.Linear` and `nn.Embedding`.

Dimensions: N outputs, K inputs, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.model.pack import gate
from osler.quant.kernels import Kernels, NativeKernels
from osler.quant.packed import PackedWeight


class QuantLinear(nn.Module):
    """A product with a packed weight; takes no gradient.

    Args:
        weight: Packed, checked.
        kernels: What computes.
        bias: (N,), or ``None``.
    """

    def __init__(self, weight: PackedWeight, *, kernels: Kernels, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.in_features, self.out_features = weight.columns, weight.rows
        self.bias = None if bias is None else nn.Buffer(bias)
        self.kernels = kernels
        self.prepared = kernels.prepare(weight)

    def place(self, weight: PackedWeight) -> None:
        """Puts the same weight, on another device, in the place of its own."""
        self.weight, self.prepared = weight, self.kernels.prepare(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., N)."""
        out = self.kernels.linear(x.reshape(-1, self.in_features), self.prepared)
        if self.bias is not None:
            out = out + self.bias
        return out.view(*x.shape[:-1], self.out_features)

    def gated(self, x: Tensor) -> Tensor:
        """Returns what `gate` makes of the outputs, (..., N / 2)."""
        if self.bias is not None:
            return gate(self(x))
        out = self.kernels.gated(x.reshape(-1, self.in_features), self.prepared)
        return out.view(*x.shape[:-1], self.out_features // 2)


class WidenedLinear(QuantLinear):
    """A product whose weight becomes floating point for as long as it runs: activations keep their precision.

    For the many rows that the image tower and the heads have, which do not wait for the weight. Gives ``x`` a gradient
    as long as activations are kept.

    Attributes:
        activations: ``"int8"`` rounds them for the kernels after all, as `QuantLinear` does (`osler.quant.tower_int8`).
    """

    activations: Literal["kept", "int8"] = "kept"

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., N)."""
        return self.activated(x, activation="none")

    def activated(self, x: Tensor, *, activation: Literal["none", "gelu"]) -> Tensor:
        """Returns (..., N) after an activation; GELU by its tanh approximation."""
        if self.activations == "kept":
            out = F.linear(x, self.kernels.widen(self.prepared, dtype=x.dtype), self.bias)
            return F.gelu(out, approximate="tanh") if activation == "gelu" else out
        assert isinstance(self.kernels, NativeKernels)
        rows = x.reshape(-1, self.in_features)
        out = self.kernels.biased(rows, self.prepared, bias_N=self.bias, activation=activation)
        return out.view(*x.shape[:-1], self.out_features)


class JoinedLinear(nn.Module):
    """Products with the same input whose weights are stored in different formats, side by side."""

    def __init__(self, parts: Sequence[QuantLinear]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (..., sum of the outputs)."""
        return torch.cat([part(x) for part in self.parts], dim=-1)

    def gated(self, x: Tensor) -> Tensor:
        """Returns what `gate` makes of the outputs."""
        return gate(self(x))


class QuantEmbedding(nn.Module):
    """A packed table whose rows are looked up.

    Args:
        weight: (V, D) packed, shared with the language head.
        kernels: What computes.
        dtype: Of the rows that are returned.
    """

    def __init__(self, weight: PackedWeight, *, kernels: Kernels, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = weight
        self.dtype = dtype
        self._kernels = kernels
        self._prepared = kernels.prepare(weight)

    def place(self, weight: PackedWeight) -> None:
        """See `QuantLinear.place`."""
        self.weight, self._prepared = weight, self._kernels.prepare(weight)

    @property
    def device(self) -> torch.device:
        """Where the table is."""
        return self.weight.codes.device

    def forward(self, ids: Tensor) -> Tensor:
        """Returns (..., D).

        Raises:
            IndexError: If an id is not in the vocabulary, as `nn.Embedding` does.
        """
        rows = self._kernels.take_rows(self._prepared, ids.reshape(-1), dtype=self.dtype)
        return rows.view(*ids.shape, self.weight.columns)
