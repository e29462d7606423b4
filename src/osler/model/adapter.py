"""The cross-attention adapter: layers of the decoder read features of images that take no place in the context.

Before every k-th layer of the decoder the stream attends to a memory of image
features, behind a tanh gate that starts at zero (gated cross-attention:
Flamingo, arXiv 2204.14198, section 3.2). With gates at zero the decoder computes
what it computes without the adapter, bit for bit. Keys and values of the memory
are computed once for a study and serve every token of prompt and answer.

Dimensions: B batch, L tokens, D width of the decoder, M features of the memory,
V width of the tower, N heads, H width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import OslerConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdapterMemory:
    """What the decoder reads of the images of each row: keys and values, and the layers that read them.

    Args:
        layers: By the number of the decoder's layer.
        keys_values: Of each of them: (B, N, M, H) twice.
        padding_BM: True where there is no feature; ``None`` where all are.
    """

    layers: Mapping[int, AdapterLayer]
    keys_values: Mapping[int, tuple[Tensor, Tensor]]
    padding_BM: Tensor | None = None

    def read(self, x_BLD: Tensor, *, layer: int) -> Tensor:
        """Returns the stream before a layer of the decoder, with what it reads of the memory added."""
        if layer not in self.layers:
            return x_BLD
        k_BNMH, v_BNMH = self.keys_values[layer]
        return self.layers[layer](x_BLD, k_BNMH=k_BNMH, v_BNMH=v_BNMH, padding_BM=self.padding_BM)

    def nothing(self) -> AdapterMemory:
        """A memory of the same adapter for one row without images."""
        empty = {layer: (k[:1, :, :1] * 0, v[:1, :, :1] * 0) for layer, (k, v) in self.keys_values.items()}
        padding_11 = torch.ones(1, 1, dtype=torch.bool, device=self.device)
        return AdapterMemory(layers=self.layers, keys_values=empty, padding_BM=padding_11)

    @staticmethod
    def stack(memories: Sequence[AdapterMemory]) -> AdapterMemory:
        """Joins memories of single rows into one of several; shorter ones are padded.

        Args:
            memories: Of one adapter, one at least.
        """
        first = memories[0]
        if len(memories) == 1:
            return first
        longest = max(memory.length for memory in memories)
        joined = {
            layer: (
                torch.cat([_longer(memory.keys_values[layer][0], to=longest) for memory in memories]),
                torch.cat([_longer(memory.keys_values[layer][1], to=longest) for memory in memories]),
            )
            for layer in first.layers
        }
        paddings = []
        for memory in memories:
            own = memory.padding_BM
            if own is None:
                own = torch.zeros(memory.rows, memory.length, dtype=torch.bool, device=memory.device)
            paddings.append(F.pad(own, (0, longest - memory.length), value=True))
        return AdapterMemory(layers=first.layers, keys_values=joined, padding_BM=torch.cat(paddings))

    @property
    def rows(self) -> int:
        """Number B."""
        return len(self._some)

    @property
    def length(self) -> int:
        """Number M."""
        return self._some.shape[2]

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._some.device

    @property
    def bytes(self) -> int:
        """Memory that is held."""
        return sum(k.nbytes + v.nbytes for k, v in self.keys_values.values())

    @property
    def _some(self) -> Tensor:
        return next(iter(self.keys_values.values()))[0]


class CrossAttentionAdapter(nn.Module):
    """One `AdapterLayer` for every k-th layer of the decoder.

    Args:
        config: Of the whole network, with ``adapter`` and ``vision``.

    Raises:
        RequestError: If no layer of the decoder would have one, or patches cannot be pooled so.
    """

    def __init__(self, config: OslerConfig) -> None:
        super().__init__()
        assert config.adapter is not None
        assert config.vision is not None
        numbers = config.adapter.layers(config.decoder)
        if not numbers:
            raise RequestError(
                f"An adapter at every {config.adapter.every}th of {config.decoder.layers} layers.",
                allowed="A number up to that of the layers.",
            )
        if config.vision.side % config.adapter.pool:
            raise RequestError(
                f"The adapter pools squares of {config.adapter.pool} patches of {config.vision.side} a side.",
                allowed="A number that divides it.",
            )
        self.side, self.pool = config.vision.side, config.adapter.pool
        self.layers = nn.ModuleDict({str(number): AdapterLayer(config) for number in numbers})

    def pool_patches(self, features_NPV: Tensor) -> Tensor:
        """Averages squares of patches of each image, (N, P / pool**2, V)."""
        grid_NVpp = features_NPV.transpose(1, 2).unflatten(2, (self.side, self.side))
        return F.avg_pool2d(grid_NVpp, self.pool).flatten(2).transpose(1, 2)

    def memory_keys_values(self, memory_BMV: Tensor, *, padding_BM: Tensor | None = None) -> AdapterMemory:
        """Computes keys and values of all layers, once for a study.

        Args:
            memory_BMV: Features of the tower.
            padding_BM: True where there is no feature.
        """
        layers = {int(number): layer for number, layer in self.layers.items()}
        found = {number: layer.keys_values(memory_BMV) for number, layer in layers.items()}
        return AdapterMemory(layers=layers, keys_values=found, padding_BM=padding_BM)


class AdapterLayer(nn.Module):
    """Gated attention from the decoder's stream to the memory."""

    def __init__(self, config: OslerConfig) -> None:
        super().__init__()
        assert config.adapter is not None
        assert config.vision is not None
        inner = config.adapter.heads * config.adapter.head_dim
        self.heads = config.adapter.heads
        self.norm = nn.LayerNorm(config.decoder.width)
        self.memory_norm = nn.LayerNorm(config.vision.width)
        self.q_proj = nn.Linear(config.decoder.width, inner, bias=False)
        self.k_proj = nn.Linear(config.vision.width, inner, bias=False)
        self.v_proj = nn.Linear(config.vision.width, inner, bias=False)
        self.out_proj = nn.Linear(inner, config.decoder.width, bias=False)
        self.gate = nn.Parameter(torch.zeros(()))

    def keys_values(self, memory_BMV: Tensor) -> tuple[Tensor, Tensor]:
        """Returns keys and values, each (B, N, M, H)."""
        normal_BMV = self.memory_norm(memory_BMV)
        return self._split(self.k_proj(normal_BMV)), self._split(self.v_proj(normal_BMV))

    def forward(self, x_BLD: Tensor, *, k_BNMH: Tensor, v_BNMH: Tensor, padding_BM: Tensor | None) -> Tensor:
        """Returns the stream with what it reads, (B, L, D); a row without any feature reads nothing."""
        q_BNLH = self._split(self.q_proj(self.norm(x_BLD)))
        if padding_BM is None:
            out_BNLH = F.scaled_dot_product_attention(q_BNLH, k_BNMH, v_BNMH)
        else:
            # A row without features attends to its padding, so that no softmax is empty, and is then zeroed.
            none_B1 = padding_BM.all(1, keepdim=True)
            seen_B11M = (~padding_BM | none_B1)[:, None, None]
            out_BNLH = F.scaled_dot_product_attention(q_BNLH, k_BNMH, v_BNMH, attn_mask=seen_B11M)
            out_BNLH = out_BNLH.masked_fill(none_B1[:, :, None, None], 0)
        read_BLD = torch.tanh(self.gate) * self.out_proj(out_BNLH.transpose(1, 2).flatten(2))
        return x_BLD + read_BLD.to(x_BLD.dtype)

    def _split(self, x_BLC: Tensor) -> Tensor:
        return x_BLC.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _longer(x_BNMH: Tensor, *, to: int) -> Tensor:
    """Pads keys or values with zeros."""
    return F.pad(x_BNMH, (0, 0, 0, to - x_BNMH.shape[2]))
