"""What the adapter reads of a study: computed once, kept for the questions that follow.

Legend: N images, M features of an image, V width of the tower.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

from osler.engine.features import image_batch
from osler.prepare import PixelBatches

if TYPE_CHECKING:
    from osler.engine.backend import AnyNetwork
    from osler.jax.adapter import AdapterMemory as JaxMemory
    from osler.model.adapter import AdapterMemory


class MemoryStore:
    """Makes memories for weights with an adapter, and remembers the last one. Threads take turns.

    Args:
        network: Of any kind; without an adapter there is never a memory.
    """

    def __init__(self, network: AnyNetwork) -> None:
        self._network = network
        self._key: tuple[str, ...] = ()
        self._memory: AdapterMemory | JaxMemory | None = None
        self._turn = threading.Lock()

    @torch.inference_mode()
    def of(self, pixels: PixelBatches) -> AdapterMemory | JaxMemory | None:
        """Returns the memory of all images of a prompt, ``None`` without images or adapter."""
        if self._network.config.adapter is None or len(pixels) == 0:
            return None
        key = tuple(pixels.digests())
        with self._turn:
            if key != self._key:
                self._key, self._memory = (), None
                network, size = self._network, image_batch(self._network)
                parts = []
                for start in range(0, len(pixels), size):
                    some = PixelBatches(rgb=pixels.rgb[start : start + size], preprocess=pixels.preprocess)
                    batch = torch.from_numpy(some.array()).to(device=network.device, dtype=network.dtype)
                    parts.append(network.memory_features(batch))
                self._memory, self._key = network.memory_of(torch.cat(parts)), key
            return self._memory

    def clear(self) -> None:
        """Forgets everything."""
        with self._turn:
            self._key, self._memory = (), None
