"""Follows a DICOMDIR, the table of contents of a DICOM disk."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from osler.readers.blob import DiskBlob
from osler.readers.dicom_deflated import check_deflated
from osler.readers.dicom_errors import DECODE_ERRORS
from osler.readers.dicom_scan import MEDIA_DIRECTORY
from osler.readers.dicom_values import as_text
from osler.study import LeftOut


def referenced_files(blob: DiskBlob) -> tuple[list[DiskBlob], list[LeftOut]] | None:
    """Lists the files that a DICOMDIR names.

    Args:
        blob: A DICOM file.

    Returns:
        The files, and entries that cannot be followed; ``None`` if the file is no DICOMDIR.

    Raises:
        FileFormatError: If the file is deflated like a bomb.
    """
    try:
        with blob.open() as stream:
            check_deflated(stream, name=blob.name)
            dataset = dcmread(stream, force=True, stop_before_pixels=True, specific_tags=["DirectoryRecordSequence"])
            if as_text(dataset.file_meta.get("MediaStorageSOPClassUID")) != MEDIA_DIRECTORY:
                return None
            records = list(dataset.get("DirectoryRecordSequence") or [])
    except DECODE_ERRORS:
        return None  # the scan of the file itself says what is wrong
    root = blob.path.parent
    files: dict[Path, DiskBlob] = {}
    left_out: list[LeftOut] = []
    for record in records:
        parts = _parts(record)
        if not parts:
            continue
        path = root.joinpath(*parts)
        shown = "/".join(parts)
        if ".." in parts or any("/" in part or "\\" in part for part in parts):
            left_out.append(LeftOut(what=shown, why="named by the DICOMDIR, and outside of its folder"))
            continue
        found = _find(root, parts=parts)
        if found is None:
            left_out.append(LeftOut(what=str(path), why="named by the DICOMDIR, and not there"))
        else:
            files[found] = DiskBlob(found, found.stat().st_size)
    return list(files.values()), left_out


def _parts(record: Dataset) -> tuple[str, ...]:
    value = record.get("ReferencedFileID")
    if not value:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _find(root: Path, *, parts: tuple[str, ...]) -> Path | None:
    """The named file; disks copied from CD may have lower-case names."""
    for change in (str, str.lower):
        path = root.joinpath(*(change(part) for part in parts))
        if path.is_file():
            return path
    return None
