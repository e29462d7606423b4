"""Boxes as text, the way MedGemma 1.5 writes them, and the way back to the file and the patient.

Published (localization notebook): a JSON list of ``{"box_2d": [y0, x0, y1, x1], "label": ...}``, y first, 0 to
1000 on the image padded with zeros to a square, centered. The technical report gives 0 to 1 instead; both are
read, 0 to 1000 is written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from osler.errors import RequestError
from osler.prepare import ShownImage
from osler.study import Box2D, Box3D

BOX_SCALE = 1000
LABEL_LIMIT = 200
"""Most characters in a label."""

BOX_SCHEMA: dict[str, Any] = {
    "type": "array",
    "maxItems": 20,
    "items": {
        "type": "object",
        "properties": {
            "box_2d": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": BOX_SCALE},
                "minItems": 4,
                "maxItems": 4,
            },
            "label": {"type": "string", "maxLength": LABEL_LIMIT},
        },
        "required": ["box_2d", "label"],
        "additionalProperties": False,
    },
}
"""JSON Schema of a list of boxes; the empty list says that there is nothing to draw."""

_PROMPT = (
    "Instructions:\n"
    "The following user query will require outputting bounding boxes. The format of bounding boxes coordinates is "
    "[y0, x0, y1, x1] where (y0, x0) must be top-left corner and (y1, x1) the bottom-right corner. This implies that "
    "x0 < x1 and y0 < y1. Always normalize the x and y coordinates the range [0, 1000], meaning that a bounding box "
    "starting at 15% of the image width would be associated with an x coordinate of 150. You MUST output a single "
    "parseable json list of objects enclosed into ```json...``` brackets, for instance "
    '```json[{"box_2d": [800, 3, 840, 471], "label": "car"}, {"box_2d": [400, 22, 600, 73], "label": "dog"}]``` '
    "is a valid output. Now answer to the user query.\n\n"
    'Remember "left" refers to the patient\'s left side where the heart is and sometimes underneath an L in the '
    "upper right corner of the image.\n\n"
    "Query:\n"
    "Where is the {label}? Don't give a final answer without reasoning. Output the final answer in the format "
    '"Final Answer: X" where X is a JSON list of objects. The object needs a "box_2d" and "label" key. Answer:'
)
_LIST = re.compile(r"\[\s*(?=[\[{\]])")
_FLOAT = re.compile(r"\d*\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBox:
    """One box of a text.

    Args:
        label: As written.
        box: In fractions of the padded square.
    """

    label: str
    box: Box2D


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxText:
    """What a text says about boxes.

    Args:
        boxes: Empty where the text says that there are none, or where it is malformed.
        start: Where the list stands in the text. end: One past it.
        problem: Why the text cannot be used; empty if it can.
    """

    boxes: tuple[TextBox, ...] = ()
    start: int = 0
    end: int = 0
    problem: str = ""


def box_prompt(label: str) -> str:
    """Returns the published question for the place of a structure."""
    return _PROMPT.replace("{label}", label)


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Returns labels with their spaces tidied, each once.

    Raises:
        RequestError: If there is none, or one is empty or too long.
    """
    given = (labels,) if isinstance(labels, str) else tuple(labels)
    tidy = tuple(dict.fromkeys(" ".join(label.split()) for label in given))
    if not tidy or not all(tidy):
        raise RequestError("There is no label, or an empty one.", allowed='Names such as "right lung".')
    if longest := [label for label in tidy if len(label) > LABEL_LIMIT]:
        raise RequestError(
            f"A label of {len(longest[0])} characters.", allowed=f"At most {LABEL_LIMIT}: the name of what to find."
        )
    return tidy


def same_label(one: str, other: str) -> bool:
    """Whether two labels are the same but for case, spaces and underscores."""
    return _plain(one) == _plain(other)


def read_box_text(text: str) -> BoxText:
    """Reads the last list of boxes in a text.

    Example:
        >>> read_box_text('Final Answer: ```json[{"box_2d": [100, 200, 300, 400], "label": "heart"}]```').boxes[0].box
        Box2D(x0=0.2, y0=0.1, x1=0.4, y1=0.3, frame='unit')

    Args:
        text: What a model wrote, without its thinking.
    """
    found = list(_lists(text))
    if not found:
        return BoxText(problem="no JSON list of boxes stands in it")
    entries, start, end = found[-1]
    written = text[start:end]
    numbers = [number for entry in entries for number in _numbers(entry)]
    # Only fractions, and none of them whole: 0 to 1. A whole 1 among whole numbers is one of 1000.
    scale = 1 if numbers and max(numbers) <= 1 and _FLOAT.search(written) else BOX_SCALE
    boxes = []
    for entry in entries:
        box = _box(entry, scale=scale)
        if isinstance(box, str):
            return BoxText(start=start, end=end, problem=box)
        boxes.append(box)
    return BoxText(boxes=tuple(boxes), start=start, end=end)


def write_box_text(boxes: Sequence[TextBox]) -> str:
    """Writes boxes as published, edges rounded to thousandths of the square.

    Raises:
        RequestError: If a box is thinner than a thousandth, or not in fractions.
    """
    entries = []
    for entry in boxes:
        if entry.box.frame != "unit":
            raise RequestError("A box in pixels.", allowed="Fractions of the padded square: see to_square.")
        y0, x0, y1, x1 = (round(edge * BOX_SCALE) for edge in (entry.box.y0, entry.box.x0, entry.box.y1, entry.box.x1))
        if y0 == y1 or x0 == x1:
            raise RequestError(f"The box of {entry.label!r} is thinner than a thousandth of the image.")
        entries.append({"box_2d": [y0, x0, y1, x1], "label": entry.label})
    return f"Final Answer: ```json{json.dumps(entries, ensure_ascii=False)}```"


def to_square(box: Box2D, *, image: ShownImage) -> Box2D:
    """Maps a box in file pixels to fractions of the padded square that the network sees.

    Args:
        box: In file pixels.
        image: Prepared under a contract with ``aspect="pad-square"``.
    """
    size = _square(image)
    return image.to_model(box).to_unit(width=size, height=size)


def from_square(box: Box2D, *, image: ShownImage) -> tuple[Box2D, Box3D | None]:
    """Maps a box in fractions of the padded square to file pixels, and to patient LPS mm where there is a place.

    Args:
        box: In fractions.
        image: Prepared under a contract with ``aspect="pad-square"``.
    """
    size = _square(image)
    pixels = box.to_pixel(width=size, height=size)
    return image.to_file(pixels), None if image.affine is None else image.to_patient(pixels)


def _square(image: ShownImage) -> int:
    plan = image.pixel_map
    if plan.padded_width != plan.padded_height:
        raise RequestError(
            "An image that was stretched to the square has no published boxes.",
            next_step='Prepare it under a contract with aspect="pad-square".',
        )
    return plan.image_size


def _plain(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())


def _lists(text: str) -> Iterator[tuple[list[Any], int, int]]:
    """The JSON lists of objects (or of nothing) in a text, with where they stand."""
    decoder = json.JSONDecoder()
    past = 0
    for match in _LIST.finditer(text):
        if match.start() < past:
            continue
        try:
            entries, past = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if all(isinstance(entry, dict) for entry in entries):
            yield entries, match.start(), past


def _numbers(entry: dict[str, Any]) -> list[float]:
    edges = entry.get("box_2d")
    return [edge for edge in edges if _is_number(edge)] if isinstance(edges, list) else []


def _is_number(edge: Any) -> bool:
    return isinstance(edge, int | float) and not isinstance(edge, bool) and math.isfinite(edge)


def _box(entry: dict[str, Any], *, scale: int) -> TextBox | str:
    """A box, or what is wrong with it."""
    edges, label = entry.get("box_2d"), entry.get("label")
    if not isinstance(edges, list) or len(edges) != 4 or len(_numbers(entry)) != 4:
        return "a box_2d is not four numbers"
    if not isinstance(label, str) or not label.strip():
        return "a box has no label"
    y0, x0, y1, x1 = edges
    if min(edges) < 0 or max(edges) > scale:
        return f"a box lies outside 0 to {scale}"
    if y0 >= y1 or x0 >= x1:
        return "a box ends before it begins"
    return TextBox(label=label, box=Box2D(x0=x0 / scale, y0=y0 / scale, x1=x1 / scale, y1=y1 / scale, frame="unit"))
