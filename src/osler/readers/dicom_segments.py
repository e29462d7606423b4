"""Reads DICOM segmentations: their segments, the voxels on the grid of their source, and the boxes around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from osler.readers.dicom_places import Place, Places, series_of_instances
from osler.readers.dicom_values import as_int, as_numbers, as_text
from osler.study import Affine, Box2D, Box3D, FoundBox, Image, Mask, Study, Volume

_MOST_VOXELS = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """One segment.

    Args:
        label: As the object names it.
        code: Of what it shows.
        voxels: How many are set.
        frames: On how many planes.
        mask: On the grid of its series, where the study is known and has it.
    """

    label: str
    code: str
    voxels: int
    frames: int
    mask: Mask | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plane:
    """One frame of a segment: its pixels, where it lies, and the image that it is about."""

    pixels: np.ndarray
    affine: Affine | None
    sop_uid: str
    frame: int


def read_segments(
    dataset: Dataset, *, study: Study | None = None
) -> tuple[tuple[Segment, ...], tuple[FoundBox, ...], int, tuple[str, ...]]:
    """Reads binary, fractional (above zero) and label map segmentations.

    Args:
        dataset: Of the SEG object.
        study: What it is about, if known.

    Returns:
        Segments, one box around each, the number of images referred to, problems.
    """
    places, series = Places(study), series_of_instances(dataset)
    labels = {
        as_int(item.get("SegmentNumber")) or 0: (as_text(item.get("SegmentLabel")), _code_of(item))
        for item in dataset.get("SegmentSequence") or ()
    }
    planes, lost = _planes(dataset, numbers=list(labels))
    segments, boxes = [], []
    for number, (label, code) in labels.items():
        own = [plane for plane in planes.get(number, []) if plane.pixels.any()]
        found = [place for plane in own if (place := _place(plane, places=places, study=study)) is not None]
        mask = _mask(label, code=code, planes=own, found=found)
        voxels = sum(int(plane.pixels.sum()) for plane in own)
        segments.append(Segment(label=label, code=code, voxels=voxels, frames=len(own), mask=mask))
        box = _box(label, planes=own, found=found, series=series)
        if box is not None:
            boxes.append(box)
    problems = (f"{lost} frames name no segment or no place and are left out.",) if lost else ()
    return tuple(segments), tuple(boxes), len(series), problems


def _code_of(item: Dataset) -> str:
    codes = item.get("SegmentedPropertyTypeCodeSequence") or ()
    return as_text(codes[0].get("CodeValue")) if codes else ""


def _planes(dataset: Dataset, *, numbers: list[int]) -> tuple[dict[int, list[_Plane]], int]:
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    shared = (list(dataset.get("SharedFunctionalGroupsSequence") or ()) or [Dataset()])[0]
    pixels = dataset.pixel_array
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    is_map = as_text(dataset.get("SegmentationType")).upper() == "LABELMAP"
    found: dict[int, list[_Plane]] = {}
    lost = 0
    for index, group in enumerate(frames[: len(pixels)]):
        affine = _affine(group, shared=shared)
        sop_uid, frame = _source(group, shared=shared)
        if is_map:
            for number in numbers:
                if number and (pixels[index] == number).any():
                    plane = _Plane(pixels=pixels[index] == number, affine=affine, sop_uid=sop_uid, frame=frame)
                    found.setdefault(number, []).append(plane)
            continue
        number = _segment_number(group) or _segment_number(shared)
        if not number:
            lost += 1
            continue
        plane = _Plane(pixels=pixels[index] > 0, affine=affine, sop_uid=sop_uid, frame=frame)
        found.setdefault(number, []).append(plane)
    return found, lost


def _segment_number(group: Dataset) -> int:
    items = group.get("SegmentIdentificationSequence") or ()
    return (as_int(items[0].get("ReferencedSegmentNumber")) or 0) if items else 0


def _source(group: Dataset, *, shared: Dataset) -> tuple[str, int]:
    for place in (group, shared):
        for derived in place.get("DerivationImageSequence") or ():
            for source in derived.get("SourceImageSequence") or ():
                return as_text(source.get("ReferencedSOPInstanceUID")), as_int(source.get("ReferencedFrameNumber")) or 1
    return "", 1


def _affine(group: Dataset, *, shared: Dataset) -> Affine | None:
    """Pixel (column, row) of one plane to LPS mm; the third axis is the normal with the slice thickness."""

    def first(keyword: str) -> Dataset:
        items = group.get(keyword) or shared.get(keyword) or (Dataset(),)
        return items[0]

    position = as_numbers(first("PlanePositionSequence").get("ImagePositionPatient"), count=3)
    axes = as_numbers(first("PlaneOrientationSequence").get("ImageOrientationPatient"), count=6)
    measures = first("PixelMeasuresSequence")
    spacing = as_numbers(measures.get("PixelSpacing"), count=2)
    if position is None or axes is None or spacing is None or min(spacing) <= 0:
        return None
    thickness = as_numbers([measures.get("SliceThickness") or 1.0], count=1)
    depth = abs(thickness[0]) if thickness and thickness[0] else 1.0
    column, row = np.asarray(axes[:3]), np.asarray(axes[3:])
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([column * spacing[1], row * spacing[0], np.cross(column, row) * depth], axis=1)
    matrix[:3, 3] = position
    return Affine(matrix)


def _place(plane: _Plane, *, places: Places, study: Study | None) -> tuple[_Plane, Place] | None:
    """The slice that a plane lies on: by its position (a straightened stack needs it), else by its source."""
    by_source = places.find(plane.sop_uid, frame=plane.frame)
    if plane.affine is not None and study is not None:
        named = [by_source.series] if by_source is not None else list(study.volumes())
        for series in named:
            if isinstance(series, Volume) and series.shape[1:] == plane.pixels.shape:
                column, row, index = series.affine.inverse.apply(plane.affine.origin).tolist()
                near = max(abs(column), abs(row), abs(index - round(index))) < 0.2
                if near and 0 <= round(index) < series.shape[0]:
                    return plane, Place(series=series, slice=round(index))
    if by_source is None:
        return None
    same = (
        by_source.series.pixels.shape[1:3]
        if isinstance(by_source.series, Volume)
        else by_source.series.pixels.shape[:2]
    )
    return (plane, by_source) if same == plane.pixels.shape else None


def _mask(label: str, *, code: str, planes: list[_Plane], found: list[tuple[_Plane, Place]]) -> Mask | None:
    if not found or len(found) < len(planes) or len({id(place.series) for _plane, place in found}) > 1:
        return None
    series = found[0][1].series
    if isinstance(series, Image):
        return Mask(label=label, series=series.series, voxels=found[0][0].pixels.copy(), code=code)
    if np.prod(series.shape, dtype=np.int64) > _MOST_VOXELS:
        return None
    voxels = np.zeros(series.shape, dtype=bool)
    for plane, place in found:
        voxels[place.slice or 0] |= plane.pixels
    return Mask(label=label, series=series.series, voxels=voxels, code=code)


def _box(
    label: str, *, planes: list[_Plane], found: list[tuple[_Plane, Place]], series: dict[str, str]
) -> FoundBox | None:
    """The box around a segment: in pixels where it lies on one image, in mm where its planes have a geometry."""
    if not planes:
        return None
    place = found[0][1] if found else None
    name = place.series.series if place else series.get(planes[0].sop_uid, "")
    pixel = _pixel_box(planes[0]) if len(planes) == 1 else None
    if pixel is not None and place is not None:
        column, row = place.series.origins[place.slice or 0].shift
        pixel = Box2D(x0=pixel.x0 + column, y0=pixel.y0 + row, x1=pixel.x1 + column, y1=pixel.y1 + row)
    return FoundBox(
        label=label or "unnamed",
        series=name,
        score=1.0,
        slice=place.slice if place and len(planes) == 1 else None,
        pixel=pixel,
        patient=_patient_box(planes, found=found),
    )


def _pixel_box(plane: _Plane) -> Box2D:
    rows, columns = np.nonzero(plane.pixels)
    return Box2D(x0=float(columns.min()), y0=float(rows.min()), x1=float(columns.max() + 1), y1=float(rows.max() + 1))


def _patient_box(planes: list[_Plane], *, found: list[tuple[_Plane, Place]]) -> Box3D | None:
    """The LPS box around all voxels, corners and all; on the grid of the study where that is known."""
    known = {id(plane): place for plane, place in found}
    lows, highs = [], []
    for plane in planes:
        place = known.get(id(plane))
        affine, index = (place.series.affine, place.slice or 0) if place else (plane.affine, 0)
        if affine is None:
            return None
        rows, columns = np.nonzero(plane.pixels)
        centers = affine.apply(np.stack([columns, rows, np.full_like(rows, index)], axis=1))
        reach = np.abs(affine.matrix[:3, :3]).sum(axis=1) / 2
        lows.append(centers.min(axis=0) - reach)
        highs.append(centers.max(axis=0) + reach)
    (x0, y0, z0), (x1, y1, z1) = np.min(lows, axis=0).tolist(), np.max(highs, axis=0).tolist()
    return Box3D(low=(x0, y0, z0), high=(x1, y1, z1))
