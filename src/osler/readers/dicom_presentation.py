"""Reads the boxes and texts that a presentation state draws on its images."""

from __future__ import annotations

import re

import numpy as np
from pydicom.dataset import Dataset

from osler.readers.dicom_places import Places, series_of_instances
from osler.readers.dicom_values import as_int, as_text
from osler.study import Box2D, FoundBox, Study

_SCORED = re.compile(r"(?P<label>.*) (?P<percent>\d{1,3})%", re.DOTALL)


def read_presentation(
    dataset: Dataset, *, study: Study | None = None
) -> tuple[tuple[FoundBox, ...], tuple[tuple[str, str], ...], int]:
    """Reads the graphics in pixels of a presentation state.

    Args:
        dataset: Of the PR object.
        study: What it is about, if known.

    Returns:
        Boxes around the graphics, texts, and the number of images referred to.
    """
    places, series = Places(study), series_of_instances(dataset)
    boxes: list[FoundBox] = []
    texts: list[tuple[str, str]] = []
    for annotation in dataset.get("GraphicAnnotationSequence") or ():
        written = [
            (as_text(item.get("TrackingUID")), as_text(item.get("UnformattedTextValue")))
            for item in annotation.get("TextObjectSequence") or ()
        ]
        texts += [("text", text) for _uid, text in written]
        references = (
            list(annotation.get("ReferencedImageSequence") or ())
            or [
                item
                for one in dataset.get("ReferencedSeriesSequence") or ()
                for item in one.get("ReferencedImageSequence") or ()
            ][:1]
        )
        for item in annotation.get("GraphicObjectSequence") or ():
            box = _pixel_box(item)
            if box is None or not references:
                continue
            label, score = _label(item, written=dict(written))
            sop_uid = as_text(references[0].get("ReferencedSOPInstanceUID"))
            place = places.find(sop_uid, frame=as_int(references[0].get("ReferencedFrameNumber")) or 1)
            boxes.append(
                FoundBox(
                    label=label,
                    series=place.series.series if place else series.get(sop_uid, ""),
                    score=score,
                    slice=place.slice if place else None,
                    pixel=box,
                    patient=place.in_patient(box) if place else None,
                )
            )
    return tuple(boxes), tuple(texts), len(series)


def _label(item: Dataset, *, written: dict[str, str]) -> tuple[str, float]:
    """The label and the score: of Osler's own texts, else the tracking identifier and 1."""
    match = _SCORED.fullmatch(written.get(as_text(item.get("TrackingUID")), ""))
    if match is not None and int(match["percent"]) <= 100:
        return match["label"] or "unnamed", int(match["percent"]) / 100
    return as_text(item.get("TrackingID")) or "unnamed", 1.0


def _pixel_box(item: Dataset) -> Box2D | None:
    data = np.asarray(item.get("GraphicData") or (), dtype=np.float64)
    if as_text(item.get("GraphicAnnotationUnits")) != "PIXEL" or len(data) < 4 or len(data) % 2:
        return None
    points = data.reshape(-1, 2)
    if not np.isfinite(points).all():
        return None
    if as_text(item.get("GraphicType")) == "CIRCLE":
        radius = float(np.linalg.norm(points[1] - points[0]))
        points = np.stack([points[0] - radius, points[0] + radius])
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return Box2D(x0=x0, y0=y0, x1=x1, y1=y1)
