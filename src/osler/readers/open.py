"""The one way from files to a `Study`: `open_study`."""

from __future__ import annotations

import datetime as dt
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from osler.errors import DataError, FileFormatError, PatientMixError, UnsupportedError
from osler.readers.archive import find_members
from osler.readers.blob import Blob, DiskBlob
from osler.readers.dicom_errors import DECODE_ERRORS
from osler.readers.dicom_header import FrameHeader
from osler.readers.dicom_scan import scan_file
from osler.readers.dicom_series import build_series
from osler.readers.dicomdir import referenced_files
from osler.readers.folder import find_files
from osler.readers.label_map import without_label_maps
from osler.readers.limits import LIMITS, Limits
from osler.readers.nifti import read_volume
from osler.readers.picture import read_picture
from osler.readers.sniff import HEAD_BYTES, NOT_READ, Kind, kind_of
from osler.study import LeftOut, Series, Study, TimePoint

_READ = "DICOM (files, folders, DICOMDIR, ZIP), NIfTI, MGH, PNG, JPEG and TIFF"


@dataclass(slots=True)
class _Found:
    """What has been collected from files so far."""

    frames: list[FrameHeader] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    errors: list[DataError] = field(default_factory=list)


def open_study(path: str | Path, *, limits: Limits = LIMITS) -> Study:
    """Opens what is known of one patient.

    Reads headers; pixels are decoded when a series is read. Files are told
    apart by their content. In a folder or an archive, files that are damaged
    or of no use are listed in ``left_out`` and do not stop the rest.

    Args:
        path: A file (DICOM, DICOMDIR, ZIP, NIfTI, MGH, PNG, JPEG, TIFF), or a folder of
            such files, nested as may be.
        limits: Bounds on sizes and numbers.

    Raises:
        FileFormatError: If the path does not exist, or nothing at it can be read.
        UnsupportedError: If it holds no images that Osler reads.
        PatientMixError: If the files belong to several patients.

    Example:
        >>> study = open_study("scan.nii.gz")  # doctest: +SKIP
        >>> study.volumes()[0].read(slices=[10]).shape  # doctest: +SKIP
        (1, 512, 512)
    """
    if not str(path):
        raise FileFormatError("The path is empty.", allowed=f"Osler reads {_READ}.", next_step="Name a file or folder.")
    with warnings.catch_warnings():
        # The libraries' warnings may quote the patient. What matters is said in problems.
        warnings.simplefilter("ignore")
        return _open(Path(path), limits=limits)


def _open(place: Path, *, limits: Limits) -> Study:
    blobs, left_out = _blobs(place, limits=limits)
    alone = len(blobs) == 1 and not left_out and not place.is_dir()
    found = _read_all(blobs, limits=limits)
    found.left_out[:0] = left_out
    found.series, label_maps = without_label_maps(found.series, beside=len(found.frames))
    found.left_out.extend(label_maps)
    _require_one_patient(found.frames)
    timepoints, problems = _timepoints(found)
    if not timepoints:
        raise _nothing(place, found=found, alone=alone)
    keys = {frame.file.patient for frame in found.frames} - {""}
    return Study(
        timepoints=timepoints,
        patient=next(iter(keys), ""),
        source=str(place),
        left_out=tuple(_merged(found.left_out)),
        problems=problems,
    )


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
        return find_files(place, limits=limits)
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


def _read_all(blobs: Sequence[Blob], *, limits: Limits) -> _Found:
    """Reads the headers of all files. Threads wait for slow disks together."""
    found = _Found()

    def read(blob: Blob) -> _Found:
        part = _Found()
        try:
            _read_one(blob, part=part, limits=limits)
        except DataError as error:
            part.errors.append(error)
            part.left_out.append(LeftOut(what=blob.name, why=_why(error, blob=blob)))
        return part

    with ThreadPoolExecutor(max_workers=2) as pool:
        parts: Iterable[_Found] = pool.map(read, blobs) if len(blobs) > 8 else map(read, blobs)
        for part in parts:
            found.frames.extend(part.frames)
            found.series.extend(part.series)
            found.left_out.extend(part.left_out)
            found.errors.extend(part.errors)
    return found


def _why(error: DataError, *, blob: Blob) -> str:
    """The reason without the file's name, which stands beside it."""
    text = error.problem.removeprefix(blob.name).lstrip(": ").removeprefix("is ")
    return text.replace(blob.name, "the file")


def _read_one(blob: Blob, *, part: _Found, limits: Limits) -> None:
    kind = _sniff(blob)
    readers: dict[Kind, Callable[[], tuple[Series, tuple[LeftOut, ...]]]] = {
        "nifti": lambda: read_volume(blob, limits=limits),
        "mgh": lambda: read_volume(blob, limits=limits),
        "picture": lambda: read_picture(blob, limits=limits),
    }
    if kind == "dicom":
        part.frames.extend(scan_file(blob, limits=limits))
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


def _require_one_patient(frames: Sequence[FrameHeader]) -> None:
    counts: dict[str, set[int]] = {}
    for frame in frames:
        if frame.file.patient:
            counts.setdefault(frame.file.patient, set()).add(id(frame.file))
    if len(counts) > 1:
        numbers = ", ".join(str(len(files)) for files in counts.values())
        raise PatientMixError(
            f"The files belong to {len(counts)} patients ({numbers} files).",
            allowed="One patient at a time.",
            next_step="Open the folder of one patient.",
        )


def _timepoints(found: _Found) -> tuple[tuple[TimePoint, ...], tuple[str, ...]]:
    """Builds one time point a study, oldest first, undated ones and loose files last."""
    by_series: dict[tuple[str, str], list[FrameHeader]] = {}
    for frame in found.frames:
        file = frame.file
        by_series.setdefault((file.study_uid, file.series_uid), []).append(frame)
    by_study: dict[str, list[Series]] = {}
    about: dict[str, FrameHeader] = {}
    for (study_uid, _series_uid), frames in by_series.items():
        built = build_series(frames)
        found.left_out.extend(built.left_out)
        by_study.setdefault(study_uid, []).extend(built.series)
        about.setdefault(study_uid, frames[0])
    timepoints = [
        TimePoint(
            series=tuple(sorted(series, key=lambda one: one.series)),
            date=about[uid].file.study_date,
            study_uid=uid,
            description=about[uid].file.study_description,
            priority=about[uid].file.priority,
        )
        for uid, series in by_study.items()
        if series
    ]
    timepoints.sort(key=lambda point: (point.date or dt.date.max, point.study_uid))
    timepoints, problems = _distinct(timepoints)
    if found.series:
        timepoints.append(TimePoint(series=tuple(found.series)))
    if len(found.series) > 1 or (found.series and found.frames):
        problems.append("Files that name no patient (NIfTI, pictures) are taken to be of one patient, without a date.")
    return tuple(timepoints), tuple(problems)


def _distinct(timepoints: list[TimePoint]) -> tuple[list[TimePoint], list[str]]:
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


def _nothing(place: Path, *, found: _Found, alone: bool) -> DataError:
    """The error for a path at which nothing can be used."""
    if alone and found.errors:
        return found.errors[0]
    if not found.left_out:
        return FileFormatError(
            f"{place} holds no files." if place.is_dir() else f"{place} holds no images.",
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
