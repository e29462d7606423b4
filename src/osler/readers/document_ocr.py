"""Words of a picture, recognized by `rapidocr`, whose models are part of its package.

Runs in the process of `osler.readers.document_worker`. It writes no log and opens no connection.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from osler.readers.document_words import Word

_SURE = 0.8
_LONGEST_SIDE = 2400
_MOST_SKEW = 0.35
_ENOUGH_LINES = 5
_PARAMETERS = {
    "Global.log_level": "critical",
    "Global.use_cls": False,
    "Global.max_side_len": _LONGEST_SIDE,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}
Box = tuple[np.ndarray, str, float]
"""Four corners (4, 2) clockwise from the top left of the text, the text, the score."""


class TextRecognizer:
    """Finds and recognizes text; loads its models once."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        self._engine: Any = RapidOCR(params=dict(_PARAMETERS))
        logging.getLogger("RapidOCR").disabled = True  # its lines may quote what was read

    def words(self, picture_HWC: np.ndarray) -> list[Word]:
        """Recognizes a page that lies in any quarter turn and somewhat crooked.

        Args:
            picture_HWC: RGB, uint8.

        Returns:
            Words in the frame of the page turned upright and straightened, px.
        """
        boxes = self._boxes(picture_HWC)
        if not boxes:
            return []
        turns = self._candidate_turns(boxes)
        best = (_quality(boxes), boxes)
        for turn in turns:
            turned = self._boxes(np.ascontiguousarray(np.rot90(picture_HWC, turn)))
            best = max(best, (_quality(turned), turned), key=lambda entry: entry[0])
        return _straight(best[1])

    def _candidate_turns(self, boxes: Sequence[Box]) -> tuple[int, ...]:
        """Quarter turns to try: none where the text is recognized well as it is."""
        tall = sum(_side(corners, 1) > 1.5 * _side(corners, 0) for corners, text, _ in boxes if len(text) > 2)
        if tall > 0.5 * sum(len(text) > 2 for _, text, _ in boxes):
            return (1, 3)
        mean = sum(score * len(text) for _, text, score in boxes) / sum(len(text) for _, text, _ in boxes)
        return () if mean >= _SURE else (2, 1, 3)

    def _boxes(self, picture_HWC: np.ndarray) -> list[Box]:
        found = self._engine(picture_HWC[..., ::-1])
        if found.boxes is None or found.txts is None:
            return []
        return [
            (np.asarray(corners, dtype=float), text, float(score))
            for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
            if text.strip()
        ]


def _quality(boxes: Sequence[Box]) -> float:
    """Letters that were recognized, each by its score beyond a guess; upright lines only."""
    return sum(
        len(text) * max(score - 0.5, 0.0) for corners, text, score in boxes if _side(corners, 0) >= _side(corners, 1)
    )


def _side(corners: np.ndarray, number: int) -> float:
    return float(np.hypot(*(corners[number + 1] - corners[number])))


def _straight(boxes: Sequence[Box]) -> list[Word]:
    """Turns all boxes by the angle of the long ones, and cuts each into words."""
    angle = _skew(boxes)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    words: list[Word] = []
    for corners, text, score in boxes:
        x, y = (corners @ turn.T).T
        words += _split(
            text, x0=(x[0] + x[3]) / 2, x1=(x[1] + x[2]) / 2, y0=(y[0] + y[1]) / 2, y1=(y[2] + y[3]) / 2, score=score
        )
    return words


def _skew(boxes: Sequence[Box]) -> float:
    """By which angle (radians) the page lies crooked: that of its long lines, else the one at which cells line up."""
    long_ones = [
        math.atan2(*(corners[1] - corners[0])[::-1])
        for corners, _, _ in boxes
        if _side(corners, 0) > 5 * _side(corners, 1)
    ]
    if len(long_ones) >= _ENOUGH_LINES:
        angle = float(np.median(long_ones))
        return angle if abs(angle) < _MOST_SKEW else 0.0
    middles = np.array([corners.mean(axis=0) for corners, _, _ in boxes])
    height = float(np.median([_side(corners, 1) for corners, _, _ in boxes]))
    angles = np.arange(-_MOST_SKEW / 2, _MOST_SKEW / 2, math.radians(0.25))
    angles = angles[np.argsort(np.abs(angles))]  # of equals, the straightest
    return float(max(angles, key=lambda angle: _lined_up(middles, angle=angle, height=height)))


def _lined_up(middles: np.ndarray, *, angle: float, height: float) -> float:
    """How closely boxes stand in rows when the page is turned by an angle: near pairs count most."""
    y = middles[:, 1] * math.cos(angle) - middles[:, 0] * math.sin(angle)
    apart = np.abs(y[:, None] - y[None])
    return float(np.exp(-((apart / (0.25 * height)) ** 2)).sum())


def _split(text: str, *, x0: float, x1: float, y0: float, y1: float, score: float) -> list[Word]:
    """Cuts recognized text at its spaces; the letters are taken to be equally wide."""
    step = (x1 - x0) / max(len(text), 1)
    # The detector's boxes are larger than the letters: without the rim, lines do not overlap.
    rim = 0.15 * (y1 - y0)
    words, place = [], 0
    for part in text.split(" "):
        if part:
            words.append(Word(part, x0 + step * place, y0 + rim, x0 + step * (place + len(part)), y1 - rim, score))
        place += len(part) + 1
    return words
