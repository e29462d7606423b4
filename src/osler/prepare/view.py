"""A picture of what the network sees.

A contact sheet: one tile an image, in the order of the prompt, made from the
very pixels that the network is fed (stretched to its square, windows as
colors), with slice numbers and, where the file has a geometry, the letters of
the patient's sides: L left, R right, A front, P back, S head, I feet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from osler.errors import RequestError
from osler.prepare.images import PreparedImages
from osler.prepare.inputs import ModelInputs
from osler.prepare.pixels import ShownImage
from osler.study import Affine, UsedSeries

_BACKGROUND = (18, 20, 24)
_TEXT = (232, 234, 237)
_FAINT = (154, 160, 166)
_LETTER = (255, 214, 90)
_SHADOW = (0, 0, 0)
_MARGIN = 24
_GAP = 8
_CAPTION = 22
_OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLetters:
    """The side of the patient at each edge of an image."""

    left: str
    right: str
    top: str
    bottom: str


def edge_letters(affine: Affine) -> EdgeLetters:
    """Returns which side of the patient lies at each edge of a slice.

    Example:
        >>> from osler.study import Affine
        >>> edge_letters(Affine.from_parts()).left  # columns grow to the patient's left
        'R'
    """
    columns, rows = affine.orientation[0], affine.orientation[1]
    return EdgeLetters(left=_OPPOSITE[columns], right=columns, top=_OPPOSITE[rows], bottom=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """The images of one series on the sheet."""

    heading: str
    detail: str
    first: int
    images: tuple[ShownImage, ...]


def contact_sheet(
    shown: PreparedImages | ModelInputs, *, title: str = "", columns: int | None = None, tile: int | None = None
) -> PillowImage.Image:
    """Draws what the network sees as one picture.

    Args:
        shown: Prepared images, or the inputs of a request.
        title: A line on top, such as the path; empty for none.
        columns: Tiles in a row, or ``None`` to choose by their number.
        tile: Side of a tile in px, or ``None`` to choose by their number.

    Returns:
        An RGB picture.

    Raises:
        RequestError: If there is no image to show.
    """
    count = len(shown.images)
    if count == 0:
        raise RequestError("There is no image to draw.", next_step="Open a study that has a series.")
    columns = columns or _columns(count)
    tile = tile or _tile(count)
    sections = _sections(shown)
    fonts = {size: ImageFont.load_default(size=size) for size in (13, 15, 20)}
    heading = 56
    head = _MARGIN + (36 if title else 0)
    rows = [-(-len(section.images) // columns) for section in sections]
    width = max(columns * (tile + _GAP) - _GAP, 560) + 2 * _MARGIN
    height = head + sum(heading + row * (tile + _CAPTION + _GAP) for row in rows) + 44
    sheet = PillowImage.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, _MARGIN - 4), _cut(title, font=fonts[20], width=width - 2 * _MARGIN), _TEXT, fonts[20])
    y = head
    for section, row in zip(sections, rows, strict=True):
        draw.text((_MARGIN, y + 4), _cut(section.heading, font=fonts[15], width=width - 48), _TEXT, fonts[15])
        draw.text((_MARGIN, y + 26), _cut(section.detail, font=fonts[13], width=width - 48), _FAINT, fonts[13])
        y += heading
        for place, image in enumerate(section.images):
            left = _MARGIN + place % columns * (tile + _GAP)
            top = y + place // columns * (tile + _CAPTION + _GAP)
            picture = PillowImage.fromarray(shown.pixels.rgb[section.first + place])
            _draw_tile(sheet, picture, image=image, left=left, top=top, tile=tile, fonts=fonts)
        y += row * (tile + _CAPTION + _GAP)
    draw.text((_MARGIN, height - 34), _footer(shown), _FAINT, fonts[13])
    return sheet


def tile_picture(shown: PreparedImages | ModelInputs, *, index: int, side: int = 512) -> PillowImage.Image:
    """Draws one image that the network sees, with its slice number and side letters.

    Args:
        shown: Prepared images, or the inputs of a request.
        index: Place of the image in the prompt, from 0.
        side: Side of the picture, px.

    Raises:
        RequestError: If there is no such image.
    """
    if not 0 <= index < len(shown.images):
        raise RequestError(f"Image {index} was asked for.", allowed=f"0 to {len(shown.images) - 1}.")
    sheet = PillowImage.new("RGB", (side, side + _CAPTION), _BACKGROUND)
    fonts = {size: ImageFont.load_default(size=size) for size in (13, 15, 20)}
    picture = PillowImage.fromarray(shown.pixels.rgb[index])
    _draw_tile(sheet, picture, image=shown.images[index], left=0, top=0, tile=side, fonts=fonts)
    return sheet


def _columns(count: int) -> int:
    for limit, columns in ((1, 1), (4, 2), (9, 3), (24, 6), (48, 8)):
        if count <= limit:
            return columns
    return 10


def _tile(count: int) -> int:
    for limit, tile in ((1, 640), (4, 420), (9, 320), (24, 220), (48, 180)):
        if count <= limit:
            return tile
    return 152


def _sections(shown: PreparedImages | ModelInputs) -> list[_Section]:
    """Cuts the images at the borders of the series."""
    sections: list[_Section] = []
    first = 0
    for used in shown.used:
        count = len(used.slices) or 1
        images = shown.images[first : first + count]
        sections.append(_Section(heading=_heading(used), detail=_detail(used, images[0]), first=first, images=images))
        first += count
    return sections


def _heading(used: UsedSeries) -> str:
    parts = [used.modality or "unknown modality", used.description or used.series]
    return "  ".join(part for part in parts if part)


def _detail(used: UsedSeries, image: ShownImage) -> str:
    width, height = image.size
    parts = [f"{width}x{height} px"]
    if used.slices:
        parts.insert(0, f"{len(used.slices)} of {used.of} slices")
    if image.affine is not None:
        if used.slices:
            parts.append(f"{image.affine.plane}, {image.affine.spacing[2]:.4g} mm apart")
        parts.append(f"{image.affine.spacing[0]:.3g}x{image.affine.spacing[1]:.3g} mm px")
    parts.append(f"shown: {used.view}" if used.view else "")
    parts.append(f"{used.tokens} tokens")
    return "   ".join(part for part in parts if part)


def _footer(shown: PreparedImages | ModelInputs) -> str:
    preprocess = shown.pixels.preprocess
    parts = [f"Preprocessing {preprocess.short_hash}, {preprocess.image_size} px, {preprocess.aspect}"]
    if any(used.view == "CT windows" for used in shown.used):
        windows = zip(("red", "green", "blue"), preprocess.ct_windows, strict=True)
        parts.append(", ".join(f"{color} {window.low:g}..{window.high:g} HU" for color, window in windows))
    return "   ".join(parts)


def _draw_tile(
    sheet: PillowImage.Image,
    picture: PillowImage.Image,
    *,
    image: ShownImage,
    left: int,
    top: int,
    tile: int,
    fonts: dict[int, _Font],
) -> None:
    sheet.paste(picture.resize((tile, tile), resample=PillowImage.Resampling.BICUBIC), (left, top))
    draw = ImageDraw.Draw(sheet)
    font = fonts[13] if tile < 400 else fonts[20]
    if image.affine is not None:
        letters = edge_letters(image.affine)
        middle, inset = tile // 2, 4
        _outlined(draw, (left + inset, top + middle), letters.left, anchor="lm", font=font)
        _outlined(draw, (left + tile - inset, top + middle), letters.right, anchor="rm", font=font)
        _outlined(draw, (left + middle, top + inset), letters.top, anchor="mt", font=font)
        _outlined(draw, (left + middle, top + tile - inset), letters.bottom, anchor="mb", font=font)
    caption = _cut(_caption(image), font=fonts[13], width=tile)
    draw.text((left, top + tile + 3), caption, _FAINT, fonts[13])


def _caption(image: ShownImage) -> str:
    """``SLICE 3`` as the prompt says it, and the file's own index where they differ."""
    if image.slice is None:
        return image.modality or "image"
    return f"SLICE {image.number}  (index {image.slice})"


def _outlined(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, *, anchor: str, font: _Font) -> None:
    draw.text(place, text, _LETTER, font, anchor=anchor, stroke_width=2, stroke_fill=_SHADOW)


def _cut(text: str, *, font: _Font, width: int) -> str:
    """Shortens a text in the middle until it fits, because paths differ at both ends."""
    if font.getlength(text) <= width:
        return text
    keep: Sequence[int] = range(len(text) // 2, 0, -1)
    for half in keep:
        shorter = f"{text[:half]}...{text[-half:]}"
        if font.getlength(shorter) <= width:
            return shorter
    return ""
