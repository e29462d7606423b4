"""What every DICOM object of Osler says about itself, and where the boxes of an answer lie in the sources."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from osler import __version__
from osler.errors import GeometryError, RequestError, UnsupportedError
from osler.extras import import_extra
from osler.readers.dicom_source import instance_headers
from osler.study import Answer, Box2D, Box3D, FoundBox, Image, SliceOrigin, Study, Volume
from osler.writers.dicom_codes import short_text

P, T = ParamSpec("P"), TypeVar("T")

MANUFACTURER = "Osler"
SERIAL_NUMBER = "0"
RESEARCH_NOTE = "Research software, not a medical device"
# Numbers far above those of a scanner's own series (PS3.3 asks for none in particular).
SERIES_NUMBERS = {"SR": 9101, "SEG": 9102, "PR": 9103, "SC": 9104}


def without_warnings(write: Callable[P, T]) -> Callable[P, T]:
    """Keeps the libraries' warnings from the terminal: they may quote the patient."""

    @functools.wraps(write)
    def quiet(*arguments: P.args, **named: P.kwargs) -> T:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return write(*arguments, **named)

    return quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBox:
    """A box of an answer with the series, and where it is on one slice, the instance it lies in.

    Args:
        box: As answered.
        series: Where it lies.
        origin: The instance (and frame), for a box on one slice or on an image.
        pixel: The part of the box that lies inside the instance, in its pixels.
        patient: In LPS mm, where the series has a frame of reference.
    """

    box: FoundBox
    series: Volume | Image
    origin: SliceOrigin | None = None
    pixel: Box2D | None = None
    patient: Box3D | None = None


def require_valid(answer: Answer) -> None:
    """Refuses scores and probabilities that no object can hold.

    Raises:
        RequestError: If one is not a number from 0 to 1.
    """
    values = [(f"box {box.label!r}", box.score) for box in answer.boxes]
    values += [(f"finding {f.name!r}", f.probability) for f in answer.findings if f.probability is not None]
    values += [(f"change of {p.finding!r}", p.probability) for p in answer.progression if p.probability is not None]
    for name, value in values:
        if not 0 <= value <= 1:  # false for NaN, too
            raise RequestError(
                f"The {short_text(name, limit=120)} has the probability {value!r}.",
                allowed="A number from 0 to 1.",
                next_step="Nothing was written; report this as a fault of the task.",
            )
    for entry in answer.progression:
        for value in (entry.before, entry.now):
            if value is not None and not math.isfinite(value):
                raise RequestError(f"A measurement of {entry.finding!r} is {value!r}.", allowed="A finite number.")


def series_of(study: Study, name: str) -> Volume | Image:
    """Finds a series that an answer names.

    Raises:
        RequestError: If the study lacks it: the answer is about another one.
        UnsupportedError: If it is a whole slide.
    """
    for series in study.series():
        if series.series == name:
            if not isinstance(series, Volume | Image):
                raise UnsupportedError(
                    f"The series {name!r} is a whole slide.",
                    allowed="DICOM objects are written about volumes and images.",
                    next_step="Write JSON or Markdown instead.",
                )
            return series
    raise RequestError(
        f"The answer names the series {short_text(name, limit=120)!r}, which this study lacks.",
        allowed="An answer is written with the study that it is about.",
        next_step="Open the study that was asked about.",
    )


def place_box(box: FoundBox, *, study: Study) -> PlacedBox:
    """Finds where a box lies in the files.

    Raises:
        GeometryError: If it lies outside of its image or volume, or has no place at all.
        RequestError: If the study lacks its series or slice.
    """
    series = series_of(study, box.series)
    slices = series.shape[0] if isinstance(series, Volume) else 1
    if box.slice is not None and not 0 <= box.slice < slices:
        raise _outside(box, f"slice {box.slice + 1} of {slices}")
    index = box.slice if box.slice is not None else (None if isinstance(series, Volume) else 0)
    origin = series.origins[index] if index is not None and series.origins else None
    pixel = None
    if box.pixel is not None and index is not None:
        width, height = _size(series)
        pixel = _inside(box, origin, width=width, height=height)
    patient = box.patient
    if patient is not None and series.affine is not None:
        _require_overlap(box, series=series)
    if patient is None and pixel is None:
        raise GeometryError(
            f"The box {short_text(box.label)!r} has neither a place on a slice nor one in mm.",
            next_step="Nothing was written; report this as a fault of the task.",
        )
    return PlacedBox(box=box, series=series, origin=origin, pixel=pixel, patient=patient)


def _size(series: Volume | Image) -> tuple[int, int]:
    return (series.shape[2], series.shape[1]) if isinstance(series, Volume) else series.size


def _inside(box: FoundBox, origin: SliceOrigin | None, *, width: int, height: int) -> Box2D:
    """The box cut at the edges of the file's image."""
    given = box.pixel.to_pixel(width=width, height=height) if box.pixel else Box2D(x0=0, y0=0, x1=0, y1=0)
    x0, y0 = max(given.x0, 0.0), max(given.y0, 0.0)
    x1, y1 = min(given.x1, float(width)), min(given.y1, float(height))
    if x0 >= x1 or y0 >= y1:
        raise _outside(box, f"the image of {width} x {height} pixels" + (f" in {origin.file}" if origin else ""))
    return Box2D(x0=x0, y0=y0, x1=x1, y1=y1)


def _require_overlap(box: FoundBox, *, series: Volume | Image) -> None:
    if box.patient is None or series.affine is None:
        return
    width, height = _size(series)
    slices = series.shape[0] if isinstance(series, Volume) else 1
    voxel = box.patient.to_voxel(series.affine)
    if any(
        high <= 0 or low >= size for low, high, size in zip(voxel.low, voxel.high, (width, height, slices), strict=True)
    ):
        raise _outside(box, f"the volume of {width} x {height} x {slices} voxels")


def _outside(box: FoundBox, what: str) -> GeometryError:
    return GeometryError(
        f"The box {short_text(box.label)!r} lies outside of {what} (series {box.series}).",
        allowed="A box must lie, at least in part, inside of its image.",
        next_step="Nothing was written; report this as a fault of the task.",
    )


def used_headers(answer: Answer, *, study: Study, placed: Iterable[PlacedBox] = ()) -> dict[str, Any]:
    """Reads the headers of the instances that an answer rests on, those of the latest study first.

    Returns:
        Header by SOP Instance UID: of boxes and evidence; where there are none, the middle of each used series.
    """
    wanted: dict[str, tuple[Volume | Image, list[SliceOrigin]]] = {}

    def want(series: Volume | Image, origin: SliceOrigin) -> None:
        wanted.setdefault(series.series, (series, []))[1].append(origin)

    for entry in placed:
        for origin in _origins_of(entry):
            want(entry.series, origin)
    every = (*answer.evidence, *(evidence for one in answer.statements for evidence in one.evidence))
    for evidence in every:
        if evidence.series:
            series = series_of(study, evidence.series)
            origin = origin_of(series, evidence.slice)
            if origin is not None:
                want(series, origin)
    for used in answer.used:
        if used.series not in wanted:
            series = series_of(study, used.series)
            if series.origins:
                want(series, series.origins[len(series.origins) // 2])
    headers: dict[str, Any] = {}
    for series, origins in wanted.values():
        headers.update(instance_headers(series, origins=origins))
    if not headers:
        first = next(iter(study.series()), None)
        if not isinstance(first, Volume | Image):
            raise RequestError(
                "There is no image to write a DICOM object about.",
                allowed="SR, SEG, presentation states and captures belong to DICOM images.",
                next_step="Write JSON, Markdown or FHIR instead.",
            )
        headers.update(instance_headers(first, origins=first.origins[:1]))
    latest = max(headers.values(), key=lambda header: str(header.get("StudyDate", "") or ""))
    return dict(sorted(headers.items(), key=lambda pair: pair[1].StudyInstanceUID != latest.StudyInstanceUID))


def _origins_of(entry: PlacedBox) -> list[SliceOrigin]:
    if entry.origin is not None:
        return [entry.origin]
    if entry.patient is None or entry.series.frame_of_reference:
        return list(entry.series.origins[len(entry.series.origins) // 2 :][:1])
    return [origin for origin, _outline in outlines_on_slices(entry.patient, series=entry.series)]


def outlines_on_slices(box: Box3D, *, series: Volume | Image) -> list[tuple[SliceOrigin, Box2D]]:
    """Returns the part of a box in mm on each slice whose center plane it covers, in the pixels of the file.

    Args:
        box: LPS mm.
        series: With a geometry.

    Raises:
        GeometryError: If the series has no geometry.
    """
    if series.affine is None:
        raise GeometryError(
            f"A box in mm on {series.series!r}, which has no geometry.",
            allowed="Boxes on an image without geometry are in its pixels.",
        )
    voxel = box.to_voxel(series.affine)
    width, height = _size(series)
    first, last = math.ceil(voxel.low[2] - 0.5), math.ceil(voxel.high[2] - 0.5)
    if last <= first:  # thinner than a slice
        first = math.floor((voxel.low[2] + voxel.high[2]) / 2)
        last = first + 1
    found = []
    for index in range(max(first, 0), min(last, len(series.origins))):
        column, row = series.origins[index].shift
        x0, x1 = (min(max(x + column, 0.0), float(width)) for x in (voxel.low[0], voxel.high[0]))
        y0, y1 = (min(max(y + row, 0.0), float(height)) for y in (voxel.low[1], voxel.high[1]))
        found.append((series.origins[index], Box2D(x0=x0, y0=y0, x1=x1, y1=y1)))
    return found


def origin_of(series: Volume | Image, index: int | None) -> SliceOrigin | None:
    """The instance behind a slice, or behind an image; ``None`` where there is none."""
    if not series.origins:
        return None
    if isinstance(series, Image):
        return series.origins[0]
    if index is None:
        return None
    if not 0 <= index < len(series.origins):
        raise RequestError(
            f"The answer names slice {index + 1} of {series.series!r}, which has {len(series.origins)}.",
            next_step="Open the study that was asked about.",
        )
    return series.origins[index]


def frames_of(origin: SliceOrigin) -> list[int] | None:
    """The frame numbers (from 1) to refer to; ``None`` for a single-frame file."""
    return [origin.frame + 1] if origin.frames > 1 else None


def model_parameters(answer: Answer) -> list[str]:
    """What identifies the weights and how they ran."""
    model = answer.model
    parts = [
        f"model={model.name}",
        f"weights={model.weights}",
        f"bits={model.bits}",
        f"backend={model.backend} on {model.device}",
        f"preprocessing sha256={answer.preprocess}",
        f"task={answer.task}",
    ]
    return parts if model.seed is None else [*parts, f"seed={model.seed}"]


def identification(answer: Answer, *, kind: str) -> dict[str, Any]:
    """Keyword arguments that every object takes: new UIDs, numbers, equipment."""
    hd = import_extra("highdicom", extra="dicom")
    return {
        "series_instance_uid": hd.UID(),
        "series_number": SERIES_NUMBERS[kind],
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
    }


def equipment(answer: Answer) -> dict[str, Any]:
    """Keyword arguments about the software, for the objects that take them."""
    return {
        "manufacturer_model_name": short_text(answer.model.name),
        "software_versions": __version__,
        "device_serial_number": SERIAL_NUMBER,
    }


def finish(dataset: Any, *, description: str) -> bytes:
    """Completes an object (character set, series description) and returns the bytes of its file."""
    import io

    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SeriesDescription = short_text(description)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
