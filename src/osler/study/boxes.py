"""Boxes that know their frame and their units.

Pixel and voxel boxes are given by *edges*: pixel ``i`` covers ``[i, i + 1)``,
so its center is at ``i + 0.5`` (an affine's whole numbers are centers; the
half is added and taken off here and nowhere else).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from osler.errors import GeometryError
from osler.study.affine import Affine

Frame2D = Literal["pixel", "unit", "slide"]
Frame3D = Literal["LPS", "voxel"]


def _check_order(low: tuple[float, ...], high: tuple[float, ...]) -> None:
    numbers = (*low, *high)
    if not all(np.isfinite(number) for number in numbers):
        raise GeometryError(f"A box with NaN or infinite edges: {low!r} to {high!r}.")
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise GeometryError(
            f"A box whose low corner {low!r} is above its high corner {high!r}.",
            allowed="Low must not exceed high on any axis.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Box2D:
    """A rectangle in an image.

    Args:
        x0: Left edge. y0: Top edge. x1: Right edge. y1: Bottom edge.
        frame: ``"pixel"`` (px of the given file), ``"unit"`` (0 to 1 of the width and height) or
            ``"slide"`` (mm from the upper left corner of a whole slide).

    Raises:
        GeometryError: If an edge is not finite or out of order.

    Example:
        >>> Box2D(x0=10, y0=20, x1=30, y1=60).area
        800
    """

    x0: float
    y0: float
    x1: float
    y1: float
    frame: Frame2D = "pixel"

    def __post_init__(self) -> None:
        _check_order((self.x0, self.y0), (self.x1, self.y1))

    @property
    def units(self) -> str:
        """``"px"``, ``"fraction"`` or ``"mm"``."""
        return {"pixel": "px", "unit": "fraction", "slide": "mm"}[self.frame]

    @property
    def area(self) -> float:
        """Area in squared units of the frame."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    def to_unit(self, *, width: int, height: int) -> Box2D:
        """Returns the box as fractions of an image of that size (px)."""
        if self.frame == "unit":
            return self
        self._require_no_mm()
        return Box2D(x0=self.x0 / width, y0=self.y0 / height, x1=self.x1 / width, y1=self.y1 / height, frame="unit")

    def to_pixel(self, *, width: int, height: int) -> Box2D:
        """Returns the box in the pixels of an image of that size (px)."""
        if self.frame == "pixel":
            return self
        self._require_no_mm()
        return Box2D(x0=self.x0 * width, y0=self.y0 * height, x1=self.x1 * width, y1=self.y1 * height)

    def _require_no_mm(self) -> None:
        if self.frame == "slide":
            raise GeometryError(
                "A box in mm on a slide has no size in pixels by itself.", next_step="Divide it by the slide's spacing."
            )

    def mirrored(self, *, width: float) -> Box2D:
        """Returns the box in the image mirrored left to right (``width`` in frame units)."""
        return Box2D(x0=width - self.x1, y0=self.y0, x1=width - self.x0, y1=self.y1, frame=self.frame)

    def iou(self, other: Box2D) -> float:
        """Intersection over union with a box of the same frame."""
        if self.frame != other.frame:
            raise GeometryError(f"IoU of a {self.frame!r} box with a {other.frame!r} box.")
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        inside = max(width, 0.0) * max(height, 0.0)
        union = self.area + other.area - inside
        return inside / union if union > 0 else 0.0

    def to_box3d(self, *, affine: Affine, slice_index: int) -> Box3D:
        """Lifts a pixel box on one slice to the box in patient mm that encloses it.

        The box is one slice thick: half a slice to each side of its center.
        """
        if self.frame != "pixel":
            raise GeometryError(f"A {self.frame!r} box has no place in mm.", next_step="Call to_pixel first.")
        voxel = Box3D(
            low=(self.x0, self.y0, float(slice_index)),
            high=(self.x1, self.y1, slice_index + 1.0),
            frame="voxel",
        )
        return voxel.to_patient(affine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box3D:
    """A box in a volume, aligned with the axes of its frame.

    Args:
        low: Lowest corner ``(x, y, z)``, or ``(column, row, slice)`` edges.
        high: Highest corner.
        frame: ``"LPS"`` (patient, mm) or ``"voxel"`` (edges of voxels).

    Raises:
        GeometryError: If an edge is not finite or out of order.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    frame: Frame3D = "LPS"

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)

    @property
    def units(self) -> str:
        """``"mm"`` or ``"voxel"``."""
        return "mm" if self.frame == "LPS" else "voxel"

    @property
    def size(self) -> tuple[float, float, float]:
        """Edge lengths in the units of the frame."""
        x, y, z = (b - a for a, b in zip(self.low, self.high, strict=True))
        return x, y, z

    @property
    def volume(self) -> float:
        """Volume in cubed units of the frame."""
        x, y, z = self.size
        return x * y * z

    def _corners(self) -> np.ndarray:
        return np.array(list(product(*zip(self.low, self.high, strict=True))))

    def to_patient(self, affine: Affine) -> Box3D:
        """Returns the LPS mm box that encloses a voxel box under ``affine``."""
        if self.frame == "LPS":
            return self
        return _enclosing(affine.apply(self._corners() - 0.5), frame="LPS")

    def to_voxel(self, affine: Affine) -> Box3D:
        """Returns the voxel box (edges) that encloses a patient box under ``affine``."""
        if self.frame == "voxel":
            return self
        return _enclosing(affine.inverse.apply(self._corners()) + 0.5, frame="voxel")

    def iou(self, other: Box3D) -> float:
        """Intersection over union with a box of the same frame."""
        if self.frame != other.frame:
            raise GeometryError(f"IoU of a {self.frame!r} box with a {other.frame!r} box.")
        overlap = [
            max(0.0, min(b, d) - max(a, c))
            for a, b, c, d in zip(self.low, self.high, other.low, other.high, strict=True)
        ]
        inside = float(np.prod(overlap))
        union = self.volume + other.volume - inside
        return inside / union if union > 0 else 0.0


def _enclosing(points: np.ndarray, *, frame: Frame3D) -> Box3D:
    x0, y0, z0 = points.min(axis=0).tolist()
    x1, y1, z1 = points.max(axis=0).tolist()
    return Box3D(low=(x0, y0, z0), high=(x1, y1, z1), frame=frame)
