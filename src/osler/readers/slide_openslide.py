"""Reads whole slides by OpenSlide, where it is installed: MIRAX (MRXS), and what ``tiffslide`` cannot read."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from osler.extras import import_extra
from osler.readers.slide_region import check_levels, read_inside
from osler.study import SlideLevel

_MPP_X, _MPP_Y, _OBJECTIVE = "openslide.mpp-x", "openslide.mpp-y", "openslide.objective-power"


class OpenSlidePyramid:
    """A slide that OpenSlide reads, opened when the first region is read.

    Args:
        path: The file.
        levels: Its levels, from `open_by_openslide`.
    """

    def __init__(self, path: Path, *, levels: tuple[SlideLevel, ...]) -> None:
        self.path = path
        self._levels = levels
        self._lock = threading.Lock()
        self._slide: Any = None

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        """Level 0 first."""
        return self._levels

    def read_region(self, *, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See `osler.study.SlideSource.read_region`; what was not scanned is white.

        Raises:
            FileFormatError: If the file is damaged there.
        """

        def read(x: int, y: int, width: int, height: int) -> np.ndarray:
            factor = self._levels[level].downsample
            rgba = np.asarray(
                self._opened().read_region((round(x * factor), round(y * factor)), level, (width, height)),
                dtype=np.uint16,
            )
            alpha = rgba[..., 3:]
            return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

        return read_inside(
            self._levels, level=level, x=x, y=y, width=width, height=height, read=read, name=str(self.path)
        )

    def _opened(self) -> Any:
        with self._lock:
            if self._slide is None:
                self._slide = import_extra("openslide", extra="openslide").OpenSlide(str(self.path))
            return self._slide

    def __reduce__(self) -> tuple[Any, ...]:
        return _pyramid, (self.path, self._levels)


def _pyramid(path: Path, levels: tuple[SlideLevel, ...]) -> OpenSlidePyramid:
    return OpenSlidePyramid(path, levels=levels)


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
    return OpenSlidePyramid(path, levels=levels), spacing, power


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None
