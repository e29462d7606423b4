"""Slides whose pixels are arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.readers.slide_region import read_inside
from osler.study import Slide, SlideLevel, Study, TimePoint

GLASS, STAIN = 244, (180, 90, 170)


@dataclass(frozen=True, eq=False)
class ArrayPyramid:
    """A pyramid of arrays, the finest first; counts the pixels that were read."""

    arrays: tuple[np.ndarray, ...]
    reads: list[int]

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        sizes = [(array.shape[1], array.shape[0]) for array in self.arrays]
        return tuple(SlideLevel(width=w, height=h, downsample=sizes[0][0] / w) for w, h in sizes)

    def read_region(self, *, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        self.reads.append(width * height)
        array = self.arrays[level]
        return read_inside(
            self.levels, level=level, x=x, y=y, width=width, height=height, name="slide",
            read=lambda x, y, width, height: array[y : y + height, x : x + width],
        )  # fmt: skip


def slide_of(array: np.ndarray, *, steps: tuple[int, ...] = (), microns: float | None = 8.0, name: str = "s") -> Slide:
    """A slide of one array and of levels that take every n-th pixel of it."""
    arrays = (array, *(array[::step, ::step] for step in steps))
    size = None if microns is None else (microns / 1000, microns / 1000)
    return Slide(series=name, pixels=ArrayPyramid(arrays, []), spacing=size)


def study_of(*slides: Slide) -> Study:
    return Study(timepoints=(TimePoint(series=slides),))


def stained_cells(mask: np.ndarray, *, side: int, extra: tuple[int, int] = (0, 0), seed: int = 0) -> np.ndarray:
    """Glass with stained squares where ``mask`` is true, of ``side`` px, each with a shade of its own.

    Args:
        extra: Columns and rows of glass to the right and below.
    """
    rows, columns = mask.shape
    pixels = np.full((rows * side + extra[1], columns * side + extra[0], 3), GLASS, dtype=np.uint8)
    shades = np.random.RandomState(seed).permutation(rows * columns).reshape(rows, columns) % 60
    for row, column in np.argwhere(mask):
        place = (slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
        pixels[place] = np.array(STAIN) - (0, shades[row, column], 0)
    return pixels
