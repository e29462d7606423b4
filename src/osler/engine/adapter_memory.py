"""What the adapter reads of a study: computed once, kept for the questions that follow.

Legend: N images, M features of an image, V width of the tower.
"""

from __future__ import annotations

import threading

import torch

from osler.engine.features import image_batch
from osler.model.adapter import AdapterMemory
from osler.model.osler import Osler
from osler.prepare import PixelBatches


class MemoryStore:
    """Makes memories for weights with an adapter, and remembers the last one. Threads take turns.

    Args:
        model: Of any kind; without an adapter there is never a memory.
    """

    def __init__(self, model: Osler) -> None:
        self._model = model
        self._key: tuple[str, ...] = ()
        self._memory: AdapterMemory | None = None
        self._turn = threading.Lock()

    @torch.inference_mode()
    def of(self, pixels: PixelBatches) -> AdapterMemory | None:
        """Returns the memory of all images of a prompt, ``None`` without images or adapter."""
        if self._model.adapter is None or len(pixels) == 0:
            return None
        key = tuple(pixels.digests())
        with self._turn:
            if key != self._key:
                self._key, self._memory = (), None
                decoder, size = self._model.decoder, image_batch(self._model)
                parts = []
                for start in range(0, len(pixels), size):
                    some = PixelBatches(rgb=pixels.rgb[start : start + size], preprocess=pixels.preprocess)
                    batch = torch.from_numpy(some.array()).to(device=decoder.device, dtype=decoder.dtype)
                    parts.append(self._model.memory_features(batch))
                self._memory, self._key = self._model.memory_of(torch.cat(parts)), key
            return self._memory

    def clear(self) -> None:
        """Forgets everything."""
        with self._turn:
            self._key, self._memory = (), None
