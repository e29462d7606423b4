"""Where the tiles of a slide lie: a small picture of the slide with the tiles drawn and numbered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as PillowImage

from osler.prepare import PreparedImages, ShownImage
from osler.prepare.tissue import overview_of
from osler.study import Box2D, FoundBox, Slide, Study
from osler.writers.picture import Tile

MOST_TILES = 30
_SIDE = 1400
_PALE = 235


def tile_maps(prepared: PreparedImages, *, study: Study, boxes: Sequence[FoundBox] = ()) -> tuple[Tile, ...]:
    """Returns one picture a slide, with a numbered box for each of its tiles that the network sees.

    Args:
        prepared: The images of the request.
        study: Where they come from; a coarse level of each slide is read again.
        boxes: Further boxes to draw, in px of level 0.

    Raises:
        DataError: If a slide is damaged.
    """
    maps = []
    for number, point in enumerate(study.timepoints):
        for series in point.series:
            shown = [i for i in prepared.images if (i.timepoint, i.series) == (number, series.series)]
            if isinstance(series, Slide) and shown:
                maps.append(_map(series, shown, boxes=[box for box in boxes if box.series == series.series]))
    return tuple(maps)


def tiles_on_sheet(prepared: PreparedImages) -> dict[tuple[int, str], frozenset[int]]:
    """Chooses which tiles of each slide are drawn: all up to 30, else 30 of them, evenly spread over the numbers."""
    numbers: dict[tuple[int, str], list[int]] = {}
    for image in prepared.images:
        if image.tile is not None:
            numbers.setdefault((image.timepoint, image.series), []).append(image.tile.number)
    return {key: frozenset(_spread(found)) for key, found in numbers.items()}


def tile_caption(image: ShownImage) -> str:
    """Names a tile: its number, where its upper left corner lies, and its magnification."""
    tile = image.tile
    if tile is None:
        return image.modality
    where = f"{tile.mm.x0:.2f}, {tile.mm.y0:.2f} mm" if tile.mm else f"{tile.pixel.x0:.0f}, {tile.pixel.y0:.0f} px"
    power = f", {tile.magnification:.2g}x" if tile.magnification else ""
    return f"{tile.number}: {where}{power}"


def _spread(numbers: Sequence[int]) -> list[int]:
    if len(numbers) <= MOST_TILES:
        return list(numbers)
    return [numbers[round(i * (len(numbers) - 1) / (MOST_TILES - 1))] for i in range(MOST_TILES)]


def _map(slide: Slide, shown: Sequence[ShownImage], *, boxes: Sequence[FoundBox]) -> Tile:
    width, height = slide.size
    tiles = [image.tile for image in shown if image.tile is not None]
    marked = [(str(tile.number), tile.pixel.to_unit(width=width, height=height)) for tile in tiles]
    found = [(box.label, box.pixel.to_unit(width=width, height=height)) for box in boxes if box.pixel is not None]
    across, down = slide.spacing or (1.0, 1.0)
    size = f"{width * across:.1f} x {height * down:.1f} mm" if slide.spacing else f"{width} x {height} px"
    several = "tile" if len(tiles) == 1 else "tiles"
    drawn = min(len(tiles), MOST_TILES)
    note = "" if drawn == len(tiles) else f"; {drawn} of them below"
    return Tile(
        pixels=_thumbnail(slide, tiles=[tile.pixel for tile in tiles]),
        caption=f"{slide.description or slide.series}: {size}, {len(tiles)} {several}{note}",
        aspect=(width * across) / (height * down),
        boxes=(*marked, *found),
    )


def _thumbnail(slide: Slide, *, tiles: Sequence[Box2D]) -> np.ndarray:
    """The slide, at most 1,400 px a side; gray with the tiles white where no level is small enough to read."""
    width, height = slide.size
    overview = overview_of(slide, downsample=max(1.0, max(width, height) / _SIDE))
    scale = _SIDE / max(width, height)
    if overview is None:
        pixels = np.full((max(1, round(height * scale)), max(1, round(width * scale)), 3), _PALE, dtype=np.uint8)
        for tile in tiles:
            x0, y0, x1, y1 = (round(edge * scale) for edge in (tile.x0, tile.y0, tile.x1, tile.y1))
            pixels[y0:y1, x0:x1] = 255
        return pixels
    picture = PillowImage.fromarray(overview.rgb)
    picture.thumbnail((_SIDE, _SIDE))
    return np.asarray(picture)
