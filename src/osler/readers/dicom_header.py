"""What Osler keeps of a DICOM header: one record a file, one a frame."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from osler.readers.blob import Blob
from osler.readers.codestream import Codestream
from osler.study import Window

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """The part of a header that all frames of a file share.

    Args:
        blob: The file.
        patient: Hash that tells patients apart; empty if the file names none.
        birth: Hash of the date of birth; empty if the file gives none.
        study_uid: Study Instance UID.
        study_date: Day of the study.
        study_description: Study Description.
        priority: Requested Procedure Priority, or the retired Study Priority ID; may be empty.
        series_uid: Series Instance UID.
        series_description: Series Description.
        modality: Modality.
        sop_class: SOP Class UID.
        sop_uid: SOP Instance UID.
        instance_number: Instance Number.
        body_part: Body Part Examined.
        frame_of_reference: Frame of Reference UID.
        view: View Position.
        image_type: Image Type.
        transfer_syntax: How the file is encoded.
        rows: Rows.
        columns: Columns.
        frames: Number of frames.
        samples: Samples per pixel.
        photometric: Photometric Interpretation.
        bits_allocated: Bits Allocated.
        bits_stored: Bits Stored.
        signed: Whether stored values have a sign.
        padding: Pixel Padding Value and Pixel Padding Range Limit (equal if there is no range).
        has_lut: Whether a Modality LUT takes the place of slope and intercept.
        rescale_type: Rescale Type.
        tilt: Gantry/Detector Tilt in degrees, 0 if absent.
        pixel_spacing: mm between rows and between columns of the detector or patient.
        thickness: Slice Thickness in mm.
        not_finite: How many pixels are NaN or infinite.
        codestream: Where the only frame lies, if it can be decoded the short way.
    """

    blob: Blob
    patient: str
    birth: str
    study_uid: str
    study_date: dt.date | None
    study_description: str
    priority: str
    series_uid: str
    series_description: str
    modality: str
    sop_class: str
    sop_uid: str
    instance_number: int | None
    body_part: str
    frame_of_reference: str
    view: str
    image_type: tuple[str, ...]
    transfer_syntax: str
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None
    has_lut: bool
    rescale_type: str
    tilt: float
    pixel_spacing: tuple[float, float] | None
    thickness: float | None
    not_finite: int
    codestream: Codestream | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """One frame: where it lies and how its stored values become units.

    Args:
        file: The file.
        index: Frame within the file, from 0.
        position: Image Position (Patient): center of the first pixel, LPS mm.
        orientation: Image Orientation (Patient): directions of rising column and row index.
        spacing: Pixel Spacing: mm between rows, mm between columns.
        slope: Rescale Slope; ``None`` if there is no rescale.
        intercept: Rescale Intercept; ``None`` if there is no rescale.
        window: The display window of this frame.
        marks: What tells frames at the same place apart, by name, such as ``{"echo": "2.3"}``.
    """

    file: FileHeader
    index: int
    position: Vector | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    slope: float | None
    intercept: float | None
    window: Window | None
    marks: tuple[tuple[str, str], ...]

    def mark(self, name: str) -> str:
        """Returns one of the marks, empty if the frame has none of that name."""
        return dict(self.marks).get(name, "")
