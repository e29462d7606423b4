"""Reads DICOM headers, and of each header only what Osler needs.

Pixels stay on disk: a folder of ten thousand files costs ten thousand short
reads. Frames of enhanced (multi-frame) objects come out like single files.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from osler.errors import DataError, FileFormatError, UnsupportedError
from osler.readers.blob import Blob, DiskBlob
from osler.readers.codestream import SYNTAXES, Codestream
from osler.readers.dicom_deflated import check_deflated
from osler.readers.dicom_errors import PARSE_ERRORS, brief
from osler.readers.dicom_fragments import check_fragments
from osler.readers.dicom_frames import read_frames
from osler.readers.dicom_header import FileHeader, FrameHeader
from osler.readers.dicom_values import as_int, as_number, as_numbers, as_text
from osler.readers.identity import birth_key, hashed
from osler.readers.limits import LIMITS, Limits, check_length, check_shape

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"

_TAGS = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate",
    "AcquisitionDate", "ContentDate", "AcquisitionTime", "ContentTime", "Modality", "StudyDescription",
    "SeriesDescription", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "BodyPartExamined",
    "SliceThickness", "EchoTime", "EchoNumbers", "InversionTime", "TriggerTime", "NominalScannedPixelSpacing",
    "GantryDetectorTilt", "ImagerPixelSpacing", "ViewPosition", "DiffusionBValue", "StudyInstanceUID",
    "SeriesInstanceUID", "AcquisitionNumber", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "FrameOfReferenceUID", "TemporalPositionIdentifier", "TemporalPositionIndex", "StackID", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence", "GridFrameOffsetVector",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PatientIdentityRemoved",
    "RequestedProcedurePriority", "StudyPriorityID", "RequestAttributesSequence",
]  # fmt: skip

# Modalities whose pixels are not a picture of the patient, or are read by a later reader.
_NOT_READ = {
    "SEG": "a segmentation, not an image (`osler inspect` of that file alone says what it holds)",
    "SR": "a structured report, not an image (`osler inspect` of that file alone says what it holds)",
    "SM": "a slide image without the file meta information of a whole slide",
    "PR": "a presentation state, not an image (`osler inspect` of that file alone says what it holds)",
    "KO": "a key object selection, which holds no pixels",
    "RTDOSE": "a radiotherapy dose grid, which is not an image of the patient",
    "RTSTRUCT": "a radiotherapy structure set, which holds no pixels",
    "RTPLAN": "a radiotherapy plan, which holds no pixels",
    "REG": "a registration, which holds no pixels",
    "RWV": "a real-world value map, which holds no pixels",
    "ECG": "a waveform, which holds no pixels",
    "DOC": "an encapsulated document, which this version does not read",
}
_VIDEO = "1.2.840.10008.1.2.4.10"  # 100 to 109: MPEG-2, H.264, H.265
_ITEM_HEADER = 8
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, _BIG_ENDIAN}
_PIXEL_TAGS = {(0x7FE0, 0x0010): "", (0x7FE0, 0x0008): "f4", (0x7FE0, 0x0009): "f8"}


def scan_file(blob: Blob, *, limits: Limits = LIMITS) -> list[FrameHeader]:
    """Reads the header of one DICOM file.

    Args:
        blob: The file.
        limits: Bounds on what the header may claim.

    Returns:
        One record a frame; none for a DICOMDIR.

    Raises:
        FileFormatError: If the file is damaged, truncated or no DICOM file.
        UnsupportedError: If it holds something else than an image of a patient.
    """
    try:
        return _scan(blob, limits=limits)
    except DataError:
        raise
    except PermissionError as error:
        raise FileFormatError(
            f"{blob.name} cannot be read (permission denied).", next_step="Ask its owner for access."
        ) from error
    except PARSE_ERRORS as error:
        raise FileFormatError(
            f"{blob.name} is not a readable DICOM file ({brief(error)}).",
            next_step="Copy or export it again.",
        ) from error


def _scan(blob: Blob, *, limits: Limits) -> list[FrameHeader]:
    with blob.open() as stream:
        check_deflated(stream, name=blob.name, limits=limits)
        dataset = dcmread(stream, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
        syntax = _transfer_syntax(dataset)
        # A deflated data set is read from memory, so the stream's place says nothing.
        deflated = syntax == DeflatedExplicitVRLittleEndian
        length, item = (None, "") if deflated else _pixel_length(stream, syntax=syntax, blob=blob)
        not_finite = _count_not_finite(stream, item=item) if item else 0
        parts: tuple[tuple[int, int], ...] = ()
        if length is not None and is_compressed(syntax) and isinstance(blob, DiskBlob):
            parts = check_fragments(stream, name=blob.name, size=blob.size)
    if as_text(dataset.file_meta.get("MediaStorageSOPClassUID")) == MEDIA_DIRECTORY:
        return []
    _require_image(dataset, blob=blob, has_pixels=deflated or length is not None)
    header = _file_header(dataset, blob=blob, syntax=syntax, not_finite=not_finite)
    header = replace(header, codestream=_codestream(header, parts=parts))
    item_bytes = max(header.bits_allocated // 8, 1)
    check_shape(
        blob.name,
        shape=(header.frames, header.rows, header.columns, header.samples),
        item_bytes=item_bytes,
        limits=limits,
    )
    if length is not None:
        if is_compressed(syntax):
            _check_frames(header, most=len(parts) if parts else length // _ITEM_HEADER)
        else:
            check_length(blob.name, need=_native_bytes(header), have=length)
    return read_frames(dataset, header=header)


def scan_dataset(dataset: FileDataset, *, blob: Blob, limits: Limits = LIMITS) -> list[FrameHeader]:
    """Lists the frames of a header whose pixels are not here yet, such as the metadata that a server sends.

    Args:
        dataset: The elements, with file meta information.
        blob: The file that is to come.
        limits: Bounds on what the header may claim.

    Raises:
        FileFormatError: If the header makes no sense.
        UnsupportedError: If it is of something else than an image of a patient.
    """
    try:
        _require_image(dataset, blob=blob, has_pixels=True)
        header = _file_header(dataset, blob=blob, syntax=_transfer_syntax(dataset), not_finite=0)
        shape = (header.frames, header.rows, header.columns, header.samples)
        check_shape(blob.name, shape=shape, item_bytes=max(header.bits_allocated // 8, 1), limits=limits)
        return read_frames(dataset, header=header)
    except PARSE_ERRORS as error:
        raise FileFormatError(
            f"{blob.name} is described in a way that makes no sense ({brief(error)}).",
            next_step="Ask whoever runs the server.",
        ) from error


def _check_frames(header: FileHeader, *, most: int) -> None:
    """Each compressed frame has an item of its own; a header that names more would have them listed for nothing."""
    if header.frames > most:
        raise FileFormatError(
            f"{header.blob.name} is truncated: {header.frames:,} frames are announced and at most {most:,} are there.",
            next_step="Copy or export it again.",
        )


def _codestream(header: FileHeader, *, parts: tuple[tuple[int, int], ...]) -> Codestream | None:
    if not parts or header.transfer_syntax not in SYNTAXES or (header.frames, header.samples) != (1, 1):
        return None
    return Codestream(parts=parts, shape=(header.rows, header.columns), bits=header.bits_stored, signed=header.signed)


def _transfer_syntax(dataset: FileDataset) -> str:
    named = as_text(dataset.file_meta.get("TransferSyntaxUID"))
    if named:
        return named
    implicit, _little = dataset.original_encoding
    if dataset.original_encoding == (False, False):
        return _BIG_ENDIAN
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def is_compressed(syntax: str) -> bool:
    """Whether a transfer syntax packs each frame by a codec."""
    return syntax not in _NATIVE


def _pixel_length(stream: BinaryIO, *, syntax: str, blob: Blob) -> tuple[int | None, str]:
    """Bytes from the start of the pixel data to the end of the file, and the type of float pixels.

    Returns:
        ``None`` if there are no pixel data; an empty type for whole numbers.
    """
    start = stream.tell()
    order = ">" if syntax == _BIG_ENDIAN else "<"
    head = stream.read(8)
    tag = struct.unpack(f"{order}HH", head[:4]) if len(head) == 8 else None
    if tag not in _PIXEL_TAGS:
        return None, ""
    kind = _PIXEL_TAGS[tag]
    return blob.size - start - (8 if syntax == ImplicitVRLittleEndian else 12), f"{order}{kind}" if kind else ""


def _count_not_finite(stream: BinaryIO, *, item: str) -> int:
    """Counts NaN and infinite voxels in native float pixels, a few at a time."""
    stream.seek(4, 1)
    count = 0
    while chunk := stream.read(1 << 22):
        values = np.frombuffer(chunk[: len(chunk) // 8 * 8], dtype=item)
        count += int(values.size - np.isfinite(values).sum())
    return count


def _native_bytes(header: FileHeader) -> int:
    samples = header.frames * header.rows * header.columns * header.samples
    if header.photometric == "YBR_FULL_422":
        samples = samples * 2 // 3
    return (samples * header.bits_allocated + 7) // 8


def _require_image(dataset: FileDataset, *, blob: Blob, has_pixels: bool) -> None:
    modality = as_text(dataset.get("Modality")).upper()
    reason = _NOT_READ.get(modality)
    if reason:
        raise UnsupportedError(
            f"{blob.name} is {reason}.",
            allowed="Osler reads DICOM images: CT, MR, X-ray and other pictures.",
            next_step="Open the images that it belongs to.",
        )
    if _transfer_syntax(dataset).startswith(_VIDEO):
        raise UnsupportedError(
            f"{blob.name} is a video, which this version does not read.",
            allowed="Osler reads DICOM images.",
            next_step="Export single frames of it.",
        )
    if len(dataset) == 0:
        raise FileFormatError(
            f"{blob.name} is not a DICOM file, or is truncated before its first element.",
            next_step="Copy or export it again.",
        )
    if not has_pixels and _is_image(dataset):
        raise FileFormatError(
            f"{blob.name} is truncated before its pixels (or an image exported without them).",
            next_step="Copy or export it again.",
        )
    if not has_pixels or as_int(dataset.get("Rows")) is None:
        raise UnsupportedError(
            f"{blob.name} is a DICOM object without pixels{f' (modality {modality!r})' if modality else ''}.",
            allowed="Osler reads DICOM images.",
            next_step="Open the series that holds the images.",
        )


def _is_image(dataset: FileDataset) -> bool:
    """Whether the class or the size says that pixels should follow."""
    # A file cut early has its class only in the file meta information.
    named = (as_text(dataset.get("SOPClassUID")), as_text(dataset.file_meta.get("MediaStorageSOPClassUID")))
    return as_int(dataset.get("Rows")) is not None or any("Image Storage" in UID(name).name for name in named)


def _priority(dataset: FileDataset) -> str:
    """How urgently the study was asked for, as the file says, in capitals."""
    requests = dataset.get("RequestAttributesSequence") or ()
    for place in (dataset, *requests):
        for keyword in ("RequestedProcedurePriority", "StudyPriorityID"):
            if stated := as_text(place.get(keyword)).upper():
                return stated
    return ""


def _file_header(dataset: FileDataset, *, blob: Blob, syntax: str, not_finite: int) -> FileHeader:
    def text(keyword: str) -> str:
        return as_text(dataset.get(keyword))

    allocated = as_int(dataset.get("BitsAllocated")) or 16
    samples = as_int(dataset.get("SamplesPerPixel")) or 1
    image_type = dataset.get("ImageType") or ()
    return FileHeader(
        blob=blob,
        patient=patient_key(dataset),
        birth=birth_key(as_text(dataset.get("PatientBirthDate"))),
        study_uid=text("StudyInstanceUID"),
        study_date=study_day(dataset),
        study_description=text("StudyDescription"),
        priority=_priority(dataset),
        series_uid=text("SeriesInstanceUID"),
        series_description=text("SeriesDescription"),
        modality=text("Modality").upper(),
        sop_class=text("SOPClassUID"),
        sop_uid=text("SOPInstanceUID"),
        instance_number=as_int(dataset.get("InstanceNumber")),
        body_part=text("BodyPartExamined"),
        frame_of_reference=text("FrameOfReferenceUID"),
        view=text("ViewPosition"),
        image_type=(image_type,) if isinstance(image_type, str) else tuple(str(part) for part in image_type),
        transfer_syntax=syntax,
        rows=as_int(dataset.get("Rows")) or 0,
        columns=as_int(dataset.get("Columns")) or 0,
        frames=_frame_count(dataset, blob=blob),
        samples=samples,
        photometric=text("PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB"),
        bits_allocated=allocated,
        bits_stored=as_int(dataset.get("BitsStored")) or allocated,
        signed=as_int(dataset.get("PixelRepresentation")) == 1,
        padding=_padding(dataset),
        has_lut=bool(dataset.get("ModalityLUTSequence")),
        rescale_type=text("RescaleType").upper(),
        tilt=as_number(dataset.get("GantryDetectorTilt")) or 0.0,
        pixel_spacing=_detector_spacing(dataset),
        thickness=as_number(dataset.get("SliceThickness")),
        not_finite=not_finite,
    )


def _frame_count(dataset: Dataset, *, blob: Blob) -> int:
    value = dataset.get("NumberOfFrames")
    if value in (None, ""):
        return 1
    count = as_int(value)
    if count is None or count < 1:
        raise FileFormatError(
            f"{blob.name}: the header says {value!r} frames.", allowed="At least one.", next_step="Export it again."
        )
    return count


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    value = as_int(dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = as_int(dataset.get("PixelPaddingRangeLimit"))
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def _detector_spacing(dataset: Dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        numbers = as_numbers(dataset.get(keyword), count=2)
        if numbers and min(numbers) > 0:
            return numbers[0], numbers[1]
    return None


def patient_key(dataset: Dataset) -> str:
    """A hash of what identifies the patient; never shown."""
    parts = [as_text(dataset.get(keyword)) for keyword in ("PatientID", "IssuerOfPatientID")]
    if not parts[0]:
        parts = [as_text(dataset.get(keyword)) for keyword in ("PatientName", "PatientBirthDate")]
    if not parts[0].strip("^ "):
        return ""
    return hashed(*parts)


def study_day(dataset: Dataset) -> dt.date | None:
    """The day of the study, of the series or of the pixels, the first that is given."""
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        digits = re.sub(r"[^0-9]", "", as_text(dataset.get(keyword)))[:8]
        try:
            return dt.datetime.strptime(digits, "%Y%m%d").date()
        except ValueError:
            continue
    return None


def read_dataset(blob: Blob, *, tags: list[Any]) -> Dataset:
    """Reads a few elements of a file again, such as a lookup table."""
    with blob.open() as stream:
        return dcmread(stream, force=True, stop_before_pixels=True, specific_tags=tags)
