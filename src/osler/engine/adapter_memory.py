"""What the adapter reads of a study: computed once, kept for the questions that follow.

Of images it reads the tower's features; of volumes that are read as slabs the
cells of the slabs before they are mixed and merged, which the tower has
computed for the prompt already: the prompt holds few tokens of a volume, and
the adapter all that they were made of.

Legend: N images, M features of an image, S slabs, T cells of a slab, V width of the tower.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

from osler.engine.features import image_batch
from osler.engine.slab_features import Shown, SlabStore, outside_volumes
from osler.prepare import PixelBatches

if TYPE_CHECKING:
    from osler.engine.backend import AnyNetwork
    from osler.jax.adapter import AdapterMemory as JaxMemory
    from osler.model.adapter import AdapterMemory


class MemoryStore:
    """Makes memories for weights with an adapter, and remembers the last one. Threads take turns.

    Args:
        network: Of any kind; without an adapter there is never a memory.
        slabs: Encodes volumes that are read as slabs.
    """

    def __init__(self, network: AnyNetwork, *, slabs: SlabStore) -> None:
        self._network, self._slabs = network, slabs
        self._key: tuple[str, ...] = ()
        self._memory: AdapterMemory | JaxMemory | None = None
        self._turn = threading.Lock()

    @torch.inference_mode()
    def of(self, shown: Shown) -> AdapterMemory | JaxMemory | None:
        """Returns the memory of all images of a prompt, ``None`` without images or adapter."""
        if self._network.config.adapter is None or len(shown.pixels) == 0:
            return None
        key = (*shown.pixels.digests(), *(f"{start} {plan.slots.tolist()}" for start, plan in shown.volumes.items()))
        with self._turn:
            if key != self._key:
                self._key, self._memory = (), None
                parts = [part for part in (self.image_features(shown), self._volumes(shown)) if part is not None]
                if len({part.shape[1] for part in parts}) > 1:
                    parts = [torch.cat([part.flatten(0, 1) for part in parts])[None]]
                self._memory, self._key = self._network.memory_of(torch.cat(parts)), key
            return self._memory

    def image_features(self, shown: Shown) -> torch.Tensor | None:
        """Encodes the images of a prompt that belong to no volume, (N, M, V); ``None`` where there are none."""
        network, alone = self._network, outside_volumes(shown)
        size, parts = image_batch(network), []
        for start in range(0, len(alone), size):
            rgb = shown.pixels.rgb[alone[start : start + size]]
            batch = PixelBatches(rgb=rgb, preprocess=shown.pixels.preprocess).array()
            parts.append(
                network.memory_features(torch.from_numpy(batch).to(device=network.device, dtype=network.dtype))
            )
        return torch.cat(parts) if parts else None

    def _volumes(self, shown: Shown) -> torch.Tensor | None:
        return self._slabs.cells(shown) if shown.volumes else None

    def clear(self) -> None:
        """Forgets everything."""
        with self._turn:
            self._key, self._memory = (), None
