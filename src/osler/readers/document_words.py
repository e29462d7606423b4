"""Words and where they stand on a page, and the lines that they make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Reading = Literal["text layer", "OCR"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word in the frame of an upright page: x to the right, y down, in points or pixels.

    Args:
        text: Without spaces.
        x0: Left edge. y0: Top edge. x1: Right edge. y1: Bottom edge.
        score: How sure the recognition is, 0 to 1; 1 for a text layer.
    """

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0

    @property
    def height(self) -> float:
        """Height of its box."""
        return self.y1 - self.y0

    @property
    def middle(self) -> float:
        """Half way down its box."""
        return (self.y0 + self.y1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The words of one page.

    Args:
        number: From 1.
        words: In any order.
        reading: How they were read.
        problem: Why there are none, where something failed.
    """

    number: int
    words: tuple[Word, ...]
    reading: Reading = "text layer"
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Words that stand beside each other, left to right.

    Args:
        page: Number of the page, from 1.
        words: At least one.
        reading: How they were read.
    """

    page: int
    words: tuple[Word, ...]
    reading: Reading = "text layer"

    @property
    def text(self) -> str:
        """The words; wide gaps, as between columns of a table, become tabs."""
        parts = [self.words[0].text]
        for left, right in zip(self.words, self.words[1:], strict=False):
            wide = right.x0 - left.x1 > 0.9 * max(left.height, right.height)
            parts.append(("\t" if wide else " ") + right.text)
        return "".join(parts)

    @property
    def plain(self) -> str:
        """The words with single spaces: evidence that is looked up in the document."""
        return " ".join(word.text for word in self.words)

    @property
    def score(self) -> float:
        """Of its least sure word."""
        return min(word.score for word in self.words)


def lines_of(page: Page) -> list[Line]:
    """Sorts the words of a page into lines, in reading order: columns of text one after the other."""
    words = [word for word in page.words if word.text.strip()]
    return [
        Line(page=page.number, words=tuple(line), reading=page.reading)
        for block in _columns(words)
        for line in _rows(block)
    ]


def _rows(words: Iterable[Word]) -> list[list[Word]]:
    """Words whose middles lie within each other's boxes make a row."""
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda one: one.middle):
        for row in reversed(rows[-6:]):
            if _beside(row, word):
                row.append(word)
                break
        else:
            rows.append([word])
    for row in rows:
        row.sort(key=lambda one: one.x0)
    return sorted(rows, key=lambda row: median(word.middle for word in row))


def _beside(row: Sequence[Word], word: Word) -> bool:
    """Whether a word belongs into a row: its nearest neighbor there overlaps it by more than half of the lower one."""
    near = min(row, key=lambda one: min(abs(one.x0 - word.x1), abs(word.x0 - one.x1)))
    overlap = min(near.y1, word.y1) - max(near.y0, word.y0)
    return overlap > 0.5 * min(near.height, word.height)


def _columns(words: list[Word]) -> list[list[Word]]:
    """Cuts a page of two columns of text in two; a table stays whole.

    The cut is a white strip near the middle that nothing crosses below some height. A
    table has such strips too: a column of text is told by its lines, which begin with words.
    """
    if len(words) < 40:
        return [words]
    left, right = min(word.x0 for word in words), max(word.x1 for word in words)
    best: tuple[int, float, float, float] | None = None
    for step in range(30, 71):
        cut = left + (right - left) * step / 100
        crossing = [word.y1 for word in words if word.x0 < cut < word.x1]
        top = max([y for y in crossing if y < _third(words)], default=min(word.y0 for word in words) - 1)
        low = min([y for y in crossing if y >= _third(words)], default=max(word.y1 for word in words) + 1)
        inside = [word for word in words if top < word.middle < low]
        count = len(inside)
        if (best is None or count > best[0]) and _is_text(inside, cut=cut):
            best = (count, cut, top, low)
    if best is None or best[0] < 0.5 * len(words):
        return [words]
    _, cut, top, bottom = best
    above = [word for word in words if word.middle <= top]
    body = [word for word in words if top < word.middle < bottom]
    below = [word for word in words if word.middle >= bottom]
    return [part for part in (above, [w for w in body if w.x1 <= cut], [w for w in body if w.x1 > cut], below) if part]


def _third(words: Sequence[Word]) -> float:
    """Height above which a heading may cross the cut."""
    return min(w.y0 for w in words) + (max(w.y1 for w in words) - min(w.y0 for w in words)) / 3


def _is_text(words: Sequence[Word], *, cut: float) -> bool:
    """Whether both sides of a cut look like text of their own: their lines begin with words."""
    for side in ([w for w in words if w.x1 <= cut], [w for w in words if w.x1 > cut]):
        rows = _rows(side)
        if len(rows) < 5:
            return False
        starts = sum(_is_wordy(row) for row in rows)
        if starts < 0.75 * len(rows):
            return False
    return True


def _is_wordy(row: Sequence[Word]) -> bool:
    text = row[0].text
    return len(text) >= 3 and text[0].isalpha() and "/" not in text and len(row) > 1
