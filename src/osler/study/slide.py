"""Whole slides: pyramids of pixels that are read a region at a time.

A slide's frame is its own: x to the right and y down from the upper left
corner of level 0, in mm on the glass. It says nothing of the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from osler.study.boxes import Box2D
from osler.study.pixels import Image, SliceOrigin, Units, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideLevel:
    """One level of the pyramid.

    Args:
        width: px. height: px.
        downsample: How many px of level 0 one px of this level covers, along one axis.
    """

    width: int
    height: int
    downsample: float


class SlideSource(Protocol):
    """A pyramid from which regions can be read; no more than the region is in memory."""

    @property
    def levels(self) -> tuple[SlideLevel, ...]:
        """Level 0 (the finest) first; never empty."""
        ...

    def read_region(self, *, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Returns ``(height, width, 3)`` uint8 RGB.

        Args:
            level: Which level.
            x: Left edge in px of that level. y: Upper edge.
            width: px of that level. height: px. What lies beyond the slide is white.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slide:
    """A whole slide.

    Args:
        series: Identifier within the study: Series Instance UID, or the file name.
        pixels: The pyramid.
        spacing: mm between columns and rows of level 0, ``None`` if the file does not say.
        modality: ``"SM"``.
        magnification: Of the objective, such as 20, if the file says.
        origins: The file, or the files, behind it.
        description: What people call it: the file name, or the Series Description.
        problems: What was noticed about the slide, one sentence each.
    """

    series: str
    pixels: SlideSource
    spacing: tuple[float, float] | None = None
    modality: str = "SM"
    magnification: float | None = None
    origins: tuple[SliceOrigin, ...] = ()
    description: str = ""
    body_part: str = ""
    study_uid: str = ""
    frame_of_reference: str = ""
    problems: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)`` of level 0 in px."""
        first = self.pixels.levels[0]
        return first.width, first.height

    @property
    def units(self) -> Units:
        """``"RGB"``: a slide is a picture in color."""
        return "RGB"

    def to_mm(self, box: Box2D) -> Box2D | None:
        """Maps a box in px of level 0 to mm on the slide; ``None`` if the file does not say how large a pixel is."""
        if self.spacing is None:
            return None
        across, down = self.spacing
        return Box2D(x0=box.x0 * across, y0=box.y0 * down, x1=box.x1 * across, y1=box.y1 * down, frame="slide")


Series = Volume | Image | Slide
