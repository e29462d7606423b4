"""Where each frame of a DICOM file lies: plain elements, or the functional groups of enhanced objects."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from osler.errors import FileFormatError
from osler.readers.dicom_header import FileHeader, FrameHeader
from osler.readers.dicom_values import as_number, as_numbers, as_text
from osler.study import Window

# What may tell frames at one place apart: our name -> (functional group, element) or element.
_PLAIN_MARKS = {
    "temporal position": ("TemporalPositionIdentifier",),
    "b-value": ("DiffusionBValue",),
    "echo": ("EchoTime", "EchoNumbers"),
    "inversion time": ("InversionTime",),
    "image type": ("ImageType",),
    "trigger time": ("TriggerTime",),
    "acquisition": ("AcquisitionNumber",),
    "acquisition time": ("AcquisitionTime",),
    "content time": ("ContentTime",),
}
_GROUP_MARKS = (
    ("stack", "FrameContentSequence", "StackID"),
    ("temporal position", "FrameContentSequence", "TemporalPositionIndex"),
    ("temporal position", "TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("b-value", "MRDiffusionSequence", "DiffusionBValue"),
    ("echo", "MREchoSequence", "EffectiveEchoTime"),
    ("inversion time", "MRModifierSequence", "InversionTimes"),
    ("image type", "MRImageFrameTypeSequence", "FrameType"),
    ("image type", "CTImageFrameTypeSequence", "FrameType"),
    ("image type", "PETFrameTypeSequence", "FrameType"),
    ("trigger time", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("acquisition", "FrameContentSequence", "FrameAcquisitionNumber"),
)


def read_frames(dataset: Dataset, *, header: FileHeader) -> list[FrameHeader]:
    """Lists the frames of a file.

    Args:
        dataset: The header's elements.
        header: What all frames share.
    """
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    if per_frame or shared:
        common = shared[0] if shared else Dataset()
        return [
            _enhanced_frame(
                dataset,
                header=header,
                index=index,
                own=per_frame[index] if index < len(per_frame) else Dataset(),
                common=common,
            )
            for index in range(header.frames)
        ]
    return [_plain_frame(dataset, header=header, index=index) for index in range(header.frames)]


def _plain_frame(dataset: Dataset, *, header: FileHeader, index: int) -> FrameHeader:
    # A multi-frame file without functional groups gives the place of its first frame only.
    placed = header.frames == 1
    slope, intercept = _rescale(dataset, name=header.blob.name)
    return FrameHeader(
        file=header,
        index=index,
        position=_vector(dataset.get("ImagePositionPatient")) if placed else None,
        orientation=as_numbers(dataset.get("ImageOrientationPatient"), count=6) if placed else None,
        spacing=_spacing(dataset.get("PixelSpacing")),
        slope=slope,
        intercept=intercept,
        window=_window(dataset),
        marks=_plain_marks(dataset),
    )


def _enhanced_frame(dataset: Dataset, *, header: FileHeader, index: int, own: Dataset, common: Dataset) -> FrameHeader:
    def item(sequence: str) -> Dataset:
        for group in (own, common):
            found = group.get(sequence)
            if found:
                return found[0]
        return Dataset()

    transform = item("PixelValueTransformationSequence")
    slope, intercept = _rescale(transform if len(transform) else dataset, name=header.blob.name)
    position = item("PlanePositionSequence").get("ImagePositionPatient", dataset.get("ImagePositionPatient"))
    orientation = item("PlaneOrientationSequence").get(
        "ImageOrientationPatient", dataset.get("ImageOrientationPatient")
    )
    spacing = item("PixelMeasuresSequence").get("PixelSpacing", dataset.get("PixelSpacing"))
    view = item("FrameVOILUTSequence")
    marks = dict(_plain_marks(dataset))
    for name, sequence, keyword in _GROUP_MARKS:
        value = _mark_text(item(sequence).get(keyword))
        if value:
            marks[name] = value
    return FrameHeader(
        file=header,
        index=index,
        position=_vector(position),
        orientation=as_numbers(orientation, count=6),
        spacing=_spacing(spacing),
        slope=slope,
        intercept=intercept,
        window=_window(view if len(view) else dataset),
        marks=tuple(marks.items()),
    )


def _plain_marks(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    marks = []
    for name, keywords in _PLAIN_MARKS.items():
        text = "/".join(filter(None, (_mark_text(dataset.get(keyword)) for keyword in keywords)))
        if text:
            marks.append((name, text))
    return tuple(marks)


def _mark_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return as_text(value)
    try:
        return "\\".join(as_text(part) for part in value)
    except TypeError:
        return as_text(value)


def _vector(value: Any) -> tuple[float, float, float] | None:
    numbers = as_numbers(value, count=3)
    return None if numbers is None else (numbers[0], numbers[1], numbers[2])


def _spacing(value: Any) -> tuple[float, float] | None:
    numbers = as_numbers(value, count=2)
    if numbers is None or min(numbers) <= 0:
        return None
    return numbers[0], numbers[1]


def _rescale(dataset: Dataset, *, name: str) -> tuple[float | None, float | None]:
    values = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    slope, intercept = as_number(values[0]), as_number(values[1])
    for value, number in zip(values, (slope, intercept), strict=True):
        if value not in (None, "") and number is None:
            raise FileFormatError(
                f"{name}: a rescale value of {str(value)!r}.", allowed="A finite number.", next_step="Export it again."
            )
    if slope is None and intercept is None:
        return None, None
    # A slope of zero would erase the image: some writers leave it so for "none".
    return slope or 1.0, intercept or 0.0


def _window(dataset: Dataset) -> Window | None:
    """The first display window, in rescaled units (PS3.3 C.11.2: it applies after the rescale)."""
    center, width = as_number(dataset.get("WindowCenter")), as_number(dataset.get("WindowWidth"))
    if center is None or width is None or width < 1:
        return None
    return Window.from_center_width(center=center, width=width)
