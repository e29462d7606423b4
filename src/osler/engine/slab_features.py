"""Features of volumes that are read as slabs: the tower's work is kept by slab, whatever the budget of tokens.

Legend: S slabs, d slices of a slab, T cells of a slab or soft tokens of an image, V width of the tower, M tokens
of all volumes and images, D width of the decoder.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from osler.engine.features import FeatureStore, image_batch, release_tower
from osler.prepare import PixelBatches, SlabbedVolume

OnSlabs = Callable[[int, int], None]


class Shown(Protocol):
    """Prepared images, some of which belong to volumes: `PreparedImages` or `ModelInputs`."""

    @property
    def pixels(self) -> PixelBatches:
        """All images."""
        ...

    @property
    def volumes(self) -> Mapping[int, SlabbedVolume]:
        """Volumes that are read as slabs, by the number of their first image."""
        ...


def token_starts(shown: Shown, *, image_tokens: int) -> dict[int, int]:
    """Where the soft tokens of each image begin that belongs to no volume, and those of each volume, by first image.

    Args:
        shown: Prepared images. image_tokens: Soft tokens of an image.
    """
    starts: dict[int, int] = {}
    number = token = 0
    while number < len(shown.pixels):
        starts[number] = token
        plan = shown.volumes.get(number)
        token += image_tokens if plan is None else plan.grid.tokens
        number += 1 if plan is None else len(plan.picks)
    return starts


def outside_volumes(shown: Shown) -> list[int]:
    """Numbers of the images that belong to no volume that is read as slabs."""
    inside = {start + k for start, plan in shown.volumes.items() for k in range(len(plan.picks))}
    return [number for number in range(len(shown.pixels)) if number not in inside]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlabPlaces:
    """Where the slabs of volumes lie, as `Osler.project_slabs` takes it.

    Args:
        positions_mm_ST3: Patient position of the center of each cell, mm.
        series_S: Number of the volume of each slab.
        grids: Tokens of each volume along slabs, rows and columns.
    """

    positions_mm_ST3: torch.Tensor
    series_S: torch.Tensor
    grids: tuple[tuple[int, int, int], ...]


def slab_places(plans: Sequence[SlabbedVolume], *, side: int) -> SlabPlaces:
    """Places the slabs of volumes; ``side`` is that of the square of cells before merging."""
    return SlabPlaces(
        positions_mm_ST3=torch.from_numpy(np.concatenate([plan.positions_mm(side=side) for plan in plans])),
        series_S=torch.arange(len(plans)).repeat_interleave(torch.tensor([len(plan.slabs) for plan in plans])),
        grids=tuple((plan.grid.groups, plan.grid.rows, plan.grid.columns) for plan in plans),
    )


class SlabStore(FeatureStore):
    """Encodes slabs, and remembers their cells by the digests of their slices; see `FeatureStore`."""

    @torch.inference_mode()
    def encode_shown(
        self, shown: Shown, *, images: FeatureStore, on_progress: OnSlabs | None = None
    ) -> torch.Tensor | None:
        """Returns the soft tokens of a prompt.

        Args:
            shown: Prepared images.
            images: Encodes those that belong to no volume.
            on_progress: Called with the slabs (or images) done and those in all.

        Returns:
            (N, T, D) where there are images only; (M, 1, D), in the order of the prompt, where there are
            volumes, as their groups differ in size; ``None`` where there is nothing.
        """
        if not shown.volumes:
            return images.encode(shown.pixels, on_progress=on_progress)
        alone = outside_volumes(shown)
        features_NTD = images.encode(_some(shown.pixels, alone))
        tokens = self._volume_tokens(shown, on_progress=on_progress)
        if features_NTD is not None:
            tokens |= dict(zip(alone, features_NTD, strict=True))
        return torch.cat([tokens[number] for number in sorted(tokens)])[:, None]

    @torch.inference_mode()
    def cells(self, shown: Shown, *, on_progress: OnSlabs | None = None) -> torch.Tensor:
        """Returns the features of the cells of all slabs, volume by volume, (S, T, V), before mixing and merging.

        Args:
            shown: Prepared images with volumes.
            on_progress: See `encode_shown`.
        """
        slots_Sd = np.concatenate([start + plan.slots for start, plan in shown.volumes.items()])
        with self._turn:
            return self._cells(shown.pixels, slots_Sd=slots_Sd, on_progress=on_progress)

    def _volume_tokens(self, shown: Shown, *, on_progress: OnSlabs | None) -> dict[int, torch.Tensor]:
        """Tokens of each volume, (M, D), by the number of its first image."""
        side = math.isqrt(self._model.config.image_tokens)
        cells_STV = self.cells(shown, on_progress=on_progress)
        plans = list(shown.volumes.values())
        places = slab_places(plans, side=side)
        tokens_MD = self._model.project_slabs(
            cells_STV,
            positions_mm_ST3=places.positions_mm_ST3.to(cells_STV.device),
            series_S=places.series_S.to(cells_STV.device),
            grids=places.grids,
        )
        return dict(zip(shown.volumes, tokens_MD.split([plan.grid.tokens for plan in plans]), strict=True))

    def _cells(self, pixels: PixelBatches, *, slots_Sd: np.ndarray, on_progress: OnSlabs | None) -> torch.Tensor:
        """Features of the cells of each slab, (S, T, V)."""
        of_slices = pixels.digests()
        digests = [_slab_digest([of_slices[slot] for slot in slots_d]) for slots_d in slots_Sd]
        known = self._known(digests)
        missing = [index for index, digest in enumerate(digests) if digest not in known]
        size = image_batch(self._model)
        device = self._model.device
        for start in range(0, len(missing), size):
            chosen = missing[start : start + size]
            slices = _some(pixels, slots_Sd[chosen].reshape(-1).tolist()).array()
            tubelets_XdCSS = torch.from_numpy(slices).unflatten(0, (len(chosen), -1)).to(device)
            for index, cells_TV in zip(chosen, self._model.encode_slabs(tubelets_XdCSS), strict=True):
                known[digests[index]] = cells_TV.clone()
                if self._disk is not None:
                    self._disk.put("features", content=digests[index], tensors={"features": cells_TV})
            if on_progress is not None:
                on_progress(len(digests) - len(missing) + start + len(chosen), len(digests))
        if missing:
            release_tower(self._model)
        self._keep(known)
        return torch.stack([known[digest] for digest in digests])


def _some(pixels: PixelBatches, numbers: Sequence[int]) -> PixelBatches:
    return PixelBatches(rgb=pixels.rgb[list(numbers)], preprocess=pixels.preprocess)


def _slab_digest(slices: Sequence[str]) -> str:
    """Tells a slab from another, and from an image of the same pixels."""
    return f"slab-{hashlib.sha256(' '.join(slices).encode()).hexdigest()}"
