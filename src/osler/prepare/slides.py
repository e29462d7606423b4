"""A slide among the images of a request: its tiles read, and said in words."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image as PillowImage

from osler.prepare.contract import Preprocess
from osler.prepare.pixels import ShownTile
from osler.prepare.resize import PixelMap, fit, pixel_map
from osler.prepare.tiles import PATCH, Tile, TilePlan, microns_of
from osler.study import Box2D, LeftOut, Slide

_LARGEST_READ = 4096


def tile_map(tile: Tile, *, preprocess: Preprocess) -> PixelMap:
    """The map between the pixels of a tile, as read, and those of the network's square."""
    return pixel_map(width=tile.side, height=tile.side, image_size=preprocess.image_size, aspect="stretch")


def read_tiles(
    slide: Slide,
    tiles: tuple[Tile, ...],
    *,
    preprocess: Preprocess,
    out: np.ndarray,
    pool: ThreadPoolExecutor,
    report: Callable[[int], None],
) -> None:
    """Reads tiles and resizes them into ``out``; no more of the slide is in memory than the tiles being read.

    Args:
        slide: The slide.
        tiles: From `osler.prepare.tiles.plan_tiles`.
        preprocess: The contract.
        out: uint8 ``(tile, size, size, 3)``.
        pool: Threads to read in.
        report: Called with the number of tiles done.

    Raises:
        DataError: If the slide is damaged.
    """

    def one(index: int) -> None:
        pixels = read_tile(slide, tiles[index])
        height, width = pixels.shape[:2]
        plan = pixel_map(width=width, height=height, image_size=preprocess.image_size, aspect="stretch")
        fit(pixels, plan=plan, out=out[index])

    for done, _ in enumerate(pool.map(one, range(len(tiles))), start=1):
        report(done)


def read_tile(slide: Slide, tile: Tile) -> np.ndarray:
    """Reads a tile: as it is, or where it is larger than 4,096 px a side, averaged over whole pixels band by band."""
    if tile.side <= _LARGEST_READ:
        return slide.pixels.read_region(level=tile.level, x=tile.x, y=tile.y, width=tile.side, height=tile.side)
    step = tile.side // PATCH
    rows = max(1, _LARGEST_READ**2 // tile.side // step) * step
    bands = []
    for top in range(0, tile.side, rows):
        height = min(rows, tile.side - top)
        band = slide.pixels.read_region(level=tile.level, x=tile.x, y=tile.y + top, width=tile.side, height=height)
        bands.append(np.asarray(PillowImage.fromarray(band).reduce(step)))
    return np.concatenate(bands)


def shown_tile(slide: Slide, tile: Tile, *, number: int) -> ShownTile:
    """Says where a tile lies on its slide."""
    width, height = slide.size
    box = tile.box
    inside = Box2D(
        x0=min(max(box.x0, 0.0), width),
        y0=min(max(box.y0, 0.0), height),
        x1=min(max(box.x1, 0.0), width),
        y1=min(max(box.y1, 0.0), height),
    )
    return ShownTile(
        number=number,
        box=box,
        pixel=inside,
        mm=slide.to_mm(inside),
        level=tile.level,
        magnification=round(tile.magnification, 2),
    )


def tiles_in_words(plan: TilePlan, *, preprocess: Preprocess) -> str:
    """Describes what is shown, such as ``"126 of 310 tissue tiles at 10x (published)"``."""
    shown = len(plan.tiles)
    powers = sorted({_power(tile.magnification) for tile in plan.tiles})
    if not plan.found:
        return f"the whole slide as one image ({preprocess.tiles})"
    if preprocess.tiles == "published":
        return f"{shown} of {plan.found} tissue tiles at {powers[0]} (published)"
    first = _power(plan.tiles[0].magnification)
    cover = sum(_power(tile.magnification) == first for tile in plan.tiles)
    detail = f", and {shown - cover} at {_power(plan.tiles[-1].magnification)}" if shown > cover else ""
    return f"{cover} of {plan.found} tissue tiles at {first}{detail} (spread)"


def tiles_left_out(plan: TilePlan, *, name: str) -> tuple[LeftOut, ...]:
    """The tissue that a plan does not show."""
    first = plan.tiles[0].magnification
    shown = sum(tile.magnification == first for tile in plan.tiles)
    if plan.found <= shown:
        return ()
    why = f"{shown} of {plan.found} tiles with tissue are shown, chosen over the whole slide"
    return (LeftOut(what=f"tiles of {name}", why=why, count=plan.found - shown),)


def slide_notes(slide: Slide, plan: TilePlan) -> tuple[str, ...]:
    """What the user should know of the slide and of the plan."""
    assumed = ()
    if slide.spacing is None:
        assumed = (f"Tiles are taken as if a pixel were {microns_of(slide):.2g} microns.",)
    return (*slide.problems, *assumed, *plan.notes)


def _power(magnification: float) -> str:
    return f"{magnification:.2g}x"
