"""Contact sheets of phantoms: three planes with lesion boxes, to be looked at."""

from __future__ import annotations

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from osler.study import Window
from osler.synth.phantoms.render import Phantom

_COLORS = ((255, 90, 90), (90, 220, 90), (110, 160, 255), (255, 210, 60), (240, 120, 255), (80, 230, 230))


def plane_picture(
    phantom: Phantom, *, axis: int, index: int, window: Window, height: int = 300, boxes: str = "draw"
) -> Picture.Image:
    """One plane of a phantom as a picture, superior or anterior up, with the boxes that it cuts.

    Args:
        phantom: With axes "LPS". axis: Of the array that is cut: 0 axial, 1 coronal, 2 sagittal.
        index: Along that axis. window: Of the display. height: px. boxes: "draw" or "hide".
    """
    spacing = phantom.affine.spacing[::-1]
    plane = window.apply(np.take(phantom.array, index, axis=axis)).astype(np.uint8)
    rest = [k for k in range(3) if k != axis]
    tall, wide = (plane.shape[0] * spacing[rest[0]], plane.shape[1] * spacing[rest[1]])
    scale = height / tall
    picture = (
        Picture.fromarray(plane if axis == 0 else plane[::-1])
        .resize((round(wide * scale), height), Picture.Resampling.BILINEAR)
        .convert("RGB")
    )
    if boxes == "hide":
        return picture
    draw = ImageDraw.Draw(picture)
    for number, lesion in enumerate(phantom.lesions):
        box = lesion.box.to_voxel(phantom.affine)
        low, high = box.low[::-1], box.high[::-1]
        if not low[axis] <= index + 0.5 <= high[axis]:
            continue
        top, bottom = low[rest[0]] * spacing[rest[0]] * scale, high[rest[0]] * spacing[rest[0]] * scale
        if axis != 0:
            top, bottom = height - bottom, height - top
        left, right = (edge[rest[1]] * spacing[rest[1]] * scale for edge in (low, high))
        color = _COLORS[number % len(_COLORS)]
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=color)
        draw.text((left, max(0, top - 11)), lesion.key[:24], fill=color)
    return picture


def contact_sheet(rows: list[list[Picture.Image]], *, gap: int = 4) -> Picture.Image:
    """Pictures side by side in rows."""
    width = max(sum(p.width + gap for p in row) for row in rows)
    height = sum(max(p.height for p in row) + gap for row in rows)
    sheet = Picture.new("RGB", (width, height), (25, 25, 25))
    y = 0
    for row in rows:
        x = 0
        for picture in row:
            sheet.paste(picture, (x, y))
            x += picture.width + gap
        y += max(p.height for p in row) + gap
    return sheet
