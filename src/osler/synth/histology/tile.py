"""Tiles of a slide: pixels, cells and tumor boxes that agree."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np

from osler.errors import RequestError
from osler.extras import import_extra
from osler.study import Box2D
from osler.synth.elementary import exp
from osler.synth.histology.fields import lattice_over, look_up, texture
from osler.synth.histology.layout import lay_out
from osler.synth.histology.nuclei import KINDS, MARGIN_UM, Nuclei, dust, place_nuclei
from osler.synth.histology.paint import PixelGrid, paint, paint_dust
from osler.synth.histology.spec import SlideSpec
from osler.synth.histology.stain import colors

_EDGE_PX = 4
GREATEST_SIDE = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One tile.

    Args:
        pixels: (rows, columns, 3) uint8.
        origin_px: Column and row of its upper left pixel on the slide's full resolution.
        pixel_mm: Pixel size.
        counts: Cells whose nuclei have their center in the tile, by kind.
        tumor_mask: (rows, columns) bool.
        tumor_boxes: Boxes of the connected parts of the mask, in the tile's pixels.
    """

    pixels: np.ndarray
    origin_px: tuple[int, int]
    pixel_mm: float
    counts: dict[str, int]
    tumor_mask: np.ndarray
    tumor_boxes: tuple[Box2D, ...]

    def jpeg(self, *, quality: int = 85) -> bytes:
        """The tile as a JPEG file."""
        from PIL import Image

        buffer = BytesIO()
        Image.fromarray(self.pixels).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()


def render_tile(spec: SlideSpec, *, column: int, row: int, width: int = 256, height: int = 256) -> Tile:
    """Renders a window of a slide at full resolution.

    The same pixel comes out the same in every tile that holds it.

    Args:
        spec: The slide.
        column: First column on the slide (px; may lie off the slide, which is empty glass).
        row: First row.
        width: Of the tile (px). height: The same.

    Raises:
        RequestError: If the size is not 1 to 4096 px.
    """
    if not (1 <= width <= GREATEST_SIDE and 1 <= height <= GREATEST_SIDE):
        raise RequestError(f"A tile of {width!r} x {height!r} px.", allowed=f"1 to {GREATEST_SIDE} px each way.")
    pixel_um = spec.pixel_mm * 1000
    grid = PixelGrid(
        x=(np.arange(column - _EDGE_PX, column + width + _EDGE_PX) + 0.5) * pixel_um,
        y=(np.arange(row - _EDGE_PX, row + height + _EDGE_PX) + 0.5) * pixel_um,
        column=column - _EDGE_PX,
        row=row - _EDGE_PX,
        pixel_um=pixel_um,
    )
    window = (column * pixel_um, row * pixel_um, width * pixel_um, height * pixel_um)
    lattice = lattice_over(*window[:2], width=window[2], height=window[3], margin=MARGIN_UM + 8)
    layout = lay_out(spec, lattice=lattice)
    nuclei = place_nuclei(layout, key=spec.key, window=window, inflammation=spec.inflammation)
    hematoxylin, eosin = paint(layout, nuclei=nuclei, grid=grid)
    if spec.pigment > 0:
        x, y, radius = dust(layout, key=spec.key, window=window, amount=spec.pigment)
        paint_dust(hematoxylin, eosin, x=x, y=y, radius=radius, grid=grid)
    light = colors(hematoxylin, eosin, stain=spec.staining)
    inner = slice(_EDGE_PX, -_EDGE_PX)
    mask = np.ones((height, width), bool)
    for depth in (layout.tumor, layout.tissue):
        if mask.any() and depth.min() <= 0:  # what lies between depths above 0 is above 0, too
            mask &= lattice.to_pixels(depth, x=grid.x[inner], y=grid.y[inner]) > 0
    return Tile(
        pixels=_scan(light, spec=spec, grid=grid)[inner, inner],
        origin_px=(column, row),
        pixel_mm=spec.pixel_mm,
        counts=_count(nuclei, window=window),
        tumor_mask=mask,
        tumor_boxes=mask_boxes(mask),
    )


def _scan(light: np.ndarray, *, spec: SlideSpec, grid: PixelGrid) -> np.ndarray:
    """Blur of the optics and noise of the camera, uint8."""
    correlate1d = import_extra("scipy.ndimage", extra="synth").correlate1d

    stain = spec.staining
    sigma = max(0.25, stain.blur_um / grid.pixel_um)
    taps = exp(-0.5 * (np.arange(-3, 4) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    blurred = correlate1d(correlate1d(light, taps, axis=0), taps, axis=1)
    grains = texture("camera", along=0.6, across=0.6)
    u = np.arange(grid.column, grid.column + len(grid.x))[None, :] + spec.key % 509
    v = np.arange(grid.row, grid.row + len(grid.y))[:, None] + spec.key % 503
    grain = look_up(grains, u, v) * np.float32(stain.noise)
    return np.clip(blurred + grain[..., None] + 0.5, 0, 255).astype(np.uint8)


def _count(nuclei: Nuclei, *, window: tuple[float, float, float, float]) -> dict[str, int]:
    x0, y0, width, height = window
    held = (nuclei.x >= x0) & (nuclei.x < x0 + width) & (nuclei.y >= y0) & (nuclei.y < y0 + height)
    numbers = np.bincount(nuclei.kind[held].astype(np.intp), minlength=len(KINDS))
    return {kind: int(number) for kind, number in zip(KINDS, numbers, strict=True)}


def mask_boxes(mask: np.ndarray) -> tuple[Box2D, ...]:
    """Boxes (pixel edges) around the connected parts of a mask, from the top down."""
    ndimage = import_extra("scipy.ndimage", extra="synth")
    numbered, _ = ndimage.label(mask)
    boxes = []
    for rows, columns in ndimage.find_objects(numbered):
        boxes.append(Box2D(x0=columns.start, y0=rows.start, x1=columns.stop, y1=rows.stop))
    return tuple(boxes)
