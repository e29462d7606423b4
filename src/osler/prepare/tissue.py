"""Finding tissue on a slide: two small rules on a coarse picture of it.

*Published* (EZ-WSI, as used by MedGemma's pathology notebook): the slide at
about 1.25x in gray, averaged over each patch; tissue is what is neither
darker than 1/255 nor brighter than 0.8.

*Osler's own*: Otsu's threshold on chroma (the largest minus the smallest
channel; glass is gray, stains are not), at the same magnification, on whole
pixels; a tile counts by the share of its pixels that are stained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image as PillowImage

from osler.study import Slide

OVERVIEW_MICRONS = 8.0
"""Pixel of the picture in which tissue is looked for: 1.25x, where 10x is 1 micron."""

DARKEST, BRIGHTEST = 1, 204
"""Gray of tissue by the published rule: 1/255 and 0.8 of white, on 8 bits."""

# Compression leaves a little color on glass; no stain is paler than this.
_LEAST_CHROMA, _MOST_CHROMA = 10, 60
_MOST_OVERVIEW = 2**24
_MOST_READ = 2**26
_BAND_PIXELS = 2**24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overview:
    """A whole slide as one small picture.

    Args:
        rgb: uint8.
        factor: px of level 0 that one px of it covers, across and down.
    """

    rgb: UInt8[np.ndarray, "row column 3"]
    factor: tuple[float, float]


def overview_of(slide: Slide, *, downsample: float) -> Overview | None:
    """Reads the whole slide, reduced about ``downsample`` times by averaging, a band at a time.

    Args:
        slide: The slide.
        downsample: px of level 0 in one px of the picture; less where the slide is small.

    Returns:
        ``None`` if there is no level that is coarse enough to be read whole.
    """
    index = _overview_level(slide, downsample=downsample)
    if index is None:
        return None
    level = slide.pixels.levels[index]
    step = max(1, int(downsample / level.downsample + 0.01))
    while -(-level.width // step) * -(-level.height // step) > _MOST_OVERVIEW:
        step += 1
    rows = max(1, _BAND_PIXELS // (level.width * step)) * step
    bands = []
    for top in range(0, level.height, rows):
        height = min(rows, level.height - top)
        band = slide.pixels.read_region(level=index, x=0, y=top, width=level.width, height=height)
        bands.append(np.asarray(PillowImage.fromarray(band).reduce(step)) if step > 1 else band)
    rgb = np.concatenate(bands)
    width, height = slide.size
    # The last column and row of a reduced picture may stand for less than a whole step.
    return Overview(rgb=rgb, factor=(width * step / level.width, height * step / level.height))


def _overview_level(slide: Slide, *, downsample: float) -> int | None:
    """The coarsest level that is fine enough and can be read whole; else the finest coarser one, up to 8 times."""
    levels = slide.pixels.levels
    small = [index for index, level in enumerate(levels) if level.width * level.height <= _MOST_READ]
    fitting = [index for index in small if levels[index].downsample <= downsample * 1.01]
    if fitting:
        return max(fitting, key=lambda index: levels[index].downsample)
    coarser = [index for index in small if levels[index].downsample <= downsample * 8]
    return min(coarser, key=lambda index: levels[index].downsample, default=None)


def gray_of(rgb: UInt8[np.ndarray, "... 3"]) -> UInt8[np.ndarray, ...]:
    """Returns the luminance by the weights of ITU-R 601, rounded, as OpenCV computes it."""
    weights = np.array([9798, 19235, 3735], dtype=np.uint32)  # 0.299, 0.587, 0.114 in 15 bits
    return ((rgb.astype(np.uint32) @ weights + 16384) >> 15).astype(np.uint8)


def area_means(gray: UInt8[np.ndarray, "row column"], *, columns: int, rows: int) -> UInt8[np.ndarray, "rows columns"]:
    """Averages over a grid of equal cells, whose edges may cut pixels (OpenCV's INTER_AREA when shrinking)."""
    down = _weights(gray.shape[0], cells=rows)
    across = _weights(gray.shape[1], cells=columns)
    return np.rint(down @ gray.astype(np.float64) @ across.T).astype(np.uint8)


def published_tissue(gray: UInt8[np.ndarray, ...]) -> Bool[np.ndarray, ...]:
    """Whether averages of patches are tissue by the published rule."""
    return (gray >= DARKEST) & (gray <= BRIGHTEST)


def chroma_of(rgb: UInt8[np.ndarray, "... 3"]) -> UInt8[np.ndarray, ...]:
    """Returns the largest minus the smallest channel: 0 for gray, whatever its brightness."""
    return rgb.max(axis=-1) - rgb.min(axis=-1)


def chroma_threshold(chroma: UInt8[np.ndarray, ...]) -> int:
    """Finds the chroma above which a pixel is stained: Otsu's threshold, kept within 10 and 60.

    Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    counts = np.bincount(chroma.reshape(-1), minlength=256).astype(np.float64)
    values = np.arange(256)
    below, sums = np.cumsum(counts), np.cumsum(counts * values)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums / below - (sums[-1] - sums) / above) ** 2 * below * above
    best = int(np.nanargmax(between)) if np.isfinite(between).any() else 0
    return min(max(best, _LEAST_CHROMA), _MOST_CHROMA)


def _weights(length: int, *, cells: int) -> np.ndarray:
    """How much of each pixel lies in each cell, as shares of the cell: ``(cells, length)``."""
    edges = np.linspace(0, length, cells + 1)
    places = np.arange(length)
    overlap = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    return np.clip(overlap, 0, None) / (length / cells)
