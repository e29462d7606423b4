"""Reads structured reports (PS3.16 TID 1500 and alike): measurement groups, regions, findings, texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset

from osler.readers.dicom_places import Places, series_of_instances
from osler.readers.dicom_values import as_number, as_text
from osler.study import Box2D, Box3D, Finding, FoundBox, Study

_GROUP = "125007"
_FINDING = ("121071", "121070")
_TRACKING_ID, _TRACKING_UID = "112039", "112040"
_CERTAINTY = "111012"
_UNDETERMINED = "121059"
_SOURCE_SERIES = "121232"
_MOST_DEPTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """What a structured report says."""

    title: str = ""
    boxes: tuple[FoundBox, ...] = ()
    findings: tuple[Finding, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    measurements: tuple[tuple[str, str, float, str], ...] = ()
    references: int = 0


@dataclass(slots=True)
class _Group:
    """One measurement group, or several with one tracking identifier."""

    label: str
    code: str = ""
    score: float | None = None
    unknown: bool = False
    places: int = 0
    surfaces: int = 0
    changes: bool = False
    pixel: Box2D | None = None
    patient: Box3D | None = None
    slice: int | None = None
    series: str = ""
    measurements: list[tuple[str, float, str]] = field(default_factory=list)


def read_report(dataset: Dataset, *, study: Study | None = None) -> ReportContent:
    """Reads the content tree of a structured report.

    Args:
        dataset: Of the SR object.
        study: What it is about, if known.
    """
    places, series = Places(study), series_of_instances(dataset)
    groups: dict[str, _Group] = {}
    for number, item in enumerate(_walk(dataset)):
        if item.get("ValueType") == "CONTAINER" and _code(item) == _GROUP:
            _read_group(item, groups=groups, number=number, places=places, series=series)
    found = list(groups.values())
    return ReportContent(
        title=_meaning(dataset),
        boxes=tuple(_box(group) for group in found if group.pixel is not None or group.patient is not None),
        findings=tuple(
            Finding(name=group.label, probability=None if group.unknown else group.score, code=group.code)
            for group in found
            if not group.places and not group.changes and (group.unknown or group.score is not None)
        ),
        texts=tuple(_texts(dataset)),
        measurements=tuple((group.label, *entry) for group in found for entry in group.measurements),
        references=len(series),
    )


def _walk(item: Dataset, *, depth: int = 0) -> Iterator[Dataset]:
    """All content items below one; deeper nesting than any report has is left."""
    for child in item.get("ContentSequence") or () if depth < _MOST_DEPTH else ():
        yield child
        yield from _walk(child, depth=depth + 1)


def _code(item: Dataset, *, keyword: str = "ConceptNameCodeSequence") -> str:
    codes = item.get(keyword) or ()
    return as_text(codes[0].get("CodeValue")) if codes else ""


def _meaning(item: Dataset, *, keyword: str = "ConceptNameCodeSequence") -> str:
    codes = item.get(keyword) or ()
    return as_text(codes[0].get("CodeMeaning")) if codes else ""


def _read_group(
    item: Dataset, *, groups: dict[str, _Group], number: int, places: Places, series: dict[str, str]
) -> None:
    children = list(item.get("ContentSequence") or ())
    by_code = {_code(child): child for child in children}
    tracking = as_text(by_code[_TRACKING_UID].get("UID")) if _TRACKING_UID in by_code else ""
    finding = next((by_code[code] for code in _FINDING if code in by_code), None)
    label = as_text(by_code[_TRACKING_ID].get("TextValue")) if _TRACKING_ID in by_code else ""
    meaning = _meaning(finding, keyword="ConceptCodeSequence") if finding is not None else ""
    group = groups.setdefault(tracking or f"#{number}", _Group(label=label or meaning or "unnamed"))
    group.code = group.code or (_code(finding, keyword="ConceptCodeSequence") if finding is not None else "")
    for child in children:
        kind, code = child.get("ValueType"), _code(child)
        if kind == "NUM":
            _read_number(child, group=group, code=code)
        elif kind == "CODE" and code != "121071":
            group.unknown |= _code(child, keyword="ConceptCodeSequence") == _UNDETERMINED
            group.changes |= code == "122151"
        elif kind == "UIDREF" and code == _SOURCE_SERIES:
            group.series = group.series or as_text(child.get("UID"))
        elif kind == "SCOORD":
            _read_region(child, group=group, places=places, series=series)
        elif kind == "SCOORD3D":
            _read_surface(child, group=group, places=places)


def _read_number(item: Dataset, *, group: _Group, code: str) -> None:
    values = item.get("MeasuredValueSequence") or ()
    value = as_number(values[0].get("NumericValue")) if values else None
    if value is None:
        return
    if code == _CERTAINTY and 0 <= value <= 100:
        group.score = value / 100
        return
    entry = (_meaning(item), value, _code(values[0], keyword="MeasurementUnitsCodeSequence"))
    if entry not in group.measurements:
        group.measurements.append(entry)


def _points(item: Dataset, *, size: int) -> np.ndarray | None:
    data: Sequence[float] = item.get("GraphicData") or ()
    values = np.asarray(data, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 * size or len(values) % size or not np.isfinite(values).all():
        return None
    points = values.reshape(-1, size)
    if item.get("GraphicType") == "CIRCLE":
        radius = float(np.linalg.norm(points[1] - points[0]))
        return np.stack([points[0] - radius, points[0] + radius])
    return points


def _read_region(item: Dataset, *, group: _Group, places: Places, series: dict[str, str]) -> None:
    """A region on an image; several make one box in mm."""
    points = _points(item, size=2)
    source = next((child for child in _walk(item) if child.get("ReferencedSOPSequence")), None)
    if points is None or source is None:
        return
    reference = source.ReferencedSOPSequence[0]
    sop_uid = as_text(reference.get("ReferencedSOPInstanceUID"))
    frame = int(as_number(reference.get("ReferencedFrameNumber")) or 1)
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    box = Box2D(x0=x0, y0=y0, x1=x1, y1=y1)
    place = places.find(sop_uid, frame=frame)
    group.series = place.series.series if place else group.series or series.get(sop_uid, "")
    group.places += 1
    several = group.places > 1
    group.pixel = None if several else box
    group.slice = None if several or place is None else place.slice
    lifted = place.in_patient(box) if place else None
    if lifted is not None and not group.surfaces:
        group.patient = _joined(group.patient, lifted)


def _read_surface(item: Dataset, *, group: _Group, places: Places) -> None:
    points = _points(item, size=3)
    if points is None:
        return
    (x0, y0, z0), (x1, y1, z1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    box = Box3D(low=(x0, y0, z0), high=(x1, y1, z1))
    group.places += 1
    # What the object says in mm is more exact than what was worked out from pixels.
    group.patient = box if not group.surfaces else _joined(group.patient, box)
    group.surfaces += 1
    group.series = group.series or places.series_in(as_text(item.get("ReferencedFrameOfReferenceUID")))


def _joined(first: Box3D | None, second: Box3D) -> Box3D:
    if first is None:
        return second
    low = tuple(min(a, b) for a, b in zip(first.low, second.low, strict=True))
    high = tuple(max(a, b) for a, b in zip(first.high, second.high, strict=True))
    return Box3D(low=(low[0], low[1], low[2]), high=(high[0], high[1], high[2]))


def _box(group: _Group) -> FoundBox:
    return FoundBox(
        label=group.label,
        series=group.series,
        score=1.0 if group.score is None else group.score,
        slice=group.slice,
        pixel=group.pixel,
        patient=group.patient,
    )


def _texts(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Texts outside of measurement groups, without what identifies people."""
    inside = {id(child) for item in _walk(dataset) if _code(item) == _GROUP for child in _walk(item)}
    for item in _walk(dataset):
        if item.get("ValueType") == "TEXT" and id(item) not in inside and item.get("RelationshipType") == "CONTAINS":
            text = as_text(item.get("TextValue"))
            if text:
                yield _meaning(item), text
