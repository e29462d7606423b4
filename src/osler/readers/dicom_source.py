"""The DICOM headers behind a series: what an object about it must copy and refer to."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydicom import dcmread
from pydicom.dataset import Dataset

from osler.errors import FileFormatError, UnsupportedError
from osler.readers.blob import Blob, ZipHandle, blob_at
from osler.readers.dicom_errors import PARSE_ERRORS, brief
from osler.study import Image, SliceOrigin, Volume

# Type 2 of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): there, or there and empty.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def instance_headers(series: Volume | Image, *, origins: Iterable[SliceOrigin] | None = None) -> dict[str, Dataset]:
    """Reads the headers (no pixels) of the files behind a series.

    Args:
        series: Of a study that `open_study` opened.
        origins: Which slices; all by default.

    Returns:
        Header by SOP Instance UID, in the order of the slices; one for a multi-frame file.

    Raises:
        UnsupportedError: If the series is not from DICOM files.
        FileFormatError: If a file is gone, or is another one by now.
    """
    wanted = series.origins if origins is None else tuple(origins)
    if not wanted or not all(origin.sop_uid for origin in wanted):
        raise UnsupportedError(
            f"The series {series.series!r} is not from DICOM files, so no DICOM object can refer to it.",
            allowed="SR, SEG, presentation states and captures are written about DICOM images.",
            next_step="Write JSON, Markdown or a NIfTI label map (--seg mask.nii.gz) instead.",
        )
    archives: dict[str, ZipHandle] = {}
    headers: dict[str, Dataset] = {}
    for origin in wanted:
        if origin.sop_uid not in headers:
            headers[origin.sop_uid] = _header(origin, archives=archives)
    return headers


def _header(origin: SliceOrigin, *, archives: dict[str, ZipHandle]) -> Dataset:
    try:
        with _blob(origin.file, archives=archives).open() as stream:
            header = dcmread(stream, force=True, stop_before_pixels=True)
    except PARSE_ERRORS as error:
        raise FileFormatError(
            f"{origin.file} cannot be read again ({brief(error)}).",
            allowed="The images that an answer is about must still be there when it is written.",
            next_step="Put the files back and ask again.",
        ) from error
    if str(header.get("SOPInstanceUID", "")) != origin.sop_uid:
        raise FileFormatError(
            f"{origin.file} is another image than the one that was opened.",
            next_step="Leave the files as they are while a question runs, and ask again.",
        )
    if not header.get("StudyInstanceUID") or not header.get("SeriesInstanceUID"):
        raise UnsupportedError(
            f"{origin.file} names no study or no series, so no DICOM object can belong to it.",
            allowed="Images with a Study Instance UID and a Series Instance UID.",
            next_step="Export them again, or write JSON or Markdown instead.",
        )
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, None)
    _drop_damaged(header)
    return header


def _drop_damaged(header: Dataset) -> None:
    """Removes what would make every object that copies it invalid: the damage of an export is not carried on."""
    if "PatientAge" in header and not re.fullmatch(r"\d{3}[DWMY]", str(header.PatientAge)):
        del header.PatientAge
    for keyword in ("ReferencedStudySequence", "ReferencedPatientSequence"):
        items = header.get(keyword) or ()
        if keyword in header and not all(item.get("ReferencedSOPClassUID") for item in items):
            delattr(header, keyword)


def _blob(name: str, *, archives: dict[str, ZipHandle]) -> Blob:
    """The bytes by their name; ``archive.zip!member`` inside an archive."""
    try:
        return blob_at(name)
    except OSError:
        archive, mark, member = name.partition("!")
        if not mark:
            raise
        return blob_at(archive, member=member, archives=archives)
