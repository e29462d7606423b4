"""Series of pixels: volumes and images, with where they lie and where they come from.

Pixels are read when they are asked for. A reader hands over a `PixelSource`;
`inspect` on a thousand series then costs headers only, and a question on 85
of 500 slices decodes 85.

Array layout: a volume is ``(slice, row, column)``, an image ``(row, column)``;
in color, three channels come last. An affine takes ``(column, row, slice)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from osler.errors import RequestError
from osler.study.affine import Affine

Units = Literal["HU", "arbitrary", "RGB"]


class PixelSource(Protocol):
    """Pixels that can be read, all or some slices at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(slice, row, column[, 3])`` or ``(row, column[, 3])``."""
        ...

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """Returns the pixels in the series' units; ``slices`` picks along the first axis of a volume."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPixels:
    """Pixels that are in memory already."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.array.shape

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """Returns the array, or the named slices of it."""
        return self.array if slices is None else self.array[list(slices)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A display window, by its ends in the units of the pixels.

    Args:
        low: Value shown black. high: Value shown white.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise RequestError(
                f"A window from {self.low!r} to {self.high!r}.", allowed="The high end must be above the low end."
            )

    @classmethod
    def from_center_width(cls, *, center: float, width: float) -> Window:
        """The window of DICOM's linear function by center and width (PS3.3 C.11.2.1.2)."""
        if width <= 1:  # a threshold; 1/64 is the least step that float32 keeps apart up to 2**17
            return cls(low=center - 0.5, high=center - 0.5 + 1 / 64)
        return cls(low=center - 0.5 - (width - 1) / 2, high=center - 0.5 + (width - 1) / 2)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Clips and scales to 0..255 in float32: ``(x - low) / (high - low) * 255``."""
        x = np.clip(pixels.astype(np.float32, copy=False), np.float32(self.low), np.float32(self.high))
        return (x - np.float32(self.low)) / np.float32(self.high - self.low) * np.float32(255)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceOrigin:
    """Where one slice (or one image) came from.

    Args:
        file: The file as the user named it; ``archive.zip!member`` inside an archive.
        frame: Frame within a multi-frame file, from 0.
        frames: Frames that the file holds.
        sop_uid: SOP Instance UID, empty outside DICOM.
        instance_number: DICOM Instance Number, if any.
        share: How much of the slice is from this file; below 1 where a reader has interpolated
            between it and its neighbor.
        shift: ``(column, row)`` to add to a pixel of the series to get the pixel of the file; other than
            zero where a reader has straightened a tilted stack.
    """

    file: str
    frame: int = 0
    frames: int = 1
    sop_uid: str = ""
    instance_number: int | None = None
    share: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A series of parallel slices.

    Args:
        series: Identifier within the study: the Series Instance UID (with ``#n`` behind it where
            one series holds several volumes), or the file name.
        pixels: The source, shape ``(slice, row, column)``, in color ``(slice, row, column, 3)``;
            slices lie along the normal.
        affine: Voxel ``(column, row, slice)`` to patient LPS mm.
        modality: DICOM modality such as ``"CT"`` or ``"MR"``; empty if unknown.
        units: ``"HU"`` for CT, else ``"arbitrary"``.
        origins: One entry a slice.
        description: Series description, as in the file.
        body_part: Body part as in the file, may be empty.
        study_uid: Study Instance UID, may be empty.
        frame_of_reference: Frame of Reference UID, may be empty.
        window: The file's own display window, if any.
        problems: What was noticed about the series, one sentence each.
    """

    series: str
    pixels: PixelSource
    affine: Affine
    modality: str
    units: Units = "arbitrary"
    origins: tuple[SliceOrigin, ...] = ()
    description: str = ""
    body_part: str = ""
    study_uid: str = ""
    frame_of_reference: str = ""
    window: Window | None = None
    problems: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(slices, rows, columns)``."""
        slices, rows, columns = self.pixels.shape[:3]
        return slices, rows, columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimeters between columns, rows and slices."""
        return self.affine.spacing

    @property
    def plane(self) -> str:
        """``"axial"``, ``"coronal"`` or ``"sagittal"``, the nearest."""
        return self.affine.plane

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """Reads the voxels in ``units``, all slices or those named, in the order given."""
        return self.pixels.read(slices=slices)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """A single picture: an X-ray, a photograph, a histology field, or one slice.

    Args:
        series: Identifier within the study.
        pixels: The source, shape ``(row, column)`` or ``(row, column, 3)``; bright is dense, so
            MONOCHROME1 has been inverted.
        modality: ``"CR"``, ``"DX"``, ``"CT"``, ``"MR"``, ``"SM"``, ``"XC"``...; empty if unknown.
        units: ``"HU"``, ``"arbitrary"`` or ``"RGB"`` (uint8).
        spacing: mm between columns and rows, if the file says.
        affine: Pixel to patient, if the file says (a single CT slice); the slice index is 0.
        view: ``"PA"``, ``"AP"``, ``"LL"``... as in the file.
        caption: What a prompt writes before the picture, such as ``"Figure A"``; readers give none.
    """

    series: str
    pixels: PixelSource
    modality: str = ""
    units: Units = "arbitrary"
    spacing: tuple[float, float] | None = None
    affine: Affine | None = None
    caption: str = ""
    origins: tuple[SliceOrigin, ...] = ()
    description: str = ""
    body_part: str = ""
    view: str = ""
    study_uid: str = ""
    frame_of_reference: str = ""
    window: Window | None = None
    problems: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)`` in px."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def read(self) -> np.ndarray:
        """Reads the pixels in ``units``."""
        return self.pixels.read()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that was found and not used, and why.

    Args:
        what: A file or a series.
        why: One sentence.
        count: How many alike.
    """

    what: str
    why: str
    count: int = field(default=1)
