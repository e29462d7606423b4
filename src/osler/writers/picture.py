"""Pictures: a sheet of what the model saw, labeled, with the question and the answer below.

The sheet shows every image that went into the model, in the order in which it
went in. Letters at the edges say to which side of the patient each edge lies:
R, L, A, P, H (head), F (feet), as radiology viewers do.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, UnidentifiedImageError

from osler.prepare.orientation import AS_STORED, Reorientation
from osler.study import Affine, Box2D
from osler.writers.text import printable

_SOFTWARE = "Osler"
_BACKGROUND = (14, 17, 22)
_PANEL = (24, 28, 36)
_TEXT = (235, 238, 243)
_MUTED = (146, 155, 170)
_ACCENT = (255, 196, 61)
_MARGIN = 28
_GAP = 10
_CAPTION = 20
_MIN_WIDTH = 720
_TILE_SIDES = ((1, 620), (2, 460), (6, 340), (12, 270), (30, 200))
_SMALLEST_SIDE = 132
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "I": "S", "S": "I"}
_SHOWN_LETTER = {"S": "H", "I": "F"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLetters:
    """Which side of the patient lies at each edge of a picture."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One image of the sheet.

    Args:
        pixels: uint8, ``(row, column)`` or ``(row, column, 3)``.
        caption: Printed below, such as ``"slice 12 of 64"``.
        aspect: Width over height as it lies in the patient (mm), so that nothing looks stretched.
        letters: Sides of the patient at the edges, if known.
        boxes: Label and box, in fractions of the image.
    """

    pixels: np.ndarray
    caption: str = ""
    aspect: float = 1.0
    letters: EdgeLetters | None = None
    boxes: tuple[tuple[str, Box2D], ...] = ()


def edge_letters(affine: Affine, *, turn: Reorientation = AS_STORED) -> EdgeLetters:
    """Tells which side of the patient each edge of a slice faces.

    Args:
        affine: Of the stored slice.
        turn: How the slice was turned before it was shown.

    Example:
        >>> edge_letters(Affine.from_parts())
        EdgeLetters(left='R', right='L', top='A', bottom='P')
    """
    column, row = turn.axes(affine)
    left, right, top, bottom = (_SHOWN_LETTER.get(c, c) for c in (_OPPOSITE[column], column, _OPPOSITE[row], row))
    return EdgeLetters(left=left, right=right, top=top, bottom=bottom)


def draw_sheet(tiles: Sequence[Tile], *, title: str, body: str = "", footer: str = "") -> Image.Image:
    """Draws tiles in a grid with the title above, and the body and the footer below.

    Args:
        tiles: What the model saw; may be empty (a question without an image).
        title: The question, or what the sheet shows.
        body: The answer.
        footer: Model, preprocessing hash and the safety note.
    """
    side = next((side for count, side in _TILE_SIDES if len(tiles) <= count), _SMALLEST_SIDE)
    columns = _columns(len(tiles))
    width = max(_MIN_WIDTH, columns * (side + _GAP) - _GAP + 2 * _MARGIN)
    title_lines = _wrapped(title, font=_font(22), width=width - 2 * _MARGIN)
    body_lines = _wrapped(body, font=_font(19), width=width - 2 * _MARGIN)
    footer_lines = _wrapped(footer, font=_font(13), width=width - 2 * _MARGIN)
    rows = -(-len(tiles) // columns) if tiles else 0
    grid_height = rows * (side + _CAPTION + _GAP)
    heights = (len(title_lines) * 30 + 14, grid_height, len(body_lines) * 27 + 14, len(footer_lines) * 19)
    sheet = Image.new("RGB", (width, sum(heights) + 2 * _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    y = _lines(draw, title_lines, y=_MARGIN, size=22, step=30, color=_TEXT) + 14
    left = (width - (columns * (side + _GAP) - _GAP)) // 2
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        corner = (left + column * (side + _GAP), y + row * (side + _CAPTION + _GAP))
        _draw_tile(sheet, tile, corner=corner, side=side)
    y = _lines(draw, body_lines, y=y + grid_height, size=19, step=27, color=_ACCENT) + 14
    _lines(draw, footer_lines, y=y, size=13, step=19, color=_MUTED)
    return sheet


def encode_png(picture: Image.Image) -> bytes:
    """Encodes as PNG, marked as Osler's own and with nothing else in its metadata."""
    marks = PngImagePlugin.PngInfo()
    marks.add_text("Software", _SOFTWARE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=marks)
    return buffer.getvalue()


def is_own_picture(path: Path) -> bool:
    """Whether a file is a picture that `encode_png` made, and so may be overwritten."""
    try:
        with Image.open(path) as picture:
            return picture.format == "PNG" and picture.info.get("Software") == _SOFTWARE
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return False


def _columns(count: int) -> int:
    """Columns of a grid that is a little wider than high."""
    for limit, columns in ((1, 1), (2, 2), (6, 3), (12, 4), (30, 6)):
        if count <= limit:
            return columns
    return 10


def _draw_tile(sheet: Image.Image, tile: Tile, *, corner: tuple[int, int], side: int) -> None:
    """Draws one image into its square cell: pixels in true proportions, letters, boxes, caption."""
    x, y = corner
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((x, y, x + side - 1, y + side - 1), fill=_PANEL)
    width = side if tile.aspect >= 1 else max(1, round(side * tile.aspect))
    height = side if tile.aspect <= 1 else max(1, round(side / tile.aspect))
    x0, y0 = x + (side - width) // 2, y + (side - height) // 2
    picture = Image.fromarray(tile.pixels).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    sheet.paste(picture, (x0, y0))
    for label, box in tile.boxes:
        edges = (x0 + box.x0 * width, y0 + box.y0 * height, x0 + box.x1 * width, y0 + box.y1 * height)
        draw.rectangle(edges, outline=_ACCENT, width=2)
        # In a small box the label would hide what it names: it stands above, or below at the upper edge.
        roomy = edges[3] - edges[1] >= 40 and edges[2] - edges[0] >= 80
        spot, anchor = ((edges[0] + 3, edges[1] + 2), "la") if roomy else ((edges[0], edges[1] - 3), "ld")
        if not roomy and edges[1] - y0 < 20:
            spot, anchor = (edges[0], edges[3] + 3), "la"
        _stamp(draw, printable(label), at=spot, anchor=anchor, size=13, color=_ACCENT)
    if tile.letters is not None:
        size = 15 if side >= 200 else 12
        spots = (
            (tile.letters.left, (x + 5, y + side // 2), "lm"),
            (tile.letters.right, (x + side - 5, y + side // 2), "rm"),
            (tile.letters.top, (x + side // 2, y + 4), "ma"),
            (tile.letters.bottom, (x + side // 2, y + side - 4), "md"),
        )
        for letter, at, anchor in spots:
            _stamp(draw, letter, at=at, anchor=anchor, size=size, color=_TEXT)
    caption = _fitted(printable(tile.caption), font=_font(12), width=side)
    draw.text((x + side // 2, y + side + 3), caption, font=_font(12), fill=_MUTED, anchor="ma")


def _stamp(
    draw: ImageDraw.ImageDraw,
    text: str,
    *,
    at: tuple[float, float],
    anchor: str,
    size: int,
    color: tuple[int, int, int],
) -> None:
    """Writes on pixels of any brightness: light text with a dark rim."""
    draw.text(at, text, font=_font(size), fill=color, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _lines(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], *, y: int, size: int, step: int, color: tuple[int, int, int]
) -> int:
    """Writes lines from the left margin down; returns where the next would start."""
    for line in lines:
        draw.text((_MARGIN, y), line, font=_font(size), fill=color)
        y += step
    return y


def _wrapped(text: str, *, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Breaks text into lines that fit the width (px); a long question or answer is cut with an ellipsis."""
    lines: list[str] = []
    for paragraph in printable(text).replace("\t", " ").splitlines():
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if font.getlength(longer) <= width:
                line = longer
                continue
            if line:
                lines.append(line)
            line = _fitted(word, font=font, width=width)
        lines.append(line)
    most = 40
    return lines if len(lines) <= most else [*lines[: most - 1], "…"]


def _fitted(text: str, *, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, shortened at its end until it fits the width (px)."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
