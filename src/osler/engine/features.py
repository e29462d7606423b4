"""Features of images: encoded a few at a time, and never twice in a session.

Legend: N images, T soft tokens of an image, D width of the decoder.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from osler.engine.memory_plan import encode_bytes
from osler.engine.study_cache import StudyCache
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.prepare import PixelBatches
from osler.quant.linear import QuantLinear
from osler.weights.mapped import release_mapped

_BATCH_BYTES = 512 << 20
_KEPT_BYTES = 1 << 30
_LARGE_BYTES = 256 << 20


class ImageEncoder(Protocol):
    """What turns images into features, on any backend."""

    @property
    def config(self) -> OslerConfig:
        """Of the network."""
        ...

    @property
    def device(self) -> torch.device:
        """Where images are expected."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of images and features."""
        ...

    def encode_images(self, pixels_N3SS: torch.Tensor) -> torch.Tensor:
        """Turns images, RGB in [-1, 1], into soft tokens, (N, T, D)."""
        ...


def image_batch(model: ImageEncoder) -> int:
    """Chooses how many images are encoded at a time: as many as 512 MiB of activations allow, at most 8."""
    one = encode_bytes(model.config, images=1, itemsize=model.dtype.itemsize)
    return max(1, min(8, _BATCH_BYTES // one)) if one else 1


def release_tower(model: ImageEncoder) -> None:
    """Gives back the memory of a large tower that is mapped from a file, once images are encoded.

    The decoder, which comes next, has it instead; the next images find the tower in the system's cache.
    """
    if isinstance(model, Osler) and model.vision_tower is not None:
        tower = model.vision_tower
        stored = [layer.weight.codes for layer in tower.modules() if isinstance(layer, QuantLinear)]
        weights = [*tower.parameters(), *stored]
        if sum(weight.nbytes for weight in weights) >= _LARGE_BYTES:
            release_mapped(weights)


class FeatureStore:
    """Encodes images and remembers their features by the digest of their pixels.

    Threads take turns.

    Args:
        model: With an image tower, in evaluation mode.
        disk: Where features outlive the session, if anywhere.
        kept_bytes: Memory for features; the ones not used for longest go first.
    """

    def __init__(self, model: ImageEncoder, *, disk: StudyCache | None = None, kept_bytes: int = _KEPT_BYTES) -> None:
        self._model = model
        self._disk = disk
        self._kept_bytes = kept_bytes
        self._features_TD: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._turn = threading.RLock()

    @property
    def bytes(self) -> int:
        """Memory that is held."""
        return sum(features_TD.nbytes for features_TD in self._features_TD.values())

    @torch.inference_mode()
    def encode(
        self, pixels: PixelBatches, *, on_progress: Callable[[int, int], None] | None = None
    ) -> torch.Tensor | None:
        """Returns the features of all images, (N, T, D), or ``None`` where there are none.

        Args:
            pixels: The images.
            on_progress: Called with the images done and the images in all.
        """
        if len(pixels) == 0:
            return None
        with self._turn:
            return self._encoded(pixels, on_progress=on_progress)

    def _encoded(self, pixels: PixelBatches, *, on_progress: Callable[[int, int], None] | None) -> torch.Tensor:
        digests = pixels.digests()
        known = self._known(digests)
        missing = [index for index, digest in enumerate(digests) if digest not in known]
        size = image_batch(self._model)
        for start in range(0, len(missing), size):
            chosen = missing[start : start + size]
            batch = PixelBatches(rgb=pixels.rgb[chosen], preprocess=pixels.preprocess).array()
            pixels_N3SS = torch.from_numpy(batch).to(device=self._model.device, dtype=self._model.dtype)
            for index, features_TD in zip(chosen, self._model.encode_images(pixels_N3SS), strict=True):
                known[digests[index]] = features_TD.clone()
                if self._disk is not None:
                    self._disk.put("features", content=digests[index], tensors={"features": features_TD})
            if on_progress is not None:
                on_progress(len(pixels) - len(missing) + start + len(chosen), len(pixels))
        if missing:
            release_tower(self._model)
        self._keep(known)
        return torch.stack([known[digest] for digest in digests])

    def clear(self) -> None:
        """Forgets everything."""
        with self._turn:
            self._features_TD.clear()

    def _known(self, digests: Sequence[str]) -> dict[str, torch.Tensor]:
        """Features that need not be computed."""
        known: dict[str, torch.Tensor] = {}
        for digest in digests:
            if digest in known:
                continue
            if digest in self._features_TD:
                known[digest] = self._features_TD[digest]
            elif self._disk is not None and (kept := self._disk.get("features", content=digest)) is not None:
                known[digest] = kept["features"].to(self._model.device)
        return known

    def _keep(self, known: dict[str, torch.Tensor]) -> None:
        for digest, features_TD in known.items():
            self._features_TD[digest] = features_TD
            self._features_TD.move_to_end(digest)
        held = self.bytes
        while held > self._kept_bytes and self._features_TD:
            _, dropped = self._features_TD.popitem(last=False)
            held -= dropped.nbytes
