"""Turning a slice to the way radiologists look at it, and the way back.

Files store slices in any direction: NIfTI's usual order puts the back of the
patient on top. Axial slices are shown from the feet, with the front on top and
the patient's left on the right; coronal ones from the front and sagittal ones
from the left, with the head on top (DICOM PS3.17, annex on hanging; the
convention of viewers). Turning is by whole flips and a transposition, so no
value changes, and boxes and letters turn with the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.study import Affine, Box2D

_SHOWN_AXES = {"axial": ("L", "P"), "coronal": ("L", "I"), "sagittal": ("P", "I")}
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "I": "S", "S": "I"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorientation:
    """Transposes a stored slice, then flips it.

    Args:
        transposed: Rows and columns change places, first.
        columns_flipped: Then left and right change places.
        rows_flipped: Then top and bottom change places.
    """

    transposed: bool = False
    columns_flipped: bool = False
    rows_flipped: bool = False

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Turns ``(row, column[, channel])`` as stored to the way it is shown; a view, not a copy."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.rows_flipped else 1, :: -1 if self.columns_flipped else 1]

    def size(self, *, width: int, height: int) -> tuple[int, int]:
        """The width and height (px) of a stored slice of that size, as shown."""
        return (height, width) if self.transposed else (width, height)

    def to_shown(self, box: Box2D, *, width: int, height: int) -> Box2D:
        """Maps a pixel box of a stored slice of that size (px) to the slice as shown."""
        x0, y0, x1, y1 = box.x0, box.y0, box.x1, box.y1
        if self.transposed:
            x0, y0, x1, y1 = y0, x0, y1, x1
        width, height = self.size(width=width, height=height)
        if self.columns_flipped:
            x0, x1 = width - x1, width - x0
        if self.rows_flipped:
            y0, y1 = height - y1, height - y0
        return Box2D(x0=x0, y0=y0, x1=x1, y1=y1, frame=box.frame)

    def to_stored(self, box: Box2D, *, width: int, height: int) -> Box2D:
        """Maps a pixel box of the slice as shown back to the stored slice of that size (px)."""
        x0, y0, x1, y1 = box.x0, box.y0, box.x1, box.y1
        shown_width, shown_height = self.size(width=width, height=height)
        if self.columns_flipped:
            x0, x1 = shown_width - x1, shown_width - x0
        if self.rows_flipped:
            y0, y1 = shown_height - y1, shown_height - y0
        if self.transposed:
            x0, y0, x1, y1 = y0, x0, y1, x1
        return Box2D(x0=x0, y0=y0, x1=x1, y1=y1, frame=box.frame)

    def axes(self, affine: Affine) -> tuple[str, str]:
        """To which sides of the patient columns and rows run as shown, such as ``("L", "P")``."""
        column, row = affine.orientation[0], affine.orientation[1]
        if self.transposed:
            column, row = row, column
        return (
            _OPPOSITE[column] if self.columns_flipped else column,
            _OPPOSITE[row] if self.rows_flipped else row,
        )


AS_STORED = Reorientation()


def radiological(affine: Affine | None) -> Reorientation:
    """Finds how a stored slice is turned to the radiologist's view.

    Args:
        affine: The map of the stored series; without one the slice stays as it is.
    """
    if affine is None:
        return AS_STORED
    wanted_column, wanted_row = _SHOWN_AXES[affine.plane]
    column, row = affine.orientation[0], affine.orientation[1]
    transposed = column not in (wanted_column, _OPPOSITE[wanted_column])
    if transposed:
        column, row = row, column
    return Reorientation(transposed=transposed, columns_flipped=column != wanted_column, rows_flipped=row != wanted_row)
