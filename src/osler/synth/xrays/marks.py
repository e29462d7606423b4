"""What lies on the film beside the patient: collimation, lead letters, labels."""

from __future__ import annotations

import numpy as np


def collimate(gray: np.ndarray, *, margins: tuple[int, int, int, int], slant: float) -> np.ndarray:
    """Blackens what the collimator's leaves cover.

    Args:
        gray: (rows, columns), 0 to 1.
        margins: Pixels covered at the left, top, right and bottom.
        slant: Slope of the leaves' edges.
    """
    rows, columns = gray.shape
    y, x = np.arange(rows, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)[None, :]
    left, top, right, bottom = margins
    tilt_x, tilt_y = slant * (y - rows / 2), slant * (x - columns / 2)
    open_ = np.minimum(np.minimum(x - left + tilt_x, columns - 1 - right - x - tilt_x),
                       np.minimum(y - top - tilt_y, rows - 1 - bottom - y + tilt_y))  # fmt: skip
    hidden = np.array([left <= 0, right <= 0, top <= 0, bottom <= 0]).all()
    return gray if hidden else gray * np.clip(open_ + 1.0, 0, 1)


def letter(
    gray: np.ndarray, *, text: str, column: float, row: float, height: float, bright: float = 0.97
) -> np.ndarray:
    """Lays a letter of lead on the film; column and row are the middle, height is in pixels."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=max(8.0, height))
    layer = Image.new("L", (gray.shape[1], gray.shape[0]), 0)
    ImageDraw.Draw(layer).text(
        (column, row), text, fill=255, font=font, anchor="mm", stroke_width=max(0, int(height / 22))
    )
    cover = np.asarray(layer, dtype=np.float32) / 255
    return gray + cover * (bright - gray)
