"""The order of images and text in a user turn.

Published (MedGemma 1.5): an instruction, then for each slice its image and
``SLICE n`` (n counts the slices shown, from 1), the question last. An X-ray is
image, then question; a prior stands before the current image, and only the
order tells them apart.

Labeled (Osler's own, for weights trained with it): the same, and where a study
has several time points or series, a line such as ``STUDY 2 (2021-09-05, 184
days later)`` or ``SERIES 1`` stands before the images it speaks of. Labels
never name the modality, plane or body part: the model has to look.

Slabs (volumes read as volumes, in either style): an image is a group of slabs,
and ``SLICES 1-12`` behind it counts the slices of the series.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from osler.prepare.chat import ImageSlot, Part
from osler.prepare.contract import PromptStyle


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSeries:
    """What the prompt says of one series.

    Args:
        timepoint: Number of its time point among those shown, from 0, oldest first.
        date: Day of the time point, if known.
        images: Images shown.
        kind: ``"volume"`` (each image gets ``SLICE n``), ``"slabs"`` (each gets its label), ``"slide"`` or
            ``"image"``.
        tokens: Soft tokens of one image; 0 for those of the contract.
        labels: What stands behind each image of ``"slabs"``.
        caption: What stands before the image of ``"image"``; may be empty.
    """

    timepoint: int
    date: dt.date | None
    images: int
    kind: str
    tokens: int = 0
    labels: tuple[str, ...] = ()
    caption: str = ""


def study_parts(
    shown: Sequence[ShownSeries], *, style: PromptStyle, instruction: str, question: str
) -> tuple[Part, ...]:
    """Returns texts and image slots of the user turn, the question last."""
    parts: list[Part] = []
    if instruction and any(series.kind in ("volume", "slabs") for series in shown):
        parts.append(instruction)
    number = 0
    for index, series in enumerate(shown):
        if style == "labeled":
            label = _label(shown, index=index)
            parts.extend([label] if label else [])
            number = 0
        parts.extend([series.caption] if series.caption else [])
        for image in range(series.images):
            parts.append(ImageSlot(tokens=series.tokens))
            if series.kind == "volume":
                number += 1
                parts.append(f"SLICE {number}")
            elif series.kind == "slabs":
                parts.append(series.labels[image])
    parts.append(question)
    return tuple(parts) if style == "published" else _joined(parts)


def slice_numbers(shown: Sequence[ShownSeries], *, style: PromptStyle) -> tuple[int | None, ...]:
    """Returns the n of ``SLICE n`` for each image, ``None`` for a single image; nothing for slabs."""
    numbers: list[int | None] = []
    number = 0
    for series in (series for series in shown if series.kind != "slabs"):
        number = 0 if style == "labeled" else number
        for _ in range(series.images):
            number += series.kind == "volume"
            numbers.append(number if series.kind == "volume" else None)
    return tuple(numbers)


def _label(shown: Sequence[ShownSeries], *, index: int) -> str:
    """The lines before a series, empty where there is nothing to tell apart."""
    series = shown[index]
    lines: list[str] = []
    first = index == 0 or shown[index - 1].timepoint != series.timepoint
    if shown[-1].timepoint > 0 and first:
        lines.append(_study_line(shown, series=series))
    alike = [other for other in shown if other.timepoint == series.timepoint]
    if len(alike) > 1:
        before = sum(other.timepoint == series.timepoint for other in shown[:index])
        lines.append(f"SERIES {before + 1}")
    return "\n".join(lines)


def _study_line(shown: Sequence[ShownSeries], *, series: ShownSeries) -> str:
    line = f"STUDY {series.timepoint + 1}"
    if series.date is None:
        return line
    earlier = [other.date for other in shown if other.timepoint < series.timepoint and other.date is not None]
    if not earlier:
        return f"{line} ({series.date.isoformat()})"
    days = (series.date - max(earlier)).days
    return f"{line} ({series.date.isoformat()}, {days} {'day' if days == 1 else 'days'} later)"


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Joins neighboring texts with a blank line: the template would run them together."""
    joined: list[Part] = []
    for part in parts:
        if joined and isinstance(part, str) and isinstance(joined[-1], str):
            joined[-1] = f"{joined[-1].strip()}\n\n{part.strip()}"
        else:
            joined.append(part)
    return tuple(joined)
