"""What parts that learn read of a study: kept as the frozen layers leave it, taken up again at each update.

The volumetric projection and the adapter come after the frozen tower, so their input is computed
once for a scan: cells of slabs, and features of images outside of volumes. Tubelets come before the
tower: where they learn, pixels are kept, and each update goes through the tower and back.

Dimensions: B samples, M soft tokens or features, S slabs, d slices of a slab, T cells of a slab, N images, V width of
the tower, D width of the decoder, K volumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from osler.engine.slab_features import SlabPlaces
from osler.model.adapter import AdapterMemory
from osler.model.osler import Osler
from osler.prepare import PixelBatches, Preprocess

_PREFIX = "reading."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What parts read of one sample.

    Args:
        images_MV: Features of images outside of volumes, for the adapter; ``None`` without.
        cells_STV: Of all slabs, where the tubelets are frozen.
        slices_NSS3: 8-bit pixels, where they learn. slots_Sd: The slice in each place of each slab.
        places: Where the slabs lie; ``None`` without volumes.
        rows_M: The sample's soft tokens that the volumetric path makes; ``None`` where it does not learn.
    """

    images_MV: Tensor | None = None
    cells_STV: Tensor | None = None
    slices_NSS3: Tensor | None = None
    slots_Sd: Tensor | None = None
    places: SlabPlaces | None = None
    rows_M: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """As it is kept in a file."""
        named = {
            "images": self.images_MV,
            "cells": self.cells_STV,
            "slices": self.slices_NSS3,
            "slots": self.slots_Sd,
            "rows": self.rows_M,
        }
        if self.places is not None:
            named |= {
                "positions": self.places.positions_mm_ST3,
                "series": self.places.series_S,
                "grids": torch.tensor(self.places.grids),
            }
        return {f"{_PREFIX}{name}": value.contiguous().cpu() for name, value in named.items() if value is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Reading | None:
        """Reads what `tensors` gave; ``None`` where a file has nothing of it."""
        found = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
        if not found:
            return None
        places = None
        if "positions" in found:
            grids = tuple((int(g), int(r), int(c)) for g, r, c in found["grids"].tolist())
            places = SlabPlaces(positions_mm_ST3=found["positions"], series_S=found["series"], grids=grids)
        return cls(
            images_MV=found.get("images"),
            cells_STV=found.get("cells"),
            slices_NSS3=found.get("slices"),
            slots_Sd=found.get("slots"),
            places=places,
            rows_M=found.get("rows"),
        )


def cells_of(reading: Reading | None, *, model: Osler, preprocess: Preprocess) -> Tensor | None:
    """Features of the cells of a sample's slabs, (S, T, V); with a gradient where the tubelets learn."""
    if reading is None or reading.slots_Sd is None or reading.slices_NSS3 is None:
        return None if reading is None or reading.cells_STV is None else reading.cells_STV.to(model.device)
    rgb = reading.slices_NSS3[reading.slots_Sd.flatten()].numpy()
    pixels = torch.from_numpy(PixelBatches(rgb=rgb, preprocess=preprocess).array()).to(model.device)
    with torch.autocast(model.device.type, enabled=False):  # as inference runs the tower
        return model.encode_slabs(pixels.unflatten(0, tuple(reading.slots_Sd.shape)))


def with_volumes(
    features_M1D: Tensor | None,
    *,
    model: Osler,
    readings: Sequence[Reading | None],
    starts: Sequence[int],
    cells: Sequence[Tensor | None],
) -> Tensor | None:
    """Puts what the volumetric path makes in place of the soft tokens that were kept of volumes.

    Args:
        features_M1D: Soft tokens of all samples.
        readings: Of each sample. starts: Its first soft token. cells: From `cells_of`.
    """
    learns = [number for number, one in enumerate(readings) if one is not None and one.rows_M is not None]
    if not learns or features_M1D is None:
        return features_M1D
    positions, series, grids, rows, some = [], [], [], [], []
    for number in learns:
        reading, cells_STV = readings[number], cells[number]
        assert reading is not None
        assert reading.places is not None
        assert reading.rows_M is not None
        assert cells_STV is not None
        positions.append(reading.places.positions_mm_ST3)
        series.append(reading.places.series_S + len(grids))
        grids += reading.places.grids
        rows.append(reading.rows_M + starts[number])
        some.append(cells_STV)
    tokens_MD = model.project_slabs(
        torch.cat(some),
        positions_mm_ST3=torch.cat(positions).to(model.device),
        series_S=torch.cat(series).to(model.device),
        grids=grids,
    )
    features_MD = features_M1D.flatten(0, 1)
    rows_M = torch.cat(rows).to(features_MD.device)
    return features_MD.index_copy(0, rows_M, tokens_MD.to(features_MD.dtype))[:, None]


def memory_of(
    readings: Sequence[Reading | None], *, model: Osler, cells: Sequence[Tensor | None]
) -> AdapterMemory | None:
    """What the adapter reads of each sample, as one memory; ``None`` without adapter or images."""
    if model.adapter is None or all(reading is None for reading in readings):
        return None
    features: list[list[Tensor]] = []
    for reading, cells_STV in zip(readings, cells, strict=True):
        own = [] if reading is None or reading.images_MV is None else [reading.images_MV.to(model.device)]
        features.append(own + ([] if cells_STV is None else [cells_STV.flatten(0, 1)]))
    some = next((part for parts in features for part in parts), None)
    if some is None:
        return None
    counts = [sum(len(part) for part in parts) for parts in features]
    memory_BMV = torch.stack(
        [
            torch.cat([*parts, some.new_zeros(max(counts) - count, some.shape[-1])])
            for parts, count in zip(features, counts, strict=True)
        ]
    )
    padding_BM = (
        torch.arange(max(counts), device=some.device)[None] >= torch.tensor(counts, device=some.device)[:, None]
    )
    return model.adapter.memory_keys_values(memory_BMV, padding_BM=padding_BM if bool(padding_BM.any()) else None)
