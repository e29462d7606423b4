"""Boxes as the voxels that they fill."""

from __future__ import annotations

import numpy as np

from osler.errors import GeometryError
from osler.study import Box2D, Box3D, Image, Mask, Volume
from osler.writers.dicom_about import PlacedBox
from osler.writers.dicom_codes import short_text


def filled_box(entry: PlacedBox) -> Mask:
    """Returns the mask of the voxels whose centers lie in a box.

    A box on a slice fills its pixels there; a box in mm fills the volume, whatever
    way its slices lie. A box thinner than a voxel fills the voxels at its center.

    Raises:
        GeometryError: If it fills nothing.
    """
    series = entry.series
    shape = series.shape if isinstance(series, Volume) else (1, series.size[1], series.size[0])
    voxels = np.zeros(shape, dtype=bool)
    if entry.pixel is not None:
        shift = entry.origin.shift if entry.origin is not None else (0.0, 0.0)
        _fill_pixels(voxels[entry.box.slice or 0], entry.pixel, shift=shift)
    elif entry.patient is not None and series.affine is not None:
        _fill_volume(voxels, entry.patient, series=series)
    if not voxels.any():
        raise GeometryError(
            f"The box {short_text(entry.box.label)!r} holds no voxel of its series {series.series}.",
            allowed="A box on an image, or one in mm in a volume with a geometry.",
            next_step="Write SR or JSON, which hold the edges themselves.",
        )
    grid = voxels if isinstance(series, Volume) else voxels[0]
    return Mask(label=entry.box.label, series=series.series, voxels=grid)


def _fill_pixels(plane: np.ndarray, box: Box2D, *, shift: tuple[float, float]) -> None:
    columns = _covered(box.x0 - shift[0], box.x1 - shift[0], size=plane.shape[1])
    rows = _covered(box.y0 - shift[1], box.y1 - shift[1], size=plane.shape[0])
    plane[rows, columns] = True


def _covered(low: float, high: float, *, size: int) -> slice:
    """The indices whose centers (at i + 0.5) lie between two edges; at least one."""
    start, stop = int(np.ceil(low - 0.5)), int(np.ceil(high - 0.5))
    if stop <= start:
        start = int(np.floor((low + high) / 2))
        stop = start + 1
    return slice(min(max(start, 0), size), min(max(stop, 0), size))


def _fill_volume(voxels: np.ndarray, box: Box3D, *, series: Volume | Image) -> None:
    """Fills a box in mm: only the part of the grid around it is looked at."""
    assert series.affine is not None
    around = box.to_voxel(series.affine)
    parts = [
        slice(min(max(int(np.floor(low)), 0), size), min(max(int(np.ceil(high)), 0), size))
        for low, high, size in zip(around.low, around.high, voxels.shape[::-1], strict=True)
    ]
    columns, rows, slices = (np.arange(part.start, part.stop) for part in parts)
    if not (len(columns) and len(rows) and len(slices)):
        return
    grid = np.stack(np.meshgrid(slices, rows, columns, indexing="ij"), axis=-1)[..., ::-1]
    centers = series.affine.apply(grid)
    inside = ((centers >= np.asarray(box.low) - 1e-6) & (centers <= np.asarray(box.high) + 1e-6)).all(axis=-1)
    if not inside.any():
        middle = (np.asarray(box.low) + np.asarray(box.high)) / 2
        inside.flat[np.argmin(np.linalg.norm(centers - middle, axis=-1))] = True
    voxels[parts[2], parts[1], parts[0]] |= inside
