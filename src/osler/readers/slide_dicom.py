"""Reads DICOM whole slides (VL Whole Slide Microscopy Image) by ``wsidicom``.

A slide is a series of files, one or more a level. Files whose Image Type says
label, overview or thumbnail show the glass with the patient's name or number
on it: they are named as left out and never handed to the library.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from osler.errors import DataError, FileFormatError, OslerError, UnsupportedError
from osler.extras import import_extra
from osler.readers.blob import Blob, DiskBlob
from osler.readers.dicom_errors import PARSE_ERRORS, brief
from osler.readers.dicom_fragments import check_fragments
from osler.readers.dicom_scan import is_compressed, patient_key, study_day
from osler.readers.dicom_values import as_int, as_numbers, as_text
from osler.readers.limits import check_length
from osler.readers.slide import reason_of, slide_problems
from osler.readers.slide_pyramid import LazyPyramid
from osler.readers.slide_region import check_levels, is_damage, quiet
from osler.study import LeftOut, SliceOrigin, Slide, SlideLevel

_VOLUME = "VOLUME"
_TAGS = [
    "SpecificCharacterSet", "ImageType", "SOPInstanceUID", "StudyDate", "SeriesDate", "AcquisitionDate",
    "ContentDate", "Modality", "StudyDescription", "SeriesDescription", "PatientName", "PatientID",
    "IssuerOfPatientID", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber",
    "FrameOfReferenceUID", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "SharedFunctionalGroupsSequence",
    "OpticalPathSequence", "TotalPixelMatrixFocalPlanes",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideHeader:
    """One file of a slide.

    Args:
        blob: The file.
        patient: Hash that tells patients apart.
        study_uid: Study Instance UID. study_date: Day of it. study_description: Its description.
        series_uid: Series Instance UID. series_description: Its description.
        sop_uid: SOP Instance UID.
        frame_of_reference: Frame of Reference UID.
        flavor: Third value of Image Type: ``"VOLUME"``, ``"LABEL"``, ``"OVERVIEW"``, ``"THUMBNAIL"``.
        width: Of the whole level, px. height: px.
        spacing: mm between columns and rows, if the file says.
        magnification: Of the objective, if the file says.
        priority: How urgently the study was asked for; not read of slides.
    """

    blob: Blob
    patient: str
    study_uid: str
    study_date: dt.date | None
    study_description: str
    series_uid: str
    series_description: str
    sop_uid: str
    frame_of_reference: str
    flavor: str
    width: int
    height: int
    spacing: tuple[float, float] | None
    magnification: float | None
    priority: str = ""


class DicomPyramid(LazyPyramid):
    """A slide in DICOM files, without label and overview.

    Args:
        paths: Its files.
        levels: From `build_slides`.
        numbers: What the library calls each of them.
    """

    def __init__(self, paths: tuple[Path, ...], *, levels: tuple[SlideLevel, ...], numbers: tuple[int, ...]) -> None:
        super().__init__(paths, levels=levels)
        self._numbers = numbers

    def _open(self) -> Any:
        return import_extra("wsidicom", extra="slides").WsiDicom.open(self.paths)

    def _piece(self, slide: Any, *, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        pixels = slide.read_region((x, y), self._numbers[level], (width, height), as_array=True)
        return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]


def scan_slide(blob: Blob) -> SlideHeader:
    """Reads the header of one file of a slide.

    Args:
        blob: A DICOM file of the whole-slide class.

    Raises:
        FileFormatError: If it is damaged or truncated.
        UnsupportedError: If it lies inside an archive, or is not in 8-bit color.
    """
    if not isinstance(blob, DiskBlob):
        raise UnsupportedError(
            f"{blob.name} is a whole slide inside an archive, where no region can be read by itself.",
            next_step="Unpack the archive and open the folder.",
        )
    try:
        with blob.open() as stream:
            dataset = dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS))
            syntax = as_text(dataset.file_meta.get("TransferSyntaxUID"))
            place = stream.tell()
            if stream.read(4) != b"\xe0\x7f\x10\x00":
                raise FileFormatError(f"{blob.name} is truncated before its pixels.", next_step="Copy it again.")
            if is_compressed(syntax):
                stream.seek(place + 8)
                frames = len(check_fragments(stream, name=blob.name, size=blob.size))
                _check_frames(dataset, name=blob.name, have=frames)
            else:
                check_length(blob.name, need=_native_bytes(dataset), have=blob.size - place - 12)
    except DataError:
        raise
    except PARSE_ERRORS as error:
        raise FileFormatError(
            f"{blob.name} is not a readable DICOM slide ({brief(error)}).", next_step="Copy or export it again."
        ) from error
    return _header(dataset, blob=blob)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltSlides:
    """Slides made of the files of many series.

    Args:
        slides: Each with the header of its finest level.
        left_out: What was not taken, with the reason.
        errors: Why a series makes no slide.
    """

    slides: tuple[tuple[SlideHeader, Slide], ...]
    left_out: tuple[LeftOut, ...]
    errors: tuple[OslerError, ...]


def build_slides(headers: Sequence[SlideHeader]) -> BuiltSlides:
    """Builds one slide of each series; one that makes none is left out.

    Args:
        headers: From `scan_slide`, of any number of series.
    """
    by_series: dict[tuple[str, str], list[SlideHeader]] = {}
    for header in headers:
        by_series.setdefault((header.study_uid, header.series_uid), []).append(header)
    slides: list[tuple[SlideHeader, Slide]] = []
    left_out: list[LeftOut] = []
    errors: list[OslerError] = []
    for group in by_series.values():
        shown = [header for header in group if header.flavor == _VOLUME]
        for header in group:
            if header.flavor != _VOLUME:
                what = header.flavor.lower() or "picture"
                why = f"a picture of the glass ({what}), which may show the patient's name"
                left_out.append(LeftOut(what=header.blob.name, why=why))
        if not shown:
            continue
        shown.sort(key=lambda header: (-header.width * header.height, header.blob.name))
        try:
            slides.append((shown[0], _build(shown)))
        except OslerError as error:
            errors.append(error)
            left_out.append(LeftOut(what=shown[0].blob.name, why=reason_of(error), count=len(shown)))
    return BuiltSlides(slides=tuple(slides), left_out=tuple(left_out), errors=tuple(errors))


def _build(shown: Sequence[SlideHeader]) -> Slide:
    wsidicom = import_extra("wsidicom", extra="slides")
    quiet("wsidicom")
    first = shown[0]
    paths = tuple(Path(header.blob.address()[0]) for header in shown)
    try:
        with wsidicom.WsiDicom.open(paths) as slide:
            found = sorted((int(level.size.width), int(level.size.height), int(level.level)) for level in slide.levels)
            pyramids = len(slide.pyramids)
    except Exception as error:
        if not is_damage(error):
            raise
        lacking = "it does not say how large a pixel is" if first.spacing is None else brief(error)
        raise FileFormatError(
            f"{first.blob.name} makes no slide, with {len(shown) - 1} other files of its series ({lacking}).",
            allowed="DICOM slides with Pixel Spacing in every level.",
            next_step="Copy or export the series again.",
        ) from error
    found.reverse()
    width, height, _ = found[0]
    levels = tuple(
        SlideLevel(width=w, height=h, downsample=1.0 if i == 0 else (width / w * height / h) ** 0.5)
        for i, (w, h, _) in enumerate(found)
    )
    check_levels(first.blob.name, levels=levels)
    source = DicomPyramid(paths, levels=levels, numbers=tuple(number for _, _, number in found))
    several = (f"The series holds {pyramids} pyramids: the first is used.",) if pyramids > 1 else ()
    return Slide(
        series=first.series_uid or first.blob.name,
        pixels=source,
        spacing=first.spacing,
        magnification=first.magnification,
        origins=tuple(SliceOrigin(file=header.blob.name, sop_uid=header.sop_uid) for header in shown),
        description=first.series_description,
        study_uid=first.study_uid,
        frame_of_reference=first.frame_of_reference,
        problems=(*several, *slide_problems(source, spacing=first.spacing, power=first.magnification)),
    )


def _header(dataset: Dataset, *, blob: Blob) -> SlideHeader:
    def text(keyword: str) -> str:
        return as_text(dataset.get(keyword))

    image_type = dataset.get("ImageType") or ()
    flavor = str(image_type[2]).upper() if not isinstance(image_type, str) and len(image_type) > 2 else ""
    if as_int(dataset.get("BitsAllocated")) != 8:
        raise UnsupportedError(
            f"{blob.name} is a slide of {dataset.get('BitsAllocated')}-bit pixels.",
            allowed="Osler reads brightfield slides: 8-bit color.",
            next_step="Export it as 8-bit RGB.",
        )
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    measures = (shared[0].get("PixelMeasuresSequence") or [Dataset()])[0]
    rows_columns = as_numbers(measures.get("PixelSpacing"), count=2)
    optics = (dataset.get("OpticalPathSequence") or [Dataset()])[0]
    power = as_numbers([optics.get("ObjectiveLensPower")], count=1)
    return SlideHeader(
        blob=blob,
        patient=patient_key(dataset),
        study_uid=text("StudyInstanceUID"),
        study_date=study_day(dataset),
        study_description=text("StudyDescription"),
        series_uid=text("SeriesInstanceUID"),
        series_description=text("SeriesDescription"),
        sop_uid=text("SOPInstanceUID"),
        frame_of_reference=text("FrameOfReferenceUID"),
        flavor=flavor,
        width=as_int(dataset.get("TotalPixelMatrixColumns")) or 0,
        height=as_int(dataset.get("TotalPixelMatrixRows")) or 0,
        spacing=(rows_columns[1], rows_columns[0]) if rows_columns and min(rows_columns) > 0 else None,
        magnification=power[0] if power and power[0] > 0 else None,
    )


def _native_bytes(dataset: Dataset) -> int:
    counts = [as_int(dataset.get(key)) for key in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel")]
    frames, rows, columns, samples = (1 if count is None else count for count in counts)
    return frames * rows * columns * samples * (as_int(dataset.get("BitsAllocated")) or 8) // 8


def _check_frames(dataset: Dataset, *, name: str, have: int) -> None:
    want = as_int(dataset.get("NumberOfFrames")) or 1
    if want > have:
        raise FileFormatError(
            f"{name} is truncated: {want:,} tiles are announced and at most {have:,} are there.",
            next_step="Copy or export it again.",
        )
