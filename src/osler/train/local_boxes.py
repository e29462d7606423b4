"""Boxes of the user's table as lessons: the published question, and the answer as `osler locate` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.errors import OslerError
from osler.prepare import PreparedImages, ShownImage
from osler.study import Box2D, Box3D
from osler.tasks.box_text import TextBox, box_prompt, to_square, write_box_text
from osler.train.local_table import LocalRow

_BESIDE = 0.25
"""Share of a volume's slices that are taken from outside the box, to teach that nothing is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxLesson:
    """Question and answer about one label on one image."""

    row: LocalRow
    image: int
    question: str
    answer: str


def box_lessons(
    rows: Sequence[LocalRow], *, prepared: PreparedImages, slices: int
) -> tuple[list[BoxLesson], dict[int, str]]:
    """Turns boxes into lessons; all boxes of a label on an image are one answer.

    Args:
        rows: Of one scan.
        prepared: Under a contract with ``aspect="pad-square"``.
        slices: Images of a volume, or tiles of a slide, to teach a label on.

    Returns:
        The lessons, and the lines whose boxes have no place in the scan, with the reason.
    """
    bad: dict[int, str] = {}
    by_label: dict[str, list[LocalRow]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    lessons: list[BoxLesson] = []
    for label, mine in by_label.items():
        shown: dict[int, list[TextBox]] = {number: [] for number in range(len(prepared.images))}
        placed: list[LocalRow] = []
        for row in mine:
            if row.box is None:
                placed.append(row)
                continue
            found = _places(row, images=prepared.images)
            if isinstance(found, str):
                bad[row.line] = found
                continue
            placed.append(row)
            for number, box in found.items():
                shown[number].append(TextBox(label=label, box=box))
        if placed:
            lessons += _of_label(placed[0], shown=shown, prepared=prepared, slices=slices, bad=bad)
    return lessons, bad


def _of_label(
    row: LocalRow,
    *,
    shown: dict[int, list[TextBox]],
    prepared: PreparedImages,
    slices: int,
    bad: dict[int, str],
) -> list[BoxLesson]:
    lessons = []
    for number in _chosen(shown, images=prepared.images, slices=slices):
        try:
            answer = write_box_text(shown[number])
        except OslerError as error:
            bad[row.line] = error.problem
            continue
        lessons.append(BoxLesson(row=row, image=number, question=box_prompt(row.label), answer=answer))
    return lessons


def _chosen(shown: dict[int, list[TextBox]], *, images: Sequence[ShownImage], slices: int) -> list[int]:
    """Every single image; of slices and tiles, evenly spread ones with the label and some without."""
    many = [number for number in shown if images[number].slice is not None or images[number].tile is not None]
    alone = [number for number in shown if number not in many]
    within = [number for number in many if shown[number]]
    beside = [number for number in many if not shown[number]]
    few = min(len(beside), int(slices * _BESIDE))
    return sorted([*alone, *_spread(within, count=slices - few), *_spread(beside, count=few)])


def _spread(numbers: list[int], *, count: int) -> list[int]:
    if len(numbers) <= count:
        return numbers
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, count).round().astype(int)] if count else []


def _places(row: LocalRow, *, images: Sequence[ShownImage]) -> dict[int, Box2D] | str:
    """The box on each image that it touches, in fractions of the square, or why there is none."""
    volume = any(image.slice is not None for image in images)
    if isinstance(row.box, Box3D) and not volume:
        return "the box has z0 and z1, and the scan is not a volume"
    if isinstance(row.box, Box2D) and volume:
        return "the scan is a volume: its boxes need z0 and z1, in mm of the patient"
    places: dict[int, Box2D] = {}
    for number, image in enumerate(images):
        box = _on_image(row.box, image=image)
        if box is not None:
            places[number] = box
    return places or "the box lies outside of the scan"


def _on_image(box: Box2D | Box3D | None, *, image: ShownImage) -> Box2D | None:
    if isinstance(box, Box3D):
        if image.affine is None or image.slice is None:
            return None
        voxel = box.to_voxel(image.affine)
        # A slice is in the box if its middle is, as `osler locate` joins boxes half-way to the next slice.
        if not voxel.low[2] <= image.slice + 0.5 <= voxel.high[2]:
            return None
        size = image.pixel_map.image_size
        unit = image.from_patient(box).to_unit(width=size, height=size)
    else:
        assert box is not None
        unit = to_square(box, image=image)
    low_x, low_y, high_x, high_y = (min(max(edge, 0.0), 1.0) for edge in (unit.x0, unit.y0, unit.x1, unit.y1))
    if high_x - low_x <= 0 or high_y - low_y <= 0:
        return None
    clipped = Box2D(x0=low_x, y0=low_y, x1=high_x, y1=high_y, frame="unit")
    # The padding of a picture that is not square belongs to no scan.
    size = image.pixel_map.image_size
    return clipped if image.to_file(clipped.to_pixel(width=size, height=size)).area > 0 else None
