"""Volumes to draw training slices from: sections in three planes, windows, projections."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from pydicom import dcmread

from osler.train.pictures import Labels, Picture, Plane, Region, Sequence, gray_to_rgb

CONTRACT_WINDOWS = ((-1024.0, 1024.0), (-135.0, 215.0), (0.0, 80.0))
GRAY_WINDOWS = (
    *CONTRACT_WINDOWS[:2],
    (-1350.0, 150.0),
    (-160.0, 240.0),
    (-20.0, 100.0),
    (-500.0, 1300.0),
    (-50.0, 150.0),
)


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
        array: HU for CT, arbitrary for MR.
        spacing: mm between slices, rows, columns.
        modality: ``"ct"`` or ``"mr"``.
        spans: Regions along the body; slices in no span are not drawn alone.
        region: What the whole volume is called.
        detail: See `Labels`.
        thick: Reformats are too coarse to draw (few or thick slices).
    """

    source: str
    patient: str
    array: np.ndarray
    spacing: tuple[float, float, float]
    modality: str
    region: Region
    spans: tuple[Span, ...]
    sequence: Sequence = "none"
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


def read_nifti(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Reads a NIfTI or MGZ file as LPS (slice, row, column) float32, with mm between them."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    array = np.asarray(image.dataobj, dtype=np.float32)[::-1, ::-1, :]
    x, y, z = (float(zoom) for zoom in image.header.get_zooms()[:3])
    return np.ascontiguousarray(array.transpose(2, 1, 0)), (z, y, x)


def read_dicom_folder(folder: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Reads one axial series, sorted along its normal, as (slice, row, column) float32."""
    files = [dcmread(path) for path in sorted(folder.rglob("*")) if path.suffix.lower() == ".dcm"]
    row, column = np.array(files[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(row, column)
    heights = [float(normal @ np.array(file.ImagePositionPatient, dtype=float)) for file in files]
    order = np.argsort(heights)
    slices = [
        files[i].pixel_array.astype(np.float32) * float(files[i].get("RescaleSlope", 1))
        + float(files[i].get("RescaleIntercept", 0))
        for i in order
    ]
    step = float(np.median(np.diff(np.sort(heights))))
    rows, columns = (float(v) for v in files[0].PixelSpacing)
    return np.stack(slices), (step, rows, columns)


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


def show(cut: np.ndarray, *, volume: TrainVolume, rng: np.random.Generator) -> np.ndarray:
    """Windows a section as the contract does, or in one gray window; uint8 (row, column, 3)."""
    if volume.modality == "mr":
        low, high = volume.range
        if rng.random() < 0.4:
            high = low + (high - low) * rng.uniform(0.5, 1.0)
        return gray_to_rgb((cut - low) / max(high - low, 1e-6) * 255)
    if rng.random() < 0.5:
        return np.stack([_window(cut, *window) for window in CONTRACT_WINDOWS], axis=-1)
    low, high = GRAY_WINDOWS[int(rng.integers(len(GRAY_WINDOWS)))]
    return np.repeat(_window(cut, low, high)[..., None], 3, axis=-1)


def _window(cut: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint((np.clip(cut, low, high) - low) / (high - low) * 255).astype(np.uint8)


def draw_section(volume: TrainVolume, *, rng: np.random.Generator) -> Picture:
    """Draws one labeled section at random."""
    plane = str(rng.choice(volume.planes, p=_plane_weights(volume)))
    if plane == "axial":
        sizes = np.array([span.last - span.first + 1 for span in volume.spans], dtype=float)
        span = volume.spans[int(rng.choice(len(sizes), p=sizes / sizes.sum()))]
        index, region = int(rng.integers(span.first, span.last + 1)), span.region
    else:
        extent = volume.array.shape[1 if plane == "coronal" else 2]
        index, region = int(rng.integers(int(extent * 0.25), int(extent * 0.75))), volume.region
    pixels = show(section(volume, plane=plane, index=index), volume=volume, rng=rng)
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
