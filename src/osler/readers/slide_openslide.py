"""Reads whole slides by OpenSlide, where it is installed: MIRAX (MRXS), and what ``tiffslide`` cannot read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from osler.extras import import_extra
from osler.readers.slide_pyramid import LazyPyramid
from osler.readers.slide_region import check_levels
from osler.study import SlideLevel

_MPP_X, _MPP_Y, _OBJECTIVE = "openslide.mpp-x", "openslide.mpp-y", "openslide.objective-power"


class OpenSlidePyramid(LazyPyramid):
    """A slide that OpenSlide reads; what was not scanned is white."""

    def _open(self) -> Any:
        return import_extra("openslide", extra="openslide").OpenSlide(str(self.paths[0]))

    def _piece(self, slide: Any, *, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        factor = self._levels[level].downsample
        location = round(x * factor), round(y * factor)
        rgba = np.asarray(slide.read_region(location, level, (width, height)), dtype=np.uint16)
        alpha = rgba[..., 3:]
        return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def open_by_openslide(path: Path) -> tuple[OpenSlidePyramid, tuple[float, float] | None, float | None]:
    """Opens the headers of a slide.

    Args:
        path: The file.

    Returns:
        The pyramid, mm between columns and rows, and the magnification of the objective.

    Raises:
        RequestError: If OpenSlide is not installed.
        Exception: What the library raises on a file that it does not know.
    """
    openslide = import_extra("openslide", extra="openslide")
    with openslide.OpenSlide(str(path)) as slide:
        levels = tuple(
            SlideLevel(width=width, height=height, downsample=float(factor))
            for (width, height), factor in zip(slide.level_dimensions, slide.level_downsamples, strict=True)
        )
        check_levels(str(path), levels=levels)
        across, down = (_positive(slide.properties.get(key)) for key in (_MPP_X, _MPP_Y))
        power = _positive(slide.properties.get(_OBJECTIVE))
    spacing = None if across is None or down is None else (across / 1000, down / 1000)
    return OpenSlidePyramid((path,), levels=levels), spacing, power


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None
