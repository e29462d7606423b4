"""Affine maps from voxel indices to patient positions in mm.

The patient frame is LPS, as in DICOM (PS3.3 C.7.6.2.1.1): x grows to the
patient's left, y to posterior, z to the head (superior). A voxel index is
``(column, row, slice)``, and whole numbers are voxel *centers*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float

from osler.errors import GeometryError

_AXIS_CODES = (("R", "L"), ("A", "P"), ("I", "S"))
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """A 4x4 map from voxel ``(column, row, slice)`` to patient LPS mm.

    Args:
        matrix: The homogeneous matrix; the last row is ``0 0 0 1``.

    Raises:
        GeometryError: If the matrix is not 4x4, not finite or singular.

    Example:
        >>> a = Affine.from_parts(spacing=(0.5, 0.5, 2.0), origin=(-10, -20, 30))
        >>> a.spacing
        (0.5, 0.5, 2.0)
        >>> a.apply((2, 0, 1)).tolist()
        [-9.0, -20.0, 32.0]
    """

    matrix: Float[np.ndarray, "4 4"]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise GeometryError(f"An affine of shape {matrix.shape!r}.", allowed="It must be 4x4.")
        if not np.isfinite(matrix).all():
            raise GeometryError(
                "An affine with NaN or infinite numbers.",
                next_step="Check the orientation, position and spacing in the header.",
            )
        if not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
            raise GeometryError(f"An affine whose last row is {matrix[3].tolist()!r}.", allowed="It must be 0 0 0 1.")
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        if (lengths < 1e-9).any() or _flatness(matrix[:3, :3]) < 1e-6:
            raise GeometryError(
                f"An affine that is flat: spacing {lengths.tolist()!r} mm.",
                allowed="Three independent axes with spacing above zero.",
            )
        matrix[3] = (0, 0, 0, 1)
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def from_parts(
        cls,
        *,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        direction: Float[np.ndarray, "3 3"] | None = None,
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Self:
        """Builds an affine from spacing (mm), unit axes (columns) and origin (LPS mm)."""
        axes = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
        matrix = np.eye(4)
        matrix[:3, :3] = axes * np.asarray(spacing, dtype=np.float64)
        matrix[:3, 3] = origin
        return cls(matrix)

    @classmethod
    def from_ras(cls, matrix: Float[np.ndarray, "4 4"]) -> Self:
        """Builds from a matrix whose output frame is RAS (NIfTI's convention)."""
        return cls(_LPS_TO_RAS @ np.asarray(matrix, dtype=np.float64))

    def to_ras(self) -> Float[np.ndarray, "4 4"]:
        """Returns the matrix with RAS output (NIfTI's convention)."""
        return _LPS_TO_RAS @ self.matrix

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbors along column, row and slice index."""
        x, y, z = np.linalg.norm(self.matrix[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def direction(self) -> Float[np.ndarray, "3 3"]:
        """Unit axes as columns: where column, row and slice index point in LPS."""
        return self.matrix[:3, :3] / np.asarray(self.spacing)

    @property
    def origin(self) -> tuple[float, float, float]:
        """Patient position (LPS mm) of the center of voxel (0, 0, 0)."""
        x, y, z = self.matrix[:3, 3].tolist()
        return x, y, z

    @property
    def normal(self) -> Float[np.ndarray, 3]:
        """Unit normal of the slice plane: column axis cross row axis."""
        direction = self.direction
        normal = np.cross(direction[:, 0], direction[:, 1])
        return normal / np.linalg.norm(normal)

    @property
    def orientation(self) -> str:
        """Three letters: to which side of the patient each index grows, e.g. ``"LPS"``.

        Axes are matched to patient axes one to one, nearest first, so an
        oblique volume has three distinct letters.
        """
        remaining = np.abs(self.direction).copy()
        letters = [""] * 3
        for _ in range(3):
            axis, index = np.unravel_index(np.argmax(remaining), (3, 3))
            sign = self.direction[axis, index] > 0
            letters[int(index)] = _AXIS_CODES[int(axis)][int(sign)]
            remaining[axis, :] = -1
            remaining[:, index] = -1
        return "".join(letters)

    @property
    def plane(self) -> str:
        """The plane of a slice: ``"axial"``, ``"coronal"`` or ``"sagittal"`` (nearest)."""
        return {"L": "sagittal", "R": "sagittal", "A": "coronal", "P": "coronal"}.get(self.orientation[2], "axial")

    @property
    def obliquity(self) -> float:
        """Degrees between the slice normal and the nearest patient axis."""
        return float(np.degrees(np.arccos(min(1.0, float(np.abs(self.normal).max())))))

    def apply(self, points: Float[np.ndarray, "... 3"] | tuple[float, ...]) -> Float[np.ndarray, "... 3"]:
        """Maps voxel points ``(column, row, slice)`` to patient LPS mm."""
        points = np.asarray(points, dtype=np.float64)
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    @property
    def inverse(self) -> Affine:
        """The map from patient LPS mm back to voxel indices."""
        return Affine(np.linalg.inv(self.matrix))

    def __matmul__(self, other: Affine) -> Affine:
        """Composes: ``(a @ b).apply(p) == a.apply(b.apply(p))``."""
        return Affine(self.matrix @ other.matrix)

    def resampled(self, *, scale: tuple[float, float, float]) -> Affine:
        """The affine of a grid whose voxels are ``scale`` times as large.

        The outer edges of the grid stay where they are: the new first center
        lies at ``(scale - 1) / 2`` of the old indices.
        """
        change = np.diag([*scale, 1.0])
        change[:3, 3] = (np.asarray(scale) - 1) / 2
        return Affine(self.matrix @ change)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Affine) and bool(np.array_equal(self.matrix, other.matrix))

    def __hash__(self) -> int:
        return hash(self.matrix.tobytes())

    def isclose(self, other: Affine, *, mm: float = 1e-3) -> bool:
        """Whether two affines agree to within ``mm`` per matrix entry."""
        return bool(np.allclose(self.matrix, other.matrix, rtol=0, atol=mm))


def _flatness(axes: Float[np.ndarray, "3 3"]) -> float:
    """Volume that the axes span, 1 for orthogonal ones and 0 for flat ones, whatever their lengths.

    Measured on columns and on rows, the greater of both: the inverse of a map with
    very unequal spacing has orthogonal rows, while its columns are nearly parallel.
    """
    volume = abs(float(np.linalg.det(axes)))
    spans = (float(np.prod(np.linalg.norm(axes, axis=axis))) for axis in (0, 1))
    return max(volume / span if span > 0 else 0.0 for span in spans)
