"""Finds text that is part of a picture, by OCR on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from osler.extras import import_extra
from osler.tasks.deidentify_words import MARKERS

_SURE = 0.8
_MARGIN = 0.35
_MOST_FRAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRegion:
    """Where text stands, in px, ends excluded.

    Args:
        left: First column. top: First row. right: Column behind it. bottom: Row behind it.
        is_marker: Whether it says only which side or projection the picture is.
        characters: Letters and digits that were read.
    """

    left: int
    top: int
    right: int
    bottom: int
    is_marker: bool
    characters: int


class TextFinder:
    """Finds lines of text; the model is loaded once.

    Raises:
        RequestError: If the package for OCR is not installed.
    """

    def __init__(self) -> None:
        library = import_extra("rapidocr", extra="documents")
        self._engine: Any = library.RapidOCR(params={"Global.log_level": "critical"})

    def find(self, picture_HW3: np.ndarray) -> list[TextRegion]:
        """Finds text in an 8-bit picture; small pictures are enlarged by the library.

        Args:
            picture_HW3: uint8, ``(row, column, 3)``.
        """
        result = self._engine(np.ascontiguousarray(picture_HW3[..., ::-1]))
        if result.boxes is None:
            return []
        height, width = picture_HW3.shape[:2]
        regions = []
        for corners, text, score in zip(result.boxes, result.txts, result.scores, strict=True):
            low, high = np.min(corners, axis=0), np.max(corners, axis=0)
            # Detectors cut close: the margin takes in accents, descenders and the ends of a line.
            margin = max(2.0, _MARGIN * float(min(high - low)))
            words = re.findall(r"[A-Z0-9]+", str(text).upper())
            regions.append(
                TextRegion(
                    left=max(int(low[0] - margin), 0),
                    top=max(int(low[1] - margin), 0),
                    right=min(int(np.ceil(high[0] + margin)), width),
                    bottom=min(int(np.ceil(high[1] + margin)), height),
                    characters=sum(character.isalnum() for character in str(text)),
                    is_marker=bool(words) and all(word in MARKERS for word in words) and float(score) >= _SURE,
                )
            )
        return regions


def views(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Yields what is looked at: every frame of a few; of many, the brightest and darkest of all, and some.

    Text that stands in any frame, brighter or darker than what is behind it in the others, shows in those two.

    Args:
        frames: ``(frame, row, column)`` or ``(frame, row, column, 3)``.
    """
    count = len(frames)
    if count > _MOST_FRAMES:
        yield to_picture(frames.max(axis=0))
        yield to_picture(frames.min(axis=0))
    for index in np.unique(np.linspace(0, count - 1, min(count, _MOST_FRAMES)).round().astype(int)):
        yield to_picture(frames[index])


def to_picture(values: np.ndarray) -> np.ndarray:
    """Scales values to an 8-bit picture of three channels."""
    if values.ndim == 3 and values.dtype == np.uint8:
        return values
    low, high = (float(value) for value in np.percentile(values, (0.1, 99.9)))
    if high <= low:
        low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1)
    picture = ((values.astype(np.float32) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
