"""The slide of a histology exam in a patient's folder: a pyramidal TIFF, and what it shows beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from osler.errors import OslerError
from osler.synth.facts import Exam
from osler.synth.histology.from_facts import slide_lesion
from osler.synth.histology.slide import SlideTruth, write_slide
from osler.synth.histology.spec import SlideSpec
from osler.synth.rendered import LesionBox

SLIDE, TRUTH = "slide.tif", "slide.json"


def write_slide_files(spec: SlideSpec, *, exam: Exam, folder: Path) -> tuple[LesionBox, ...]:
    """Writes ``slide.tif`` and ``slide.json`` (size, cells by kind, tumor boxes in px and mm).

    Args:
        spec: What the slide shows.
        exam: Whose slide it is.
        folder: An existing folder.

    Returns:
        The tumor boxes in pixels of the full resolution.

    Raises:
        OSError: If the disk is full, as when the other files of a patient are written.
        RequestError: If the package that writes slides is missing.
    """
    try:
        truth = write_slide(folder / SLIDE, spec=spec)
    except OslerError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise
    record = slide_record(truth, spec=spec, exam=exam)
    (folder / TRUTH).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    fact = slide_lesion(exam)
    if fact is None:
        return ()
    return tuple(LesionBox(finding=fact.key, lesion=fact.lesion, box=box) for box in truth.tumor_boxes)


def slide_record(truth: SlideTruth, *, spec: SlideSpec, exam: Exam) -> dict[str, Any]:
    """What a slide shows, as JSON: boxes are x0, y0, x1, y1 from the upper left corner."""
    fact = slide_lesion(exam)
    return {
        "exam": exam.number,
        "organ": spec.organ,
        "finding": None if fact is None else fact.key,
        "patterns": [place.pattern for place in spec.tumors],
        "width": truth.width,
        "height": truth.height,
        "pixel_mm": truth.pixel_mm,
        "cells": truth.counts,
        "tumor_mm2": round(truth.tumor_mm2, 4),
        "tumor_boxes_px": [[box.x0, box.y0, box.x1, box.y1] for box in truth.tumor_boxes],
        "tumor_boxes_mm": [[round(value, 4) for value in box] for box in truth.tumor_boxes_mm],
    }
