"""Volumes to draw training slices from: sections in three planes, windows, projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from osler.errors import DataError
from osler.prepare.windows import ct_to_rgb, range_to_rgb
from osler.readers import open_study
from osler.study import Volume, Window
from osler.train.pictures import Labels, Picture, Plane, Region, gray_to_rgb
from osler.train.pictures import Sequence as MrSequence

GRAY_WINDOWS = tuple(
    Window(low=low, high=high)
    for low, high in (
        (-1024, 1024),
        (-135, 215),
        (-1350, 150),
        (-160, 240),
        (-20, 100),
        (-500, 1300),
        (-50, 150),
    )
)
"""Windows (HU) in which CT is shown in gray, as other software does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Axial slices of one region.

    Args:
        first: Lowest slice (feet end). last: Highest slice, included.
        region: What they show.
    """

    first: int
    last: int
    region: Region


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainVolume:
    """A volume turned to LPS: ``array[slice, row, column]`` runs to the head, the back, the left.

    Args:
        source: Name of the set. patient: Key within it.
        array: HU for CT, arbitrary for MR.
        spacing: mm between slices, rows, columns.
        modality: ``"ct"`` or ``"mr"``.
        region: What the whole volume is called.
        spans: Regions along the body; slices in no span are not drawn alone.
        sequence: Of MR. detail: See `Labels`.
        planes: That may be drawn; axial alone where slices are too few or too thick to be cut across.
        range: Least and greatest value, which MR is scaled by (`with_range`).
    """

    source: str
    patient: str
    array: np.ndarray
    spacing: tuple[float, float, float]
    modality: str
    region: Region
    spans: tuple[Span, ...]
    sequence: MrSequence = "none"
    detail: str = ""
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    range: tuple[float, float] = field(default=(0.0, 0.0))

    def labels(self, *, plane: Plane, region: Region | None = None) -> Labels:
        """The labels of a section."""
        return Labels(
            modality="ct" if self.modality == "ct" else "mr",
            region=region or self.region,
            plane=plane,
            sequence=self.sequence,
            detail=self.detail,
        )


def read_lps(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Reads the longest volume of a file or folder, turned to LPS (slice, row, column), float32.

    Axes are matched to the patient's, nearest first; nothing is resampled.

    Returns:
        The voxels, and the mm between slices, rows and columns.

    Raises:
        DataError: If there is no volume, or a file is damaged.
    """
    series = [s for point in open_study(path).timepoints for s in point.series if isinstance(s, Volume)]
    if not series:
        raise DataError(f"{str(path)!r} holds no volume.", allowed="A NIfTI or MGH file, or a DICOM series.")
    volume = max(series, key=lambda s: s.pixels.shape[0])
    # Letters stand for column, row and slice; the array is (slice, row, column).
    letters = volume.affine.orientation[::-1]
    axes = [next(i for i, letter in enumerate(letters) if letter in pair) for pair in ("SI", "PA", "LR")]
    array = volume.read().astype(np.float32).transpose(axes)
    flips = tuple(slice(None, None, -1 if letters[axis] in "IAR" else 1) for axis in axes)
    spacing = volume.affine.spacing[::-1]
    return np.ascontiguousarray(array[flips]), (spacing[axes[0]], spacing[axes[1]], spacing[axes[2]])


def section(volume: TrainVolume, *, plane: Plane, index: int) -> np.ndarray:
    """Cuts a plane, float32 (row, column), resampled to square pixels, head and front up."""
    z, y, x = volume.spacing
    if plane == "axial":
        cut, tall, wide = volume.array[index], y, x
    elif plane == "coronal":
        cut, tall, wide = volume.array[::-1, index], z, x
    else:
        cut, tall, wide = volume.array[::-1, :, index], z, y
    unit = min(tall, wide)
    size = (max(1, round(cut.shape[1] * wide / unit)), max(1, round(cut.shape[0] * tall / unit)))
    image = Image.fromarray(np.ascontiguousarray(cut, dtype=np.float32))
    return np.asarray(image if size == image.size else image.resize(size, Image.BILINEAR))


def show(cut: np.ndarray, *, volume: TrainVolume, windows: Sequence[Window], rng: np.random.Generator) -> np.ndarray:
    """Shows a section as the contract does, or in one gray window; uint8 (row, column, 3).

    Args:
        windows: The contract's, for CT; gray ones vary around them.
    """
    if volume.modality == "mr":
        low, high = volume.range
        if rng.random() < 0.4:
            high = low + (high - low) * rng.uniform(0.5, 1.0)
        return range_to_rgb(cut, low=low, high=high)
    if rng.random() < 0.5:
        return ct_to_rgb(cut, windows=windows)
    window = GRAY_WINDOWS[int(rng.integers(len(GRAY_WINDOWS)))]
    return range_to_rgb(cut, low=window.low, high=window.high)


def draw_section(volume: TrainVolume, *, windows: Sequence[Window], rng: np.random.Generator) -> Picture:
    """Draws one labeled section at random; ``windows`` are the contract's."""
    plane = str(rng.choice(volume.planes, p=_plane_weights(volume)))
    if plane == "axial":
        sizes = np.array([span.last - span.first + 1 for span in volume.spans], dtype=float)
        span = volume.spans[int(rng.choice(len(sizes), p=sizes / sizes.sum()))]
        index, region = int(rng.integers(span.first, span.last + 1)), span.region
    else:
        extent = volume.array.shape[1 if plane == "coronal" else 2]
        index, region = int(rng.integers(int(extent * 0.25), int(extent * 0.75))), volume.region
    pixels = show(section(volume, plane=plane, index=index), volume=volume, windows=windows, rng=rng)
    return Picture(
        pixels=pixels, labels=volume.labels(plane=plane, region=region), source=volume.source, patient=volume.patient
    )


def _plane_weights(volume: TrainVolume) -> np.ndarray:
    weights = np.array([0.5 if plane == "axial" else 0.25 for plane in volume.planes])
    return weights / weights.sum()


def draw_projection(volume: TrainVolume, *, rng: np.random.Generator) -> Picture:
    """Casts a CT into an X-ray picture, frontal or lateral, by parallel rays."""
    density = np.clip(volume.array + 1000, 0, 2600) / 1000
    low, high = 0, len(density)
    region = volume.region
    if len(volume.spans) > 1 and rng.random() < 0.5:
        span = max(volume.spans, key=lambda s: s.last - s.first)
        low, high, region = span.first, span.last + 1, span.region
    axis, plane = (1, "frontal") if rng.random() < 0.4 else (2, "lateral")
    z, y, x = volume.spacing
    density = density[low:high]
    if rng.random() < 0.7:
        bone = rng.uniform(0.3, 2.0)
        density = density + bone * np.clip(density - 1.15, 0, None)
    path = density.sum(axis=axis)[::-1] * (y if axis == 1 else x) * 0.02
    wide = x if axis == 1 else y
    shade = 1 - np.exp(-path * rng.uniform(0.3, 0.9))
    low_value, high_value = np.percentile(shade, [1, 99.7])
    gray = np.clip((shade - low_value) / max(high_value - low_value, 1e-6), 0, 1) ** rng.uniform(0.8, 2.2) * 255
    if axis == 2 and rng.random() < 0.5:
        gray = gray[:, ::-1]
    unit = min(z, wide)
    size = (round(gray.shape[1] * wide / unit), round(gray.shape[0] * z / unit))
    image = Image.fromarray(np.ascontiguousarray(gray, dtype=np.float32)).resize(size, Image.BILINEAR)
    labels = Labels(modality="xray", region=region, plane=plane)
    return Picture(
        pixels=gray_to_rgb(np.asarray(image)),
        labels=labels,
        source=f"{volume.source}-projected",
        patient=volume.patient,
    )


def with_range(volume: TrainVolume) -> TrainVolume:
    """Fills in the least and greatest value, which MR is scaled by."""
    return replace(volume, range=(float(volume.array.min()), float(volume.array.max())))
