"""The worst cases of a set as one picture: what was right, what was said, where.

Truth boxes are green, the model's are red.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from osler.errors import OslerError
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import EvaluationSet

MOST = 6
_TILE = 300
_CAPTION = 92
_COLUMNS = 3
_GREEN, _RED = (60, 220, 90), (255, 70, 60)
_LINE = 46


@runtime_checkable
class Drawable(Protocol):
    """A set whose cases are not picture files but can be drawn."""

    def gray(self, row: Row) -> np.ndarray | None:
        """Returns what a row was asked about, (row, column) uint8, or ``None`` where it cannot be drawn."""
        ...


def worst_rows(rows: Sequence[Row], *, measure: Measure, most: int = MOST) -> list[Row]:
    """The rows of which the model was most wrong, worst first; one a case, right ones never.

    Args:
        rows: Of a set. measure: Whose values count.
        most: Rows at most.
    """
    wrong = sorted(((_wrongness(row, measure=measure), row) for row in rows), key=lambda pair: -pair[0])
    once: dict[str, Row] = {}
    for wrongness, row in wrong:
        if wrongness > 0:
            once.setdefault(row.case.rpartition("#")[0] or row.case, row)
    return list(once.values())[:most]


def draw_worst(one: EvaluationSet, rows: Sequence[Row]) -> bytes | None:
    """Draws rows as tiles with their question, answer and truth; PNG, or ``None`` where none has a picture."""
    tiles = [tile for row in rows if (tile := _tile(one, row)) is not None]
    if not tiles:
        return None
    columns = min(_COLUMNS, len(tiles))
    lines = -(-len(tiles) // columns)
    sheet = Picture.new("RGB", (columns * _TILE, lines * (_TILE + _CAPTION)), (16, 16, 16))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * _TILE, number // columns * (_TILE + _CAPTION)))
    out = io.BytesIO()
    sheet.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _wrongness(row: Row, *, measure: Measure) -> float:
    if MODEL not in row.values.get(measure.field, {}):
        return 0.0
    first, second = row.values[measure.field][MODEL]
    if measure.kind in ("auroc", "calibration_error"):
        return max(abs(first - second) - 0.5, 0.0)
    return 1.0 - first / second if second else 0.0


def _tile(one: EvaluationSet, row: Row) -> Picture.Image | None:
    try:
        if "file" in row.picture:
            with Picture.open(row.picture["file"]) as opened:
                shown = opened.convert("RGB")
        elif isinstance(one, Drawable) and (gray := one.gray(row)) is not None:
            shown = Picture.fromarray(gray).convert("RGB")
        else:
            return None
    except (OSError, OslerError):
        return None
    scale = _TILE / max(shown.size)
    shown = shown.resize((max(round(shown.width * scale), 1), max(round(shown.height * scale), 1)))
    draw = ImageDraw.Draw(shown)
    for name, color in (("truth", _GREEN), ("said", _RED)):
        if box := row.picture.get(name):
            draw.rectangle([edge * scale for edge in box], outline=color, width=2)
    tile = Picture.new("RGB", (_TILE, _TILE + _CAPTION), (16, 16, 16))
    tile.paste(shown, ((_TILE - shown.width) // 2, (_TILE - shown.height) // 2))
    lines = [*_wrapped(f"{row.case}", 1), *_wrapped(f"asked: {row.asked}", 2)]
    lines += [*_wrapped(f"truth: {row.truth}", 1), *_wrapped(f"said: {row.said}", 2)]
    ImageDraw.Draw(tile).text((4, _TILE + 3), "\n".join(lines), fill=(235, 235, 235), spacing=3)
    return tile


def _wrapped(text: str, most: int) -> list[str]:
    plain = text.encode("latin-1", "replace").decode("latin-1")  # what the built-in font can draw
    return textwrap.wrap(" ".join(plain.split()), _LINE, max_lines=most, placeholder=" ...")
