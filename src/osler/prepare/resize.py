"""Fitting an image to the network's square, and the way back.

The reference (``transformers``, Gemma 3 image processor, Pillow backend)
resizes uint8 RGB with Pillow's bilinear filter, so Pillow it is here. The
torchvision backend rounds differently by at most one grey level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from osler.errors import GeometryError
from osler.prepare.contract import Aspect
from osler.prepare.orientation import AS_STORED, Reorientation
from osler.study import Box2D


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelMap:
    """The map between the pixels of the file and those of the network's square.

    Coordinates are edges, as in `Box2D`: pixel ``i`` covers ``[i, i + 1)``.

    Args:
        width: Width of the file's image, px. height: Its height, px.
        left: Zero columns put before it. top: Zero rows put above it.
        padded_width: Width as shown with padding, px. padded_height: Height as shown with padding, px.
        image_size: Side of the network's square, px.
        turn: How the stored image is turned before it is padded and resized.
    """

    width: int
    height: int
    left: int
    top: int
    padded_width: int
    padded_height: int
    image_size: int
    turn: Reorientation = AS_STORED

    @property
    def scale(self) -> tuple[float, float]:
        """Network pixels per file pixel, along columns and rows as shown."""
        return self.image_size / self.padded_width, self.image_size / self.padded_height

    def to_model(self, box: Box2D) -> Box2D:
        """Maps a box in file pixels to the network's pixels."""
        _require_pixel(box)
        box = self.turn.to_shown(box, width=self.width, height=self.height)
        sx, sy = self.scale
        return Box2D(
            x0=(box.x0 + self.left) * sx,
            y0=(box.y0 + self.top) * sy,
            x1=(box.x1 + self.left) * sx,
            y1=(box.y1 + self.top) * sy,
        )

    def to_file(self, box: Box2D) -> Box2D:
        """Maps a box in the network's pixels to file pixels, cut off at the image's edge."""
        _require_pixel(box)
        sx, sy = self.scale
        width, height = self.turn.size(width=self.width, height=self.height)
        shown = Box2D(
            x0=_inside(box.x0 / sx - self.left, width),
            y0=_inside(box.y0 / sy - self.top, height),
            x1=_inside(box.x1 / sx - self.left, width),
            y1=_inside(box.y1 / sy - self.top, height),
        )
        return self.turn.to_stored(shown, width=self.width, height=self.height)


def pixel_map(*, width: int, height: int, image_size: int, aspect: Aspect, turn: Reorientation = AS_STORED) -> PixelMap:
    """Plans how a stored image of that size (px) is turned and fitted to the square.

    ``"pad-square"`` puts half of the missing rows or columns (rounded down)
    before and the rest after, as the published localization notebook does.
    """
    side = max(width, height)
    shown_width, shown_height = turn.size(width=width, height=height)
    padded_width, padded_height = (side, side) if aspect == "pad-square" else (shown_width, shown_height)
    return PixelMap(
        width=width,
        height=height,
        left=(padded_width - shown_width) // 2,
        top=(padded_height - shown_height) // 2,
        padded_width=padded_width,
        padded_height=padded_height,
        image_size=image_size,
        turn=turn,
    )


def fit(
    rgb: UInt8[np.ndarray, "row column 3"], *, plan: PixelMap, out: UInt8[np.ndarray, "size size 3"] | None = None
) -> UInt8[np.ndarray, "size size 3"]:
    """Turns, pads and resizes an image as planned.

    Args:
        rgb: The image, as stored.
        plan: From `pixel_map`.
        out: Where to write, or ``None`` for a new array.
    """
    rgb = plan.turn.apply(rgb)
    height, width = rgb.shape[:2]
    if (plan.padded_width, plan.padded_height) != (width, height):
        padded = np.zeros((plan.padded_height, plan.padded_width, 3), dtype=np.uint8)
        padded[plan.top : plan.top + height, plan.left : plan.left + width] = rgb
        rgb = padded
    size = (plan.image_size, plan.image_size)
    picture = PillowImage.fromarray(np.ascontiguousarray(rgb)).resize(size, resample=PillowImage.Resampling.BILINEAR)
    if out is None:
        return np.array(picture)
    out[...] = np.asarray(picture)
    return out


def _inside(value: float, limit: int) -> float:
    return min(max(value, 0.0), float(limit))


def _require_pixel(box: Box2D) -> None:
    if box.frame != "pixel":
        raise GeometryError(f"A {box.frame!r} box where pixels are needed.", next_step="Call to_pixel first.")
