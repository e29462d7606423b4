"""The one way from files to a `Study`: `open_study`."""

from __future__ import annotations

import datetime as dt
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from osler.errors import CapacityError, DataError, FileFormatError, OslerError, RequestError, UnsupportedError
from osler.readers.archive import find_members
from osler.readers.blob import Blob, DiskBlob
from osler.readers.dicom_errors import DECODE_ERRORS
from osler.readers.dicom_header import FileHeader, FrameHeader
from osler.readers.dicom_scan import scan_file
from osler.readers.dicom_series import build_series
from osler.readers.dicomdir import referenced_files
from osler.readers.document import ReadDocument, read_document
from osler.readers.document_kind import Pictures, is_document
from osler.readers.document_process import DocumentProcess, missing_packages
from osler.readers.fhir import FhirFile, Record, build_record, read_fhir
from osler.readers.folder import find_files
from osler.readers.future import future_days
from osler.readers.identity import Identity, Mixing, dicom_identities, require_one_patient
from osler.readers.label_map import without_label_maps
from osler.readers.limits import LIMITS, Limits
from osler.readers.nifti import read_volume
from osler.readers.picture import read_picture
from osler.readers.repeated_events import without_repeats
from osler.readers.slide import read_slide, reason_of
from osler.readers.slide_dicom import SlideHeader, build_slides, scan_slide
from osler.readers.slide_sniff import is_slide, mirax_folder, without_mirax_data
from osler.readers.sniff import HEAD_BYTES, NOT_READ, Kind, kind_of
from osler.readers.web_address import is_address
from osler.study import ClinicalEvent, Document, LeftOut, Series, Study, TimePoint

_READ = "DICOM (files, folders, DICOMDIR, ZIP), NIfTI, MGH, PNG, JPEG, TIFF, whole slides, PDF and FHIR (JSON, NDJSON)"


@dataclass(slots=True)
class _Found:
    """What has been collected from files so far."""

    frames: list[FrameHeader] = field(default_factory=list)
    slides: list[SlideHeader] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    fhir: list[FhirFile] = field(default_factory=list)
    documents: list[ReadDocument] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    errors: list[OslerError] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A study, and the hashes by which its patient is told from others.

    Args:
        identities: One for each patient that is told apart.
    """

    study: Study
    identities: tuple[Identity, ...]


def open_study(
    path: str | Path, *, limits: Limits = LIMITS, mixing: Mixing = "refuse", pictures: Pictures = "judge"
) -> Study:
    """Opens what is known of one patient.

    Reads headers; pixels are decoded when a series is read. Documents (PDFs, and pictures of
    paper) are read to text, and their results to events. Files are told apart by their
    content. In a folder or an archive, files that are damaged or of no use are listed in
    ``left_out`` and do not stop the rest.

    Args:
        path: A file (DICOM, DICOMDIR, ZIP, NIfTI, MGH, PNG, JPEG, TIFF, PDF, FHIR JSON or NDJSON, or a whole
            slide: SVS, NDPI, SCN, MRXS, pyramidal TIFF), or a folder of such files, nested as may be;
            or a study on a server, ``dicomweb://host/path/studies/UID``.
        limits: Bounds on sizes and numbers.
        mixing: ``"allow"`` takes files of several patients and says so in ``problems``.
        pictures: What PNG, JPEG and TIFF files are taken for: judged one by one, or all the same.

    Raises:
        FileFormatError: If the path does not exist, or nothing at it can be read.
        UnsupportedError: If it holds nothing that Osler reads.
        PatientMixError: If the files belong to several patients.

    Example:
        >>> study = open_study("scan.nii.gz")  # doctest: +SKIP
        >>> study.volumes()[0].read(slices=[10]).shape  # doctest: +SKIP
        (1, 512, 512)
    """
    return open_identified(path, limits=limits, mixing=mixing, pictures=pictures).study


def open_identified(
    path: str | Path, *, limits: Limits = LIMITS, mixing: Mixing = "refuse", pictures: Pictures = "judge"
) -> Opened:
    """Opens a study as `open_study` does, and keeps what tells its patient apart."""
    if not str(path):
        raise FileFormatError("The path is empty.", allowed=f"Osler reads {_READ}.", next_step="Name a file or folder.")
    if is_address(path):
        from osler.readers.dicomweb import open_dicomweb  # late: its packages are an extra

        study, shown = open_dicomweb(path, limits=limits, mixing=mixing)
        return Opened(study=study, identities=tuple(shown))
    with warnings.catch_warnings():
        # The libraries' warnings may quote the patient. What matters is said in problems.
        warnings.simplefilter("ignore")
        return _open(Path(path), limits=limits, mixing=mixing, pictures=pictures)


def _open(place: Path, *, limits: Limits, mixing: Mixing, pictures: Pictures) -> Opened:
    blobs, left_out = _blobs(place, limits=limits)
    alone = len(blobs) == 1 and not left_out and not place.is_dir()
    found = _read_all(blobs, limits=limits, pictures=pictures)
    found.left_out[:0] = left_out
    found.series, label_maps = without_label_maps(found.series, beside=len(found.frames) + len(found.slides))
    found.left_out.extend(label_maps)
    record = build_record(found.fhir)
    shown = _identities(found.frames, slides=found.slides)
    mixed = require_one_patient(shown, record.identities, mixing=mixing)
    timepoints, problems = _timepoints(found)
    documents = tuple(one.document for one in found.documents)
    if not timepoints and not record.events and not record.documents and not documents:
        raise _nothing(place, found=found, record=record, alone=alone)
    identities = (*shown, *record.identities)
    events, repeated = without_repeats([record.events, *(one.events for one in found.documents)])
    study = Study(
        timepoints=timepoints,
        events=_by_date(events),
        documents=(*record.documents, *documents),
        patient=_patient(shown, record.identities),
        source=str(place),
        left_out=(*_merged(found.left_out), *record.left_out, *repeated),
        problems=(*mixed, *problems, *record.problems, *_document_problems(documents, alone=alone)),
    )
    return Opened(study=study, identities=identities)


def _by_date(events: Sequence[ClinicalEvent]) -> tuple[ClinicalEvent, ...]:
    """Events, oldest first; undated ones last."""
    return tuple(sorted(events, key=lambda event: event.date or dt.date.max))


def _document_problems(documents: Sequence[Document], *, alone: bool) -> list[str]:
    problems = [f"{document.name}: {problem}" for document in documents for problem in document.problems]
    problems += [f"A document is dated in the future: {day}." for day in future_days(one.date for one in documents)]
    if documents and not alone:
        problems.append("Whose documents these are is not checked: they are taken to be of this patient.")
    return problems


def _identities(frames: Sequence[FrameHeader], *, slides: Sequence[SlideHeader]) -> dict[Identity, int]:
    """Whose images these are, and how many files each has."""
    files = {id(frame.file): frame.file for frame in frames}
    return dicom_identities(
        [*((file.patient, file.birth) for file in files.values()), *((slide.patient, "") for slide in slides)]
    )


def _patient(shown: dict[Identity, int], recorded: Sequence[Identity]) -> str:
    """The opaque key: that of the images where there are any."""
    if shown:
        return next(key for key in next(iter(shown)).dicom)
    return recorded[0].key if recorded else ""


def _blobs(place: Path, *, limits: Limits) -> tuple[Sequence[Blob], list[LeftOut]]:
    """Lists what is to be read at a path."""
    try:
        status = place.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileFormatError(
            f"{str(place)!r} cannot be opened: {reason.lower()}.",
            allowed=f"Osler reads {_READ}.",
            next_step="Check the path.",
        ) from error
    if stat.S_ISDIR(status.st_mode):
        files, left_out = find_files(place, limits=limits)
        return without_mirax_data(files), left_out
    if not stat.S_ISREG(status.st_mode):
        raise UnsupportedError(
            f"{place} is a pipe, socket or device.", allowed=f"Osler reads {_READ}.", next_step="Save it to a file."
        )
    blob = DiskBlob(place, status.st_size)
    kind = _sniff(blob)
    if kind == "zip":
        return find_members(place, limits=limits)
    referenced = referenced_files(blob) if kind == "dicom" else None
    return ([blob], []) if referenced is None else referenced


def _sniff(blob: Blob) -> Kind:
    try:
        with blob.open() as stream:
            return kind_of(stream.read(HEAD_BYTES))
    except DECODE_ERRORS as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise FileFormatError(
            f"{blob.name} cannot be read ({str(reason).lower()}).", next_step="Check its permissions, or copy it again."
        ) from error


def _kind(blob: Blob) -> Kind:
    """The format of a file; of one that starts like a picture, whether it is a whole slide."""
    kind = _sniff(blob)
    if kind in ("picture", "other") and mirax_folder(blob) is not None:
        return "slide"
    if kind not in ("picture", "slide"):
        return kind
    with blob.open() as stream:
        tiff = stream.read(2) in (b"II", b"MM")
    return "slide" if tiff and is_slide(blob) else "picture"


def _read_all(blobs: Sequence[Blob], *, limits: Limits, pictures: Pictures) -> _Found:
    """Reads the headers of all files. Threads wait for slow disks together."""
    found = _Found()
    documents = DocumentProcess()

    def read(blob: Blob) -> _Found:
        part = _Found()
        try:
            _read_one(blob, part=part, limits=limits, pictures=pictures, documents=documents)
        except (DataError, CapacityError, RequestError) as error:
            part.errors.append(error)
            part.left_out.append(LeftOut(what=blob.name, why=_why(error, blob=blob)))
        return part

    with ExitStack() as stack:
        stack.enter_context(documents)
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=2))
        parts: Iterable[_Found] = pool.map(read, blobs) if len(blobs) > 8 else map(read, blobs)
        for part in parts:
            found.frames.extend(part.frames)
            found.slides.extend(part.slides)
            found.series.extend(part.series)
            found.fhir.extend(part.fhir)
            found.documents.extend(part.documents)
            found.left_out.extend(part.left_out)
            found.errors.extend(part.errors)
    return found


def _why(error: OslerError, *, blob: Blob) -> str:
    """The reason without the file's name, which stands beside it."""
    text = reason_of(error).removeprefix(blob.name).lstrip(": ").removeprefix("is ")
    return text.replace(blob.name, "the file")


def _read_one(blob: Blob, *, part: _Found, limits: Limits, pictures: Pictures, documents: DocumentProcess) -> None:
    kind = _kind(blob)
    if kind == "pdf" or (kind == "picture" and _is_paper(blob, pictures=pictures)):
        part.documents.append(read_document(blob, kind="pdf" if kind == "pdf" else "picture", process=documents))
        return
    readers: dict[Kind, Callable[[], tuple[Series, tuple[LeftOut, ...]]]] = {
        "nifti": lambda: read_volume(blob, limits=limits),
        "mgh": lambda: read_volume(blob, limits=limits),
        "picture": lambda: read_picture(blob, limits=limits),
        "slide": lambda: (read_slide(blob), ()),
    }
    if kind == "dicom-slide":
        part.slides.append(scan_slide(blob))
    elif kind == "dicom":
        part.frames.extend(scan_file(blob, limits=limits))
    elif kind == "json":
        part.fhir.append(read_fhir(blob, limits=limits))
    elif kind in readers:
        series, left_out = readers[kind]()
        part.series.append(series)
        part.left_out.extend(left_out)
    else:
        reason = "an archive inside a folder or archive; open it by itself" if kind == "zip" else NOT_READ[kind]
        damaged = kind in ("empty", "other", "gzip", "text")
        error = FileFormatError if damaged else UnsupportedError
        raise error(
            f"{blob.name}: {reason}.", allowed=f"Osler reads {_READ}.", next_step="Check that this is the right file."
        )


def _is_paper(blob: Blob, *, pictures: Pictures) -> bool:
    """Whether a picture is to be read as a document; without the packages for it, only where that is asked for."""
    if pictures != "judge":
        return pictures == "document"
    return not missing_packages("picture") and is_document(blob)


def _timepoints(found: _Found) -> tuple[tuple[TimePoint, ...], tuple[str, ...]]:
    """Builds one time point a study, oldest first, undated ones and loose files last."""
    by_series: dict[tuple[str, str], list[FrameHeader]] = {}
    for frame in found.frames:
        file = frame.file
        by_series.setdefault((file.study_uid, file.series_uid), []).append(frame)
    by_study: dict[str, list[Series]] = {}
    about: dict[str, FileHeader | SlideHeader] = {}
    for (study_uid, _series_uid), frames in by_series.items():
        built = build_series(frames)
        found.left_out.extend(built.left_out)
        by_study.setdefault(study_uid, []).extend(built.series)
        about.setdefault(study_uid, frames[0].file)
    built_slides = build_slides(found.slides)
    found.left_out.extend(built_slides.left_out)
    found.errors.extend(built_slides.errors)
    for header, slide in built_slides.slides:
        by_study.setdefault(header.study_uid, []).append(slide)
        about.setdefault(header.study_uid, header)
    timepoints = [
        TimePoint(
            series=tuple(sorted(series, key=lambda one: one.series)),
            date=about[uid].study_date,
            study_uid=uid,
            description=about[uid].study_description,
            priority=about[uid].priority,
        )
        for uid, series in by_study.items()
        if series
    ]
    timepoints.sort(key=lambda point: (point.date or dt.date.max, point.study_uid))
    timepoints, problems = distinct_series(timepoints)
    problems += [f"A study is dated in the future: {day}." for day in future_days(point.date for point in timepoints)]
    if found.series:
        timepoints.append(TimePoint(series=tuple(found.series)))
    if len(found.series) > 1 or (found.series and (found.frames or found.slides)):
        problems.append("Files that name no patient (NIfTI, pictures) are taken to be of one patient, without a date.")
    return tuple(timepoints), tuple(problems)


def distinct_series(timepoints: list[TimePoint]) -> tuple[list[TimePoint], list[str]]:
    """Gives series that several studies name alike identifiers of their own, and says so."""
    counts = Counter(series.series for point in timepoints for series in point.series)
    twice = {name for name, count in counts.items() if count > 1}
    if not twice:
        return timepoints, []
    renamed = [
        replace(
            point,
            series=tuple(
                replace(series, series=f"{series.series}#study{number}") if series.series in twice else series
                for series in point.series
            ),
        )
        for number, point in enumerate(timepoints, start=1)
    ]
    return renamed, [
        f"{len(twice)} Series Instance UID(s) stand in several studies: they are told apart by '#study' and a number."
    ]


def _nothing(place: Path, *, found: _Found, record: Record, alone: bool) -> OslerError:
    """The error for a path at which nothing can be used."""
    missing = next((error for error in found.errors if isinstance(error, RequestError)), None)
    if missing is not None or (alone and found.errors):
        return missing or found.errors[0]
    found.left_out.extend(record.left_out)
    if not found.left_out:
        return FileFormatError(
            f"{place} holds no files." if place.is_dir() else f"{place} holds no images and no record.",
            allowed=f"Osler reads {_READ}.",
            next_step="Check that this is the right path.",
        )
    first = "; ".join(f"{item.what}: {item.why}" for item in _merged(found.left_out)[:3])
    broken = any(isinstance(error, FileFormatError) for error in found.errors)
    kind = FileFormatError if broken or not found.errors else UnsupportedError
    total = sum(item.count for item in found.left_out)
    return kind(
        f"{place} holds nothing that can be used ({total} left out): {first}",
        allowed=f"Osler reads {_READ}.",
        next_step="Check that this is the right path.",
    )


def _merged(items: Sequence[LeftOut]) -> list[LeftOut]:
    """Puts what was left out for the same reason together, naming up to five of them."""
    by_reason: dict[str, list[LeftOut]] = {}
    for item in items:
        by_reason.setdefault(item.why, []).append(item)
    merged = []
    for why, group in by_reason.items():
        names = list(dict.fromkeys(item.what for item in group))
        what = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        merged.append(LeftOut(what=what, why=why, count=sum(item.count for item in group)))
    return merged
