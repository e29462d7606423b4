"""Volumes with a bright block at a known place in the patient, stored in any direction."""

from __future__ import annotations

import numpy as np

from osler.study import Affine, ArrayPixels, Box3D, SliceOrigin, Study, TimePoint, Volume

SPACING = (1.5, 1.0, 4.0)
SHAPE = (10, 40, 28)
BLOCK = Box3D(low=(6.0, 8.0, 2.0), high=(12.0, 20.0, 6.0), frame="voxel")
"""(column, row, slice) edges in the straight volume; it lies at one side of the middle."""


def straight() -> Volume:
    """An axial volume, patient's left to the right of the picture."""
    voxels = np.full(SHAPE, -800.0, dtype=np.float32)
    (x0, y0, z0), (x1, y1, z1) = (tuple(map(int, corner)) for corner in (BLOCK.low, BLOCK.high))
    voxels[z0:z1, y0:y1, x0:x1] = 100.0
    affine = Affine(np.array([[1.5, 0, 0, -20], [0, 1.0, 0, -15], [0, 0, 4.0, 30], [0, 0, 0, 1]], dtype=float))
    return volume_of(voxels, affine)


def volume_of(voxels: np.ndarray, affine: Affine, *, modality: str = "CT", **more: str) -> Volume:
    """Wraps voxels (slice, row, column)."""
    return Volume(
        series="1.2.3",
        pixels=ArrayPixels(np.ascontiguousarray(voxels)),
        affine=affine,
        modality=modality,
        units="HU" if modality == "CT" else "arbitrary",
        origins=tuple(SliceOrigin(file=f"{n}.dcm", sop_uid=f"1.2.3.{n}") for n in range(voxels.shape[0])),
        **more,
    )


def restored(volume: Volume, *, flips: tuple[bool, bool, bool], swapped: bool) -> Volume:
    """The same patient, stored otherwise: axes flipped (column, row, slice), rows and columns swapped."""
    voxels, matrix = volume.read(), volume.affine.matrix.copy()
    for axis, flip in enumerate(flips):
        if flip:
            count = voxels.shape[2 - axis]
            voxels = np.flip(voxels, axis=2 - axis)
            matrix[:3, 3] += matrix[:3, axis] * (count - 1)
            matrix[:3, axis] *= -1
    if swapped:
        voxels = voxels.swapaxes(1, 2)
        matrix[:, [0, 1]] = matrix[:, [1, 0]]
    return volume_of(voxels, Affine(matrix))


def mirrored(volume: Volume) -> Volume:
    """Another patient: left and right changed in the pixels, and the frame left as it was."""
    return volume_of(np.flip(volume.read(), axis=2), volume.affine)


def study_of(*series: Volume) -> Study:
    """A study of one time point."""
    return Study(timepoints=(TimePoint(series=series),))
