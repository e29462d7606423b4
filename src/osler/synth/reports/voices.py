"""How each report is worded: one draw of a manner of speaking for each exam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.draws import Draws, mix

STYLES = ("narrative", "terse", "structured", "template")
LANGUAGES = ("en", "de")
_STYLE_BOUNDS = np.array([0.34, 0.60, 0.82])
_GERMAN = 0.12
_SLIPS = 0.05
_CENTIMETERS = 0.25
_HEADINGS = 6  # the third and fourth end in a line break


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voices:
    """One row an exam.

    Args:
        bits: uint64, for choices that only this report makes.
        style: Index of `STYLES`.
        language: Index of `LANGUAGES`.
        sentences: Index of `STYLES`: whose sentences it uses.
        turn: By how much the order of organs is turned.
        positives: 1 where abnormal findings come before all normal ones.
        paragraphs: 1 where each organ begins a line.
        unit: 0 for mm, 1 for cm. hyphen: 1 for "12-mm nodule".
        slips: 1 where the dictation has errors.
        items: Most items of the impression. numbering: 0 for prose, 1 numbers, 2 dashes.
        headings: Which set of section headings.
    """

    bits: np.ndarray
    style: np.ndarray
    language: np.ndarray
    sentences: np.ndarray
    turn: np.ndarray
    positives: np.ndarray
    paragraphs: np.ndarray
    unit: np.ndarray
    hyphen: np.ndarray
    slips: np.ndarray
    items: np.ndarray
    numbering: np.ndarray
    headings: np.ndarray

    def of(self, *, language: int) -> np.ndarray:
        """Rows of the exams that speak a language."""
        return np.flatnonzero(self.language == language)

    def take(self, rows: np.ndarray) -> Voices:
        """The voices of some exams."""
        return Voices(**{name: getattr(self, name)[rows] for name in self.__slots__})


def draw_voices(draws: Draws, *, exam: np.ndarray) -> Voices:
    """Draws the voice of each exam.

    Args:
        draws: With a row for each exam.
        exam: Number of each exam within its patient.
    """
    bits = draws.bits("report-voice", exam)

    def share(salt: int) -> np.ndarray:
        return choice_share(bits, salt=salt)

    style = np.searchsorted(_STYLE_BOUNDS, share(1), side="right")
    headings = (share(12) * _HEADINGS).astype(np.int64)
    spoken = np.where(share(2) < 0.6, 0, 1)
    return Voices(
        bits=bits,
        style=style,
        language=(share(3) < _GERMAN).astype(np.int64),
        sentences=np.where(style == 2, spoken, style),
        turn=(share(4) * 64).astype(np.int64),
        positives=((share(5) < 0.45) & (style < 2)).astype(np.int64),
        paragraphs=(share(6) < 0.3).astype(np.int64),
        unit=(share(7) < _CENTIMETERS).astype(np.int64),
        hyphen=(share(8) < 0.3).astype(np.int64),
        slips=(share(9) < _SLIPS).astype(np.int64),
        items=1 + (share(10) * 4).astype(np.int64),
        numbering=(share(11) * 3).astype(np.int64),
        headings=np.where(style == STYLES.index("template"), headings % 2 + 2, headings),
    )


def choice_share(bits: np.ndarray, *, salt: int) -> np.ndarray:
    """One more number in [0, 1) from the bits of a row; another for each salt."""
    return (mix(bits + np.uint64(salt)) >> np.uint64(40)).astype(np.float64) * 2.0**-24


def choose(bits: np.ndarray, *, count: np.ndarray | int, salt: int) -> np.ndarray:
    """One more whole number in [0, count) from the bits of a row."""
    return (
        (mix(bits + np.uint64(salt)) >> np.uint64(40)) * np.asarray(count).astype(np.uint64) >> np.uint64(24)
    ).astype(np.int64)
