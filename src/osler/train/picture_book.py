"""Draws pictures from all sources by share, and renders them once into a cache.

Rendering is done before training, on all cores; a training step then only
reads memory.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from osler.errors import CheckpointError, DataError, RequestError
from osler.prepare import Preprocess
from osler.prepare.contract import Aspect
from osler.prepare.resize import fit, pixel_map
from osler.study import Window
from osler.train import sources, synthetic_pictures
from osler.train.augment import AugmentConfig, augment
from osler.train.cache_key import KEY_FILE, cache_key, has_key, set_key
from osler.train.checkpoints import save_json
from osler.train.pictures import Labels, Picture, split_of
from osler.train.volumes import TrainVolume, draw_projection, draw_section

GENERATED = "generated"
RENDERING = 2
"""Raised when drawing or augmentation changes, so that kept pictures are drawn again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How often each kind of picture is drawn; they are scaled to sum to one."""

    xray: float = 0.42
    vqa_sections: float = 0.12
    hippocampus: float = 0.09
    brain: float = 0.09
    mr_torso: float = 0.02
    ct: float = 0.12
    projection: float = 0.02
    slide: float = 0.035
    tissue: float = 0.035
    head_ct: float = 0.02
    pydicom: float = 0.01
    blank: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """Files of other packages that training may use; empty for none, and skipped where absent.

    Args:
        colin27: ``ch2.nii.gz`` of Debian's ``mricron-data``: a T1 head.
        cranium: ``Cranium.inv3`` of Debian's ``invesalius-examples``: a head CT.
    """

    colin27: str = ""
    cranium: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureBook:
    """All training pictures of one split's worth of patients; ``windows`` are the contract's for CT."""

    files: tuple[sources.PictureFile, ...]
    volumes: dict[str, tuple[TrainVolume, ...]]
    tiles: tuple[Picture, ...]
    windows: tuple[Window, ...]
    shares: Shares = field(default_factory=Shares)

    def draw(self, rng: np.random.Generator) -> Picture:
        """Draws a picture; kinds of which nothing is there are skipped."""
        makers = {kind: share for kind, share in asdict(self.shares).items() if share > 0 and self._has(kind)}
        weights = np.array(list(makers.values()))
        return self._make(str(rng.choice(list(makers), p=weights / weights.sum())), rng)

    def contents(self) -> list[object]:
        """What the book holds, for the key of what is drawn from it."""
        volumes = [(kind, v.source, v.patient, v.array.shape) for kind, vs in self.volumes.items() for v in vs]
        files = [(f.source, f.patient, f.path.name, asdict(f.labels)) for f in self.files]
        return [files, volumes, len(self.tiles), asdict(self.shares), [asdict(window) for window in self.windows]]

    def _has(self, kind: str) -> bool:
        if kind in ("tissue", "head_ct", "pydicom", "blank"):
            return True
        if kind in ("xray", "vqa_sections"):
            return bool(self._files(kind))
        return bool(self.tiles) if kind == "slide" else bool(self.volumes.get("ct" if kind == "projection" else kind))

    def _files(self, kind: str) -> list[sources.PictureFile]:
        return [entry for entry in self.files if (entry.labels.modality == "xray") == (kind == "xray")]

    def _make(self, kind: str, rng: np.random.Generator) -> Picture:
        if kind in ("xray", "vqa_sections"):
            entries = self._files(kind)
            return entries[int(rng.integers(len(entries)))].read()
        if kind == "slide":
            return self.tiles[int(rng.integers(len(self.tiles)))]
        if kind in ("tissue", "head_ct"):
            return getattr(synthetic_pictures, kind)(rng)
        if kind == "pydicom":
            return sources.pydicom_files(rng)
        if kind == "blank":
            return sources.blank_pictures(rng)
        volumes = self.volumes["ct" if kind == "projection" else kind]
        volume = volumes[int(rng.integers(len(volumes)))]
        return (
            draw_projection(volume, rng=rng)
            if kind == "projection"
            else draw_section(volume, windows=self.windows, rng=rng)
        )


def open_book(
    root: Path, *, split: str, preprocess: Preprocess, shares: Shares | None = None, extras: Extras | None = None
) -> PictureBook:
    """Reads every source and keeps one split.

    Args:
        preprocess: The contract, whose windows CT is shown in.

    Raises:
        RequestError: If the folder holds none of the sets.
    """
    if str(root) == GENERATED:
        return PictureBook(files=(), volumes={}, tiles=(), windows=preprocess.ct_windows, shares=shares or Shares())
    if not (root / "cxr").is_dir():
        raise RequestError(
            f"No training data at {root}.",
            allowed="A folder with cxr/, ct/, mr/, vqa-rad/ and slides/, as the model card lists them.",
            next_step="Set `data` in the recipe, or pass another folder.",
        )
    extras = extras or Extras()
    kinds = {
        "hippocampus": tuple(sources.hippocampi(root)),
        "brain": (*sources.brains(root), *sources.colin27(extras.colin27)),
        "mr_torso": tuple(sources.mr_torso(root)),
        "ct": (*sources.ct_volumes(root), *sources.cranium(extras.cranium)),
    }
    return PictureBook(
        files=tuple(f for f in sources.picture_files(root) if split_of(f.source, patient=f.patient) == split),
        volumes={
            kind: tuple(v for v in volumes if split_of(v.source, patient=v.patient) == split)
            for kind, volumes in kinds.items()
        },
        tiles=tuple(t for t in sources.slide_tiles(root) if split_of(t.source, patient=t.patient) == split),
        windows=preprocess.ct_windows,
        shares=shares or Shares(),
    )


def to_square(pixels: np.ndarray, *, size: int, aspect: Aspect = "stretch") -> np.ndarray:
    """Resizes to the model's square as the contract does, uint8."""
    height, width = pixels.shape[:2]
    return fit(pixels, plan=pixel_map(width=width, height=height, image_size=size, aspect=aspect))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedPictures:
    """Rendered pictures, memory-mapped: pixels uint8 (N, S, S, 3), and what each shows."""

    pixels: np.ndarray
    labels: tuple[Labels, ...]
    sources: tuple[str, ...]
    patients: tuple[str, ...]

    def named(self) -> Iterator[tuple[Labels, str]]:
        """Labels and source of each picture."""
        return zip(self.labels, self.sources, strict=True)


def render(
    folder: Path, *, book: PictureBook, count: int, size: int, config: AugmentConfig, seed: int, workers: int
) -> RenderedPictures:
    """Draws and augments ``count`` pictures into ``folder``, in parallel.

    What lies there is used if it was drawn from the same book with the same settings, and drawn anew
    if not.

    Raises:
        DataError: If a worker fails.
        CheckpointError: If the folder cannot be written.
    """
    key = cache_key(rendering=RENDERING, book=book.contents(), count=count, size=size, config=config, seed=seed)
    if not has_key(folder, key=key):
        try:
            _render_all(folder, book=book, count=count, size=size, config=config, seed=seed, workers=workers)
        except OSError as error:
            raise CheckpointError(
                f"Cannot render into {str(folder)!r}: {error}.",
                next_step=f"Choose another `out`; {count * size * size * 3 / 1e9:.1f} GB are needed.",
            ) from error
        set_key(folder, key=key)
    return open_rendered(folder)


def _render_all(
    folder: Path, *, book: PictureBook, count: int, size: int, config: AugmentConfig, seed: int, workers: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / KEY_FILE).unlink(missing_ok=True)
    shape = (count, size, size, 3)
    np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
    context = multiprocessing.get_context("fork")
    # Forked workers inherit the book; a pool would pickle its volumes.
    crew = [
        context.Process(
            target=_render_chunk,
            kwargs={
                "folder": folder,
                "indices": range(start, count, workers),
                "book": book,
                "size": size,
                "config": config,
                "seed": seed,
            },
        )
        for start in range(workers)
    ]
    for worker in crew:
        worker.start()
    for worker in crew:
        worker.join()
    if any(worker.exitcode != 0 for worker in crew):
        raise DataError(
            f"Rendering pictures into {str(folder)!r} failed.", next_step="See the message of the worker above."
        )
    rows: list[object] = [None] * count
    for start in range(workers):
        part = folder / f"rows-{start}.json"
        rows[start::workers] = json.loads(part.read_text(encoding="utf-8"))
        part.unlink()
    save_json(folder / "pictures.json", rows)


def _render_chunk(
    *, folder: Path, indices: range, book: PictureBook, size: int, config: AugmentConfig, seed: int
) -> None:
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="r+")
    rows: list[dict[str, object]] = []
    for index in indices:
        rng = np.random.default_rng([seed, index])
        picture = book.draw(rng)
        changed = augment(picture, config=config, rng=rng)
        pixels[index] = to_square(changed, size=size, aspect="pad-square" if rng.random() < 0.25 else "stretch")
        rows.append({"labels": asdict(picture.labels), "source": picture.source, "patient": picture.patient})
    (folder / f"rows-{indices.start}.json").write_text(json.dumps(rows), encoding="utf-8")


def open_rendered(folder: Path) -> RenderedPictures:
    """Opens a rendered folder.

    Raises:
        CheckpointError: If it is not there or was left unfinished.
    """
    if not (folder / KEY_FILE).is_file():
        raise CheckpointError(
            f"No rendered pictures at {str(folder)!r}.",
            next_step="Run the stage that renders them first: osler train recipes/mini_vision.toml.",
        )
    rows = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))
    labels = []
    for row in rows:
        values = dict(row["labels"])
        values["findings"] = None if values["findings"] is None else tuple(values["findings"])
        labels.append(Labels(**values))
    return RenderedPictures(
        pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        labels=tuple(labels),
        sources=tuple(row["source"] for row in rows),
        patients=tuple(row["patient"] for row in rows),
    )
