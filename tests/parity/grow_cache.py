"""The plainest cache that keeps the protocol, to test the decoder with."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from osler.model.config import DecoderConfig

Order = Literal["ascending", "shuffled"]


class GrowCache:
    """Keeps all keys in global layers and the window in sliding ones.

    Args:
        config: Of the decoder.
        order: In which order a single step gets its keys; the protocol allows any.
    """

    def __init__(self, config: DecoderConfig, *, order: Order = "ascending") -> None:
        self.config = config
        self.order = order
        self.stored: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.new_BL = torch.zeros(0, 0, dtype=torch.long)

    def expect(self, positions_BL: Tensor, *, padding_BL: Tensor | None = None) -> None:
        """Says which tokens the decoder runs on next."""
        self.new_BL = positions_BL if padding_BL is None else positions_BL.masked_fill(padding_BL, -1)

    def update(self, layer: int, keys_BKLH: Tensor, values_BKLH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `osler.model.cache_protocol.KeyValueCache`."""
        k, v, positions = keys_BKLH, values_BKLH, self.new_BL
        if layer in self.stored:
            old_k, old_v, old_positions = self.stored[layer]
            k, v = torch.cat((old_k, k), dim=2), torch.cat((old_v, v), dim=2)
            positions = torch.cat((old_positions, positions), dim=1)
        kept = positions.shape[1]
        if self.config.kind(layer) == "sliding":
            kept = min(kept, self.config.window - 1)
        self.stored[layer] = (k[:, :, -kept:], v[:, :, -kept:], positions[:, -kept:])
        if self.order == "shuffled" and keys_BKLH.shape[2] == 1:
            places = torch.randperm(positions.shape[1], generator=torch.Generator().manual_seed(positions.shape[1]))
            return k[:, :, places], v[:, :, places], positions[:, places]
        return k, v, positions
