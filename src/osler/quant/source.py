"""Where the weights to be quantized are read from, a few rows at a time.

Safetensors are memory-mapped and GGUF blocks are turned into floating point
row by row; a low-rank adapter is added to the rows as they pass. No floating
copy of a whole model is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from osler.weights.gguf_blocks import dequantize
from osler.weights.gguf_config import gguf_names
from osler.weights.gguf_file import GgufFile
from osler.weights.lora import LowRank
from osler.weights.mapped import release_mapped


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightSource:
    """The float weights of a network under its own names.

    Args:
        stored: Mapped tensors.
        gguf: Holds the rest, or ``None``.
        adapter: Low-rank updates by the names of layers, to be merged.
    """

    stored: Mapping[str, Tensor]
    gguf: GgufFile | None = None
    adapter: Mapping[str, tuple[LowRank, ...]] = field(default_factory=dict)

    @cached_property
    def _names(self) -> dict[str, str]:
        """The file's names by the network's."""
        return {} if self.gguf is None else gguf_names(self.gguf)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor."""
        shapes = {} if self.gguf is None else {own: self.gguf.tensor(name).shape for own, name in self._names.items()}
        return shapes | {name: tuple(tensor.shape) for name, tensor in self.stored.items()}

    def tensor(self, name: str, *, dtype: torch.dtype) -> Tensor:
        """Returns a whole tensor; a mapped one stays mapped if it has the dtype already."""
        if name in self.stored:
            return self.stored[name].to(dtype)
        assert self.gguf is not None
        whole = self.gguf.read(self._names[name], dtype=torch.float32)
        # llama.cpp stores the factor 1 + w of a Gemma norm.
        return (whole - 1 if self._names[name].endswith("norm.weight") else whole).to(dtype)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Returns rows of a matrix, its adapter merged, in float32."""
        rows = self.stored[name][start:stop].float() if name in self.stored else self._gguf_rows(name, start, stop)
        for update in self.adapter.get(name.removesuffix(".weight"), ()):
            rows = rows + update.scale * (update.b_NR[start:stop].float() @ update.a_RK.float())
        return rows

    def release(self, names: Iterable[str]) -> None:
        """Gives back the memory of mapped tensors that were read; the system's cache of the file may keep them."""
        release_mapped(self.stored[name] for name in names if name in self.stored)

    def blocks(self, name: str) -> tuple[GgufFile, str] | None:
        """Returns the file and the name of a GGUF tensor that nothing is merged into, else ``None``."""
        if self.gguf is None or name in self.stored or name.removesuffix(".weight") in self.adapter:
            return None
        return self.gguf, self._names[name]

    def _gguf_rows(self, name: str, start: int, stop: int) -> Tensor:
        assert self.gguf is not None
        tensor = self.gguf.tensor(self._names[name])
        rows, columns = tensor.shape
        size = tensor.bytes // rows
        raw = self.gguf.raw(self._names[name])[start * size : stop * size]
        return dequantize(raw, format_name=tensor.format.name, shape=(stop - start, columns), dtype=torch.float32)
