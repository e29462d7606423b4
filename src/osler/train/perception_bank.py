"""Features of the frozen part of the tower, computed once for several augmented views of each picture.

The heads' trunk reads what the tower's first layers make of a picture. Those
layers do not learn, so each view passes them once, and an update costs the
trunk and the heads only.

Dimensions: R rows (pictures and slices), P patches, V width of the tower, S
slices of a volume.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from osler.errors import DataError
from osler.model.config import VisionConfig
from osler.model.vision import PatchEmbedding
from osler.prepare import Preprocess
from osler.prepare.pixels import PixelBatches
from osler.train.cache_key import KEY_FILE, cache_key, has_key, set_key
from osler.train.labeled_volumes import LabeledVolume, cut_volume
from osler.train.labeled_xrays import LabeledXray, shown

Edges = tuple[float, ...]


class Encoder(Protocol):
    """A tower, or what takes its place."""

    config: VisionConfig
    embeddings: PatchEmbedding

    def forward_to(self, pixels_BCSS: Tensor, *, layers: int) -> Tensor:
        """Features (B, P, V) of images after its first layers."""
        ...


_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One augmented view of a picture or volume.

    Args:
        row: First row of its features; a volume has one a slice.
        boxes: Label to edges in 0 to 1; ``None`` where nobody drew any.
        depth: Center of each slice, 0 to 1; empty for a picture.
    """

    row: int
    boxes: dict[str, Edges] | None
    depth: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureBank:
    """Rows of features, mapped from disk, and the views of each item.

    Args:
        rows: (R, P, V) bfloat16, as uint16.
        views: Of each item, in the order of the items.
    """

    rows: np.ndarray
    views: tuple[tuple[View, ...], ...]

    def features(self, numbers: Sequence[int]) -> Tensor:
        """Returns rows, (n, P, V) bfloat16."""
        return torch.from_numpy(self.rows[list(numbers)]).view(torch.bfloat16)


def fill_bank(
    folder: Path,
    *,
    items: Sequence[LabeledXray] | Sequence[LabeledVolume],
    views: int,
    tower: Encoder,
    layers: int,
    preprocess: Preprocess,
    slices: int,
    key: str,
    seed: int,
    workers: int,
) -> FeatureBank:
    """Computes the views of all items, or opens what lies there under the same key.

    Args:
        views: Of each item; the first is not augmented.
        layers: Of the tower that are frozen.
        slices: Of a volume.
        key: Of the items and the tower.

    Raises:
        DataError: If a worker fails.
    """
    whole = cache_key(key=key, views=views, layers=layers, slices=slices, seed=seed, count=len(items))
    each = slices if items and isinstance(items[0], LabeledVolume) else 1
    if not has_key(folder, key=whole):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / KEY_FILE).unlink(missing_ok=True)
        shape = (len(items) * views * each, tower.config.side**2, tower.config.width)
        np.lib.format.open_memmap(folder / "rows.npy", mode="w+", dtype=np.uint16, shape=shape)
        context = multiprocessing.get_context("fork")
        # Forked workers inherit items and tower; one thread each, or they would wait for each other.
        crew = [
            context.Process(
                target=_fill,
                kwargs={
                    "folder": folder, "items": items, "views": views, "each": each, "tower": tower,
                    "layers": layers, "preprocess": preprocess, "seed": seed, "part": part, "parts": workers,
                },
            )
            for part in range(workers)
        ]  # fmt: skip
        for worker in crew:
            worker.start()
        for worker in crew:
            worker.join()
        if any(worker.exitcode != 0 for worker in crew):
            raise DataError(f"Encoding into {str(folder)!r} failed.", next_step="See the message above.")
        set_key(folder, key=whole)
    found: dict[int, tuple[View, ...]] = {}
    for part in range(workers):
        path = folder / f"views-{part}.json"
        if path.is_file():
            for number, stored in json.loads(path.read_text(encoding="utf-8")).items():
                found[int(number)] = tuple(_view(one) for one in stored)
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    return FeatureBank(rows=rows, views=tuple(found[number] for number in range(len(items))))


def _view(stored: dict[str, object]) -> View:
    boxes = stored["boxes"]
    return View(
        row=int(stored["row"]),  # type: ignore[call-overload]
        boxes=None if boxes is None else {label: tuple(edges) for label, edges in boxes.items()},  # type: ignore[attr-defined]
        depth=tuple(stored["depth"]),  # type: ignore[arg-type]
    )


@torch.no_grad()
def _fill(
    *,
    folder: Path,
    items: Sequence[LabeledXray] | Sequence[LabeledVolume],
    views: int,
    each: int,
    tower: Encoder,
    layers: int,
    preprocess: Preprocess,
    seed: int,
    part: int,
    parts: int,
) -> None:
    torch.set_num_threads(1)
    rows = np.lib.format.open_memmap(folder / "rows.npy", mode="r+")
    stored: dict[int, list[dict[str, object]]] = {}
    waiting: list[tuple[int, np.ndarray]] = []

    def flush() -> None:
        if not waiting:
            return
        pixels = np.concatenate([rgb for _, rgb in waiting])
        array = PixelBatches(rgb=pixels, preprocess=preprocess).array()
        dtype = tower.embeddings.patch_embedding.weight.dtype
        features = tower.forward_to(torch.from_numpy(array).to(dtype), layers=layers).to(torch.bfloat16)
        plain, place = features.contiguous().view(torch.uint16).numpy(), 0
        for start, rgb in waiting:
            rows[start : start + len(rgb)] = plain[place : place + len(rgb)]
            place += len(rgb)
        waiting.clear()

    for number in range(part, len(items), parts):
        item, stored[number] = items[number], []
        for version in range(views):
            rng = np.random.default_rng([seed, number, version]) if version else None
            start = (number * views + version) * each
            if isinstance(item, LabeledVolume):
                rgb, depth, boxes = cut_volume(item, slices=each, rng=rng)
                stored[number].append({"row": start, "boxes": boxes, "depth": [float(d) for d in depth]})
            else:
                picture, boxes = shown(item, size=preprocess.image_size, rng=rng)
                rgb = picture[None]
                stored[number].append({"row": start, "boxes": boxes, "depth": []})
            waiting.append((start, rgb))
            if sum(len(rgb) for _, rgb in waiting) >= _AT_ONCE:
                flush()
    flush()
    (folder / f"views-{part}.json").write_text(json.dumps(stored), encoding="utf-8")
