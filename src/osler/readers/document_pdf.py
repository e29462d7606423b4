"""Words of a PDF page from its text layer, and the page as a picture, by `pypdfium2`.

Runs in the process of `osler.readers.document_worker`, which may be stopped at any time.
Scripts and attachments of a PDF are never looked at.
"""

from __future__ import annotations

import ctypes
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.readers.document_words import Word

if TYPE_CHECKING:
    import pypdfium2

_MOST_CHARACTERS = 100_000
_ENOUGH_CHARACTERS = 16
_LONGEST_SIDE = 2400
_DPI = 200


def has_text(words: list[Word]) -> bool:
    """Whether a text layer can be used: enough characters, and no private or replacement ones."""
    text = "".join(word.text for word in words)
    odd = sum(char == "\ufffd" or "\ue000" <= char <= "\uf8ff" or not char.isprintable() for char in text)
    return len(text) >= _ENOUGH_CHARACTERS and odd < 0.1 * len(text)


def text_words(page: pypdfium2.PdfPage) -> list[Word]:
    """Reads the words of a page's text layer, upright as it is shown.

    Returns:
        Words in the order of the file, in points from the top left corner.
    """
    import pypdfium2.raw as pdfium

    text = page.get_textpage()
    try:
        count = min(text.count_chars(), _MOST_CHARACTERS)
        chars = [_char(pdfium, text.raw, index) for index in range(count)]
    finally:
        text.close()
    width, height = page.get_size()
    chars = [char for char in chars if char is not None]
    turned = _turned(chars)
    placed = [(char[0], *_upright(char[1:5], size=(width, height), turn=turned)) for char in chars]
    return _words(placed)


def render(page: pypdfium2.PdfPage) -> np.ndarray:
    """Draws a page as RGB, uint8 (row, column, 3), at 200 dpi or less where it is large."""
    width, height = page.get_size()
    scale = min(_DPI / 72, _LONGEST_SIDE / max(width, height, 1.0))
    picture = page.render(scale=scale, may_draw_forms=False, rev_byteorder=True, prefer_bgrx=False)
    array = picture.to_numpy()
    if array.ndim == 2:
        array = array[..., None]
    return np.ascontiguousarray(np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3])


def has_ink(page: pypdfium2.PdfPage) -> bool:
    """Whether anything is drawn on a page."""
    return next(iter(page.get_objects(max_depth=2)), None) is not None


def _char(pdfium: Any, text: Any, index: int) -> tuple[str, float, float, float, float, float] | None:
    """A character, its box (left, bottom, right, top) and its angle; a space has no box of its own."""
    code = pdfium.FPDFText_GetUnicode(text, index)
    char = chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
    if char.isspace() or char in "\x00\u00ad\ufffe\uffff":
        return (" ", 0.0, 0.0, 0.0, 0.0, 0.0)
    if char == "\x02":  # PDFium's mark for a hyphen at the end of a line
        char = "-"
    box = pdfium.FS_RECTF()
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    if not pdfium.FPDFText_GetLooseCharBox(text, index, box):
        if not pdfium.FPDFText_GetCharBox(text, index, left, right, bottom, top):
            return None
        return (char, left.value, bottom.value, right.value, top.value, pdfium.FPDFText_GetCharAngle(text, index))
    return (char, box.left, box.bottom, box.right, box.top, pdfium.FPDFText_GetCharAngle(text, index))


def _turned(chars: list[tuple[str, float, float, float, float, float]]) -> int:
    """By how many quarter turns most of the text stands on the page as it is shown."""
    angles = [round(char[5] / 1.5708) % 4 for char in chars if char[0] != " "]
    return statistics.mode(angles) if angles else 0


def _upright(
    box: tuple[float, float, float, float], *, size: tuple[float, float], turn: int
) -> tuple[float, float, float, float]:
    """A box in the frame in which most of the text is upright: x0, y0, x1, y1 with y down."""
    left, bottom, right, top = box
    width, height = size
    if turn == 1:
        return bottom, left, top, right
    if turn == 2:
        return width - right, bottom, width - left, top
    if turn == 3:
        return height - top, width - right, height - bottom, width - left
    return left, height - top, right, height - bottom


def _words(chars: list[tuple[str, float, float, float, float]]) -> list[Word]:
    """Joins characters that touch; a space, a gap or another line ends a word."""
    words: list[Word] = []
    part: list[tuple[str, float, float, float, float]] = []
    for char in chars:
        if char[0] == " " or (part and not _touches(part[-1], char)):
            words += _word(part)
            part = []
        if char[0] != " ":
            part.append(char)
    return words + _word(part)


def _touches(left: tuple[str, float, float, float, float], right: tuple[str, float, float, float, float]) -> bool:
    height = max(left[4] - left[2], right[4] - right[2], 1.0)
    return -0.5 * height < right[1] - left[3] < 0.22 * height and abs(right[4] - left[4]) < 0.5 * height


def _word(part: list[tuple[str, float, float, float, float]]) -> list[Word]:
    if not part:
        return []
    text = "".join(char[0] for char in part)
    return [
        Word(text, min(c[1] for c in part), min(c[2] for c in part), max(c[3] for c in part), max(c[4] for c in part))
    ]
