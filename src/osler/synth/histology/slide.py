"""Whole slides as pyramidal tiled TIFF files, with the truth about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from osler.errors import RequestError
from osler.extras import import_extra
from osler.study import Box2D
from osler.synth.histology.nuclei import KINDS
from osler.synth.histology.spec import SlideSpec
from osler.synth.histology.tile import mask_boxes, render_tile
from osler.writers.atomic import Replace, check_writable, write_atomic

TILE = 256
GREATEST_SLIDE_PX = 16384
_BLOCK = 1024
_MASK_STEP = 8
_SMALLEST_LEVEL = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideTruth:
    """What a written slide shows.

    Args:
        width: Pixels across at full resolution. height: Pixels down.
        pixel_mm: Pixel size.
        counts: Cells by kind on the whole slide.
        tumor_boxes: Boxes of the tumors in pixels of the full resolution, steps of 8 px.
        tumor_mm2: Area of tumor.
    """

    width: int
    height: int
    pixel_mm: float
    counts: dict[str, int]
    tumor_boxes: tuple[Box2D, ...]
    tumor_mm2: float

    @property
    def tumor_boxes_mm(self) -> tuple[tuple[float, float, float, float], ...]:
        """x0, y0, x1, y1 of each box in mm from the slide's upper left corner."""
        s = self.pixel_mm
        return tuple((box.x0 * s, box.y0 * s, box.x1 * s, box.y1 * s) for box in self.tumor_boxes)


class _Bands:
    """Renders a slide band by band; keeps what the smaller levels and the truth need."""

    def __init__(self, spec: SlideSpec) -> None:
        self.spec = spec
        width, height = spec.pixels
        self.half = np.zeros(((height + 1) // 2, (width + 1) // 2, 3), np.uint8)
        self.mask = np.zeros((-(-height // _MASK_STEP), -(-width // _MASK_STEP)), bool)
        self.counts = dict.fromkeys(KINDS, 0)
        self.tumor_px = 0

    def tiles(self) -> Iterator[np.ndarray]:
        """Tiles of the full resolution in the order of a TIFF file, the last ones padded with glass."""
        width, height = self.spec.pixels
        for row in range(0, height, TILE):
            down = min(TILE, height - row)
            band = np.full((TILE, -(-width // TILE) * TILE, 3), 244, np.uint8)
            for column in range(0, width, _BLOCK):
                across = min(_BLOCK, width - column)
                tile = render_tile(self.spec, column=column, row=row, width=across, height=down)
                band[:down, column : column + across] = tile.pixels
                self.tumor_px += int(tile.tumor_mask.sum())
                _pool(tile.tumor_mask, into=self.mask[row // _MASK_STEP :, column // _MASK_STEP :])
                for kind, number in tile.counts.items():
                    self.counts[kind] += number
            small = halve(band[:down, :width])
            self.half[row // 2 : row // 2 + len(small), :] = small
            for column in range(0, width, TILE):
                yield band[:, column : column + TILE]


def write_slide(path: str | Path, *, spec: SlideSpec, quality: int = 85, replace: Replace = "refuse") -> SlideTruth:
    """Writes a slide as a generic pyramidal TIFF (256 px JPEG tiles, halved levels).

    Args:
        path: File to write; written whole or not at all.
        spec: What it shows.
        quality: Of the JPEG tiles, 1 to 100.
        replace: Whether an existing file may be overwritten.

    Returns:
        Its cells and tumor boxes.

    Raises:
        RequestError: If it has more than 16384 px a side, or the package to write it is missing.
    """
    tifffile = import_extra("tifffile", extra="synth")
    width, height = spec.pixels
    if max(width, height) > GREATEST_SLIDE_PX:
        raise RequestError(
            f"A slide of {width} x {height} px.", allowed=f"Up to {GREATEST_SLIDE_PX} px a side.",
            next_step="Ask for a smaller area or a larger pixel.",
        )  # fmt: skip
    if not 1 <= quality <= 100:
        raise RequestError(f"A JPEG quality of {quality!r}.", allowed="1 to 100.")
    target = check_writable(path, replace=replace)
    bands = _Bands(spec)
    smaller = _smaller_levels(width, height)
    per_cm = 10 / spec.pixel_mm
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=False) as file:
        common = {
            "tile": (TILE, TILE), "photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": quality},
            "metadata": None, "resolutionunit": "CENTIMETER", "dtype": np.uint8,
        }  # fmt: skip
        file.write(
            bands.tiles(), shape=(height, width, 3), subifds=smaller, resolution=(per_cm, per_cm),
            software="osler", **common,
        )  # fmt: skip
        level = bands.half
        for number in range(smaller):
            if number:
                level = halve(level)
            scale = per_cm / 2 ** (number + 1)
            file.write(level, subfiletype=1, resolution=(scale, scale), **common)
    write_atomic(target, data=buffer.getvalue())
    return SlideTruth(
        width=width, height=height, pixel_mm=spec.pixel_mm, counts=bands.counts,
        tumor_boxes=tuple(_scaled(box, width=width, height=height) for box in mask_boxes(bands.mask)),
        tumor_mm2=bands.tumor_px * spec.pixel_mm**2,
    )  # fmt: skip


def _smaller_levels(width: int, height: int) -> int:
    """How often the slide is halved until its longest side is 512 px or less."""
    count = 0
    while max(width, height) >> count > _SMALLEST_LEVEL:
        count += 1
    return count


def halve(pixels: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, the last row or column repeated where odd."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, height & 1), (0, width & 1), (0, 0)), mode="edge").astype(np.uint16)
    total = padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def _pool(mask: np.ndarray, *, into: np.ndarray) -> None:
    """Marks each 8 x 8 block that holds any of the mask."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % _MASK_STEP), (0, -width % _MASK_STEP)))
    blocks = padded.reshape(padded.shape[0] // _MASK_STEP, _MASK_STEP, -1, _MASK_STEP).any(axis=(1, 3))
    into[: blocks.shape[0], : blocks.shape[1]] |= blocks


def _scaled(box: Box2D, *, width: int, height: int) -> Box2D:
    s = _MASK_STEP
    return Box2D(x0=box.x0 * s, y0=box.y0 * s, x1=min(box.x1 * s, width), y1=min(box.y1 * s, height))
