"""What a renderer hands over for one exam: pixels, where they lie, and where the lesions are in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from osler.study import Affine, Box2D, Box3D
from osler.synth.facts import Exam, PatientFacts

if TYPE_CHECKING:
    from osler.synth.histology.spec import SlideSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionBox:
    """Where one lesion lies.

    Args:
        finding: Of the ontology. lesion: Its number.
        box: In patient mm (LPS) of a volume; in pixels of a radiograph.
    """

    finding: str
    lesion: int
    box: Box2D | Box3D


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedVolume:
    """A CT (HU) or an MR.

    Args:
        voxels: Whole numbers, ``(slice, row, column)``.
        affine: Voxel to patient LPS mm.
        boxes: Of the lesions.
    """

    voxels: np.ndarray
    affine: Affine
    boxes: tuple[LesionBox, ...] = ()


def right_handed(volume: RenderedVolume) -> RenderedVolume:
    """The same volume with slices along the normal of their plane, as DICOM readers order them."""
    matrix = volume.affine.matrix.copy()
    if np.linalg.det(matrix[:3, :3]) > 0:
        return volume
    matrix[:3, 3] = volume.affine.apply((0, 0, len(volume.voxels) - 1))
    matrix[:3, 2] *= -1
    return RenderedVolume(voxels=volume.voxels[::-1], affine=Affine(matrix), boxes=volume.boxes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedImage:
    """A radiograph.

    Args:
        pixels: Whole numbers, ``(row, column)``, bright is dense.
        spacing: mm between columns and rows of the detector.
        boxes: Of the lesions, in pixels.
    """

    pixels: np.ndarray
    spacing: tuple[float, float]
    boxes: tuple[LesionBox, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedField:
    """What a microscope shows of a slide: a picture without a DICOM file.

    Args:
        pixels: uint8, ``(row, column, 3)``.
        pixel_um: Size of a pixel (micrometers).
        spec: The whole slide that the field is a part of, to be written as a file; ``None`` if there is none.
    """

    pixels: np.ndarray
    pixel_um: float
    spec: SlideSpec | None = None


Rendered = RenderedVolume | RenderedImage | RenderedField
Render = Callable[[PatientFacts, Exam], Rendered | None]
"""Draws an exam; ``None`` if it has no pixels."""
