"""Volumes as the prompt shows them: many slices with one and the same change on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from osler.errors import CheckpointError
from osler.study import Window
from osler.train.augment import AugmentConfig, augment
from osler.train.cache_key import KEY_FILE, cache_key, has_key, set_key
from osler.train.checkpoints import save_json
from osler.train.picture_book import RENDERING, PictureBook, open_rendered, to_square
from osler.train.pictures import Labels, Picture, Plane
from osler.train.volumes import TrainVolume, section, show


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Rows of consecutive slices among all rendered slices, and what they show."""

    first: int
    count: int
    labels: Labels


def plan_stacks(book: PictureBook, *, seed: int, hippocampi: int, slices: int) -> list[tuple[TrainVolume, Plane, int]]:
    """Lists which volume is cut in which plane into how many slices; rare kinds are cut more often."""
    rng = np.random.default_rng(seed)
    plans: list[tuple[TrainVolume, Plane, int]] = []
    small = list(book.volumes.get("hippocampus", ()))
    for index in rng.permutation(len(small))[:hippocampi]:
        plane = str(rng.choice(["axial", "axial", "coronal", "sagittal"]))
        plans.append((small[int(index)], plane, max(6, slices // 2)))
    for kind, times in (("brain", 4), ("mr_torso", 5), ("ct", 8)):
        for volume in book.volumes.get(kind, ()):
            for turn in range(times):
                plane = "axial" if turn % 2 == 0 or len(volume.planes) == 1 else str(rng.choice(volume.planes))
                plans.append((volume, plane, slices * 2 if turn < 2 else slices))
    return plans


def render_stacks(
    folder: Path, *, book: PictureBook, size: int, config: AugmentConfig, seed: int, hippocampi: int, slices: int
) -> tuple[np.ndarray, tuple[Stack, ...]]:
    """Renders all planned stacks, or reads those that were rendered with the same settings.

    Returns:
        Pixels uint8 (N, S, S, 3), and the stacks among them.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    key = cache_key(
        rendering=RENDERING,
        book=book.contents(),
        size=size,
        config=config,
        seed=seed,
        plan=[hippocampi, slices],
    )
    if not has_key(folder, key=key):
        rows, pixels = [], []
        for number, plan in enumerate(plan_stacks(book, seed=seed, hippocampi=hippocampi, slices=slices)):
            shown, row = _render(*plan, size=size, config=config, windows=book.windows, seed=[seed, number])
            pixels.extend(shown)
            rows.extend([{**row, "stack": number}] * len(shown))
        _keep(folder, pixels=np.stack(pixels), rows=rows, key=key)
    rendered = open_rendered(folder)
    patients = rendered.patients
    starts = [i for i in range(len(patients)) if i == 0 or patients[i] != patients[i - 1]]
    ends = [*starts[1:], len(patients)]
    stacks = tuple(Stack(first=a, count=b - a, labels=rendered.labels[a]) for a, b in zip(starts, ends, strict=True))
    return rendered.pixels, stacks


def _keep(folder: Path, *, pixels: np.ndarray, rows: list[dict[str, object]], key: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / KEY_FILE).unlink(missing_ok=True)
        np.save(folder / "pixels.npy", pixels)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write into {str(folder)!r}: {error}.", next_step="Choose a folder with room that you can write to."
        ) from error
    save_json(folder / "pictures.json", rows)
    set_key(folder, key=key)


def _render(
    volume: TrainVolume,
    plane: Plane,
    count: int,
    *,
    size: int,
    config: AugmentConfig,
    windows: Sequence[Window],
    seed: list[int],
) -> tuple[list[np.ndarray], dict[str, object]]:
    rng = np.random.default_rng(seed)
    if plane == "axial":
        spans = volume.spans
        low, high = min(s.first for s in spans), max(s.last for s in spans)
        if volume.source in ("lidc", "lung-petct"):
            chest = next(s for s in spans if s.region == "chest")
            low, high = (low, high) if rng.random() < 0.5 else (chest.first, chest.last)
    else:
        extent = volume.array.shape[1 if plane == "coronal" else 2]
        low, high = int(extent * 0.2), int(extent * 0.8)
    indices = np.unique(np.linspace(low, high, min(count, high - low + 1)).round().astype(int))
    if rng.random() < 0.3:
        indices = indices[::-1]
    labels = volume.labels(plane=plane)
    picture_seed = int(rng.integers(2**31))
    out = []
    for index in indices:
        # The same seed for every slice: one window, one shift, one mirror for the whole stack.
        same = np.random.default_rng(picture_seed)
        pixels = show(section(volume, plane=plane, index=int(index)), volume=volume, windows=windows, rng=same)
        picture = Picture(pixels=pixels, labels=labels, source=volume.source, patient=volume.patient)
        out.append(to_square(augment(picture, config=config, rng=same), size=size))
    key = f"{volume.patient}-{seed[-1]}"
    return out, {"labels": asdict(labels), "source": volume.source, "patient": key}
