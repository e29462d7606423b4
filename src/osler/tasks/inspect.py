"""Inspect: what a file or folder holds, as the readers describe it.

Nothing here reads a pixel but for the smallest levels of whole slides, in which
tissue is looked for, so a folder of ten thousand DICOM files costs what their
headers cost. Names and numbers of patients are never part of the result.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from osler.prepare import Preprocess
from osler.prepare.image_plan import plan_series
from osler.prepare.slides import tiles_in_words
from osler.prepare.tiles import plan_tiles
from osler.study import ANSWER_SCHEMA_VERSION, FoundBox, Image, LeftOut, Slide, Study, TimePoint, Volume

if TYPE_CHECKING:
    from osler.readers.dicom_annotations import Annotations


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedSeries:
    """One series as its headers describe it.

    Args:
        kind: ``"volume"``, ``"image"`` or ``"slide"``.
        slices: Slices of a volume, 1 for an image.
        size: ``(width, height)`` of a slice, px.
        spacing: mm between columns, rows and (for a volume) slices; empty if the file does not say.
        orientation: To which side of the patient columns, rows and slices grow, such as ``"LPS"``.
        affine: The 4x4 map from ``(column, row, slice)`` to LPS mm, rows of numbers; empty if unknown.
        window: Low and high end of the file's own display window; empty if it has none.
        files: Distinct files behind the series.
        levels: Of a slide: ``(width, height)`` of each, px, the finest first.
        magnification: Of a slide's objective; 0 if the file does not say.
        tissue: Of a slide: share of its tiles that hold tissue, 0 to 1; ``None`` if not looked for.
        tiles: Of a slide: what a model would be shown.
        slabs: Of a volume that is read as slabs: what a model would be shown.
    """

    series: str
    kind: str
    modality: str
    description: str
    body_part: str
    units: str
    slices: int
    size: tuple[int, int]
    spacing: tuple[float, ...] = ()
    orientation: str = ""
    plane: str = ""
    obliquity: float = 0.0
    affine: tuple[tuple[float, ...], ...] = ()
    window: tuple[float, ...] = ()
    view: str = ""
    files: int = 0
    levels: tuple[tuple[int, int], ...] = ()
    magnification: float = 0.0
    tissue: float | None = None
    tiles: str = ""
    slabs: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedTimePoint:
    """One visit: its date, if the files give one, and its series."""

    date: str
    description: str
    series: tuple[InspectedSeries, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Everything that `inspect_study` found.

    Args:
        source: The path as the user named it.
        events: Entries of the patient's record.
        annotations: What a structured report, segmentation or presentation state holds.
        record: Their number by kind.
        first_event: Day of the oldest dated one. last_event: Of the newest.
        documents: Letters and reports.
    """

    source: str
    timepoints: tuple[InspectedTimePoint, ...]
    events: int = 0
    record: dict[str, int] = field(default_factory=dict)
    first_event: str = ""
    last_event: str = ""
    documents: int = 0
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[str, ...] = ()
    annotations: tuple[Annotations, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the published JSON form (``inspection.schema.json``); unknown things are absent."""
        record = {
            "schema": ANSWER_SCHEMA_VERSION,
            "source": self.source,
            "patients": 1,
            "events": self.events,
            **self._record(),
            "timepoints": [
                {**_known(point, but=("series",)), "series": [_known(series) for series in point.series]}
                for point in self.timepoints
            ],
            "left_out": [{"what": entry.what, "why": entry.why, "count": entry.count} for entry in self.left_out],
            "problems": list(self.problems),
        }
        if self.annotations:
            record["annotations"] = [_annotations(entry) for entry in self.annotations]
        return record

    def _record(self) -> dict[str, Any]:
        """The record as far as there is one."""
        known = {
            "record": self.record,
            "first_event": self.first_event,
            "last_event": self.last_event,
            "documents": self.documents,
        }
        return {name: value for name, value in known.items() if value}


def inspect_study(study: Study, *, preprocess: Preprocess | None = None) -> Inspection:
    """Describes a study from its headers.

    Args:
        study: The study.
        preprocess: By which tissue and tiles of whole slides are told, reading their smallest levels, and
            the slabs of volumes, if it reads them so; ``None`` to leave that out.

    Raises:
        DataError: If a slide is damaged.
        RequestError: If there are fewer visual tokens than volumes.
    """
    slabs = _slabs(study, preprocess=preprocess)
    dated = [event for event in study.events if event.date is not None]
    return Inspection(
        source=study.source,
        timepoints=tuple(
            _timepoint(point, preprocess=preprocess, slabs={key[1]: text for key, text in slabs.items() if key[0] == n})
            for n, point in enumerate(study.timepoints)
        ),
        events=len(study.events),
        record=dict(sorted(Counter(event.kind for event in study.events).items())),
        first_event=dated[0].when if dated else "",
        last_event=dated[-1].when if dated else "",
        documents=len(study.documents),
        left_out=study.left_out,
        problems=study.problems,
    )


def inspect_annotations(annotations: Annotations) -> Inspection:
    """Describes a structured report, a segmentation or a presentation state."""
    return Inspection(
        source=annotations.source, timepoints=(), annotations=(annotations,), problems=annotations.problems
    )


def _annotations(entry: Annotations) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": entry.kind, "title": entry.title, "references": entry.references}
    if entry.author:
        record["author"] = entry.author
    if entry.boxes:
        record["boxes"] = [_box(box) for box in entry.boxes]
    if entry.segments:
        record["segments"] = [
            {"label": one.label, "code": one.code, "voxels": one.voxels, "slices": one.frames} for one in entry.segments
        ]
    if entry.findings:
        record["findings"] = [
            {"name": one.name, **({} if one.probability is None else {"probability": one.probability})}
            for one in entry.findings
        ]
    if entry.measurements:
        record["measurements"] = [
            {"label": label, "name": name, "value": value, "unit": unit}
            for label, name, value, unit in entry.measurements
        ]
    if entry.texts:
        record["texts"] = [{"section": section, "text": text} for section, text in entry.texts]
    return record


def _box(box: FoundBox) -> dict[str, Any]:
    record: dict[str, Any] = {"label": box.label, "score": box.score}
    if box.series:
        record["series"] = box.series
    if box.pixel is not None:
        record["pixel"] = [box.pixel.x0, box.pixel.y0, box.pixel.x1, box.pixel.y1]
    if box.patient is not None:
        record["mm"] = {"low": list(box.patient.low), "high": list(box.patient.high)}
    return record


def _slabs(study: Study, *, preprocess: Preprocess | None) -> dict[tuple[int, str], str]:
    """How a model would read each volume, by its time point and series; empty if not as slabs."""
    if preprocess is None or preprocess.image_size == 0 or preprocess.visual_tokens == 0:
        return {}
    entries, _ = plan_series(study, preprocess=preprocess)
    return {
        (entry.timepoint, entry.series.series): entry.slabs.in_words() for entry in entries if entry.slabs is not None
    }


def _timepoint(point: TimePoint, *, preprocess: Preprocess | None, slabs: dict[str, str]) -> InspectedTimePoint:
    return InspectedTimePoint(
        date=point.date.isoformat() if point.date else "",
        description=point.description,
        series=tuple(
            _slide(series, preprocess=preprocess)
            if isinstance(series, Slide)
            else _series(series, slabs=slabs.get(series.series, ""))
            for series in point.series
        ),
    )


def _slide(slide: Slide, *, preprocess: Preprocess | None) -> InspectedSeries:
    wanted = preprocess is not None and preprocess.image_size > 0
    plan = plan_tiles(slide, sampling=preprocess.tiles, limit=preprocess.max_tiles) if preprocess and wanted else None
    return InspectedSeries(
        series=slide.series,
        kind="slide",
        modality=slide.modality,
        description=slide.description,
        body_part=slide.body_part,
        units=slide.units,
        slices=1,
        size=slide.size,
        spacing=tuple(slide.spacing or ()),
        files=len({origin.file for origin in slide.origins}),
        levels=tuple((level.width, level.height) for level in slide.pixels.levels),
        magnification=slide.magnification or 0.0,
        tissue=round(plan.tissue, 4) if plan is not None else None,
        tiles=tiles_in_words(plan, preprocess=preprocess) if plan is not None and preprocess is not None else "",
        problems=(*slide.problems, *(plan.notes if plan is not None else ())),
    )


def _series(series: Volume | Image, *, slabs: str) -> InspectedSeries:
    is_volume = isinstance(series, Volume)
    shape = series.pixels.shape
    slices, (rows, columns) = (shape[0], shape[1:3]) if is_volume else (1, shape[:2])
    affine = series.affine
    return InspectedSeries(
        series=series.series,
        kind="volume" if is_volume else "image",
        modality=series.modality,
        description=series.description,
        body_part=series.body_part,
        units=series.units,
        slices=slices,
        size=(columns, rows),
        spacing=tuple(series.spacing or ()),
        orientation=affine.orientation if affine else "",
        plane=affine.plane if affine else "",
        obliquity=round(affine.obliquity, 2) if affine else 0.0,
        affine=tuple(tuple(row) for row in affine.matrix.tolist()) if affine else (),
        window=(series.window.low, series.window.high) if series.window else (),
        view="" if is_volume else series.view,
        files=len({origin.file for origin in series.origins}),
        slabs=slabs,
        problems=series.problems,
    )


def _known(entry: InspectedSeries | InspectedTimePoint, *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """A dataclass as a dict, without empty texts and empty tuples."""
    record: dict[str, Any] = {}
    for name in entry.__dataclass_fields__:
        value = getattr(entry, name)
        if (
            name in but
            or value == ""
            or value is None
            or (name == "magnification" and not value)
            or (value == () and name != "problems")
        ):
            continue
        record[name] = [list(v) if isinstance(v, tuple) else v for v in value] if isinstance(value, tuple) else value
    return record
