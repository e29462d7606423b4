"""Pixels of DICOM series, decoded when they are read, in the units of the series."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.pixels import apply_color_lut, apply_modality_lut

from osler.errors import RequestError
from osler.readers.decode_job import Job
from osler.readers.decode_parallel import decode_all
from osler.readers.dicom_geometry import Resampling
from osler.readers.dicom_header import FrameHeader
from osler.readers.dicom_scan import is_compressed, read_dataset
from osler.readers.limits import check_memory
from osler.study.pixels import Units

_CHUNK = 8
_PALETTE = [
    f"{color}PaletteColorLookupTable{part}" for color in ("Red", "Green", "Blue") for part in ("Data", "Descriptor")
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DicomVolumePixels:
    """Slices of a volume.

    Args:
        frames: The source slices along the normal.
        units: Units of the values.
        resampling: How output slices are made of source slices; ``None`` if they are the same.
    """

    frames: tuple[FrameHeader, ...]
    units: Units
    resampling: Resampling | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """``(slice, row, column)``."""
        if self.resampling is not None:
            return len(self.resampling.below), self.resampling.rows, self.resampling.columns
        file = self.frames[0].file
        return len(self.frames), file.rows, file.columns

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """Decodes all slices or those named, in parallel.

        Returns:
            int16 if every value is a whole number in its range, else float32.

        Raises:
            FileFormatError: If a slice cannot be decoded.
            CapacityError: If the result does not fit into the free memory.
            RequestError: If a slice does not exist.
        """
        wanted = pick_slices(slices, count=self.shape[0])
        if self.resampling is None:
            return read_frames([self.frames[index] for index in wanted], units=self.units)
        return _resample(self.frames, wanted=wanted, resampling=self.resampling, units=self.units)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DicomImagePixels:
    """A single frame."""

    frame: FrameHeader
    units: Units

    @property
    def shape(self) -> tuple[int, ...]:
        """``(row, column)`` or ``(row, column, 3)``."""
        file = self.frame.file
        return (file.rows, file.columns, 3) if self.units == "RGB" else (file.rows, file.columns)

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """Decodes the frame: int16 or float32 values, or uint8 RGB."""
        del slices
        return read_frames([self.frame], units=self.units)[0]


def pick_slices(slices: Sequence[int] | None, *, count: int) -> list[int]:
    """Checks slice indices; negative ones count from the end.

    Raises:
        RequestError: If one does not exist.
    """
    if slices is None:
        return list(range(count))
    for index in slices:
        if not -count <= index < count:
            raise RequestError(f"Slice {index} of a volume of {count}.", allowed=f"0 to {count - 1}.")
    return [int(index) % count for index in slices]


def read_frames(frames: Sequence[FrameHeader], *, units: Units) -> np.ndarray:
    """Decodes frames of one size into one array, ``(frame, row, column[, 3])``."""
    if not frames:
        return np.empty((0, 0, 0), dtype=np.int16)
    file = frames[0].file
    sink = _Sink(frames, units=units)
    jobs = _jobs(frames)
    packed = any(is_compressed(frame.file.transfer_syntax) for frame in frames)
    check_memory(file.blob.name, need=sink.array.nbytes)
    with warnings.catch_warnings():
        # Here and not in the threads: the filter is one for all of them.
        warnings.simplefilter("ignore")
        decode_all(jobs, take=sink.take, packed=packed)
    return sink.array


def _jobs(frames: Sequence[FrameHeader]) -> list[Job]:
    """One job a file, or several for a file of many frames."""
    by_file: dict[int, list[int]] = {}
    for target, frame in enumerate(frames):
        by_file.setdefault(id(frame.file), []).append(target)
    jobs = []
    for targets in by_file.values():
        file = frames[targets[0]].file
        for start in range(0, len(targets), _CHUNK):
            part = targets[start : start + _CHUNK]
            jobs.append(
                Job(
                    blob=file.blob,
                    syntax=file.transfer_syntax,
                    frames=tuple(frames[target].index for target in part),
                    targets=tuple(part),
                    shape=(file.rows, file.columns),
                    codestream=file.codestream,
                )
            )
    return jobs


class _Sink:
    """The array that frames are written to: int16 until a value needs float32."""

    def __init__(self, frames: Sequence[FrameHeader], *, units: Units) -> None:
        file = frames[0].file
        self._frames = frames
        self._units: Units = units
        self._lock = threading.Lock()
        tail = (3,) if units == "RGB" else ()
        dtype = np.uint8 if units == "RGB" else np.int16
        self.array = np.empty((len(frames), file.rows, file.columns, *tail), dtype=dtype)

    def take(self, target: int, stored: np.ndarray) -> None:
        frame = self._frames[target]
        if self._units == "RGB":
            self.array[target] = to_rgb(stored, frame=frame)
            return
        values = to_units(stored, frame=frame, units=self._units)
        if self.array.dtype == np.int16 and not _fits_int16(values):
            with self._lock:
                if self.array.dtype == np.int16:
                    self.array = self.array.astype(np.float32)
        # Another thread may have replaced the array since it was looked at.
        with self._lock:
            self.array[target] = values


def _fits_int16(values: np.ndarray) -> bool:
    if values.dtype == np.int16 or values.dtype.itemsize == 1:
        return True
    if values.dtype.kind == "f" or values.size == 0:
        return False
    return bool(values.min() >= -32768 and values.max() <= 32767)


def to_units(stored: np.ndarray, *, frame: FrameHeader, units: Units) -> np.ndarray:
    """Turns stored values into the series' units.

    Rescale (slope and intercept or lookup table) comes first. MONOCHROME1 is
    inverted, except in HU, whose sign means density. Padding becomes the
    least value that is no padding, except in HU, where it stays what it is. NaN and
    infinite values become the least finite value.
    """
    file = frame.file
    if stored.ndim == 3:
        stored = stored[..., 0]
    hidden = None
    if file.padding is not None and units != "HU":
        hidden = (stored >= file.padding[0]) & (stored <= file.padding[1])
    values = stored
    if file.photometric == "MONOCHROME1" and units != "HU" and stored.dtype.kind in "iu":
        values = np.int32(_mirror(frame)) - stored.astype(np.int32)
    if file.has_lut:
        lut = read_dataset(file.blob, tags=["ModalityLUTSequence", "PixelRepresentation"])
        values = apply_modality_lut(values, lut)
    elif frame.slope is not None and frame.intercept is not None:
        values = rescaled(values, slope=frame.slope, intercept=frame.intercept)
    if values.dtype.kind == "f":
        values = finite(values.astype(np.float32, copy=False))
    if hidden is not None and hidden.any() and not hidden.all():
        values = np.where(hidden, values[~hidden].min(), values)
    return values


def _mirror(frame: FrameHeader) -> int:
    """The number that stored values are subtracted from to invert them."""
    return -1 if frame.file.signed else 2**frame.file.bits_stored - 1


def rescaled(values: np.ndarray, *, slope: float, intercept: float) -> np.ndarray:
    """Applies a rescale, in the smallest whole numbers that hold the result, else in float32."""
    if slope == 1 and intercept == 0:
        return values
    if slope == int(slope) and intercept == int(intercept) and values.dtype.kind in "iu" and values.size:
        ends = [int(end) * int(slope) + int(intercept) for end in (values.min(), values.max())]
        for dtype in (np.int16, np.int32):
            bounds = np.iinfo(dtype)
            if all(bounds.min <= number <= bounds.max for number in (*ends, int(slope), int(intercept))):
                # What is between may wrap around; the result fits, so it wraps back.
                result = values.astype(dtype)
                if slope != 1:
                    result *= dtype(slope)
                result += dtype(intercept)
                return result
    return values.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def finite(values: np.ndarray) -> np.ndarray:
    """Returns values with NaN and infinities replaced by the least finite one (0 if there is none)."""
    if values.dtype.kind != "f":
        return values
    good = np.isfinite(values)
    if good.all():
        return values
    return np.where(good, values, values[good].min() if good.any() else values.dtype.type(0))


def to_rgb(stored: np.ndarray, *, frame: FrameHeader) -> np.ndarray:
    """Turns decoded color values into uint8 RGB."""
    file = frame.file
    bits = file.bits_stored
    if file.photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, read_dataset(file.blob, tags=[*_PALETTE, "PixelRepresentation"]))
        bits = stored.dtype.itemsize * 8
    if stored.dtype == np.uint8 and bits == 8:
        return stored[..., :3]
    return (stored.astype(np.float64)[..., :3] * (255 / (2**bits - 1))).round().clip(0, 255).astype(np.uint8)


def _resample(
    frames: tuple[FrameHeader, ...], *, wanted: list[int], resampling: Resampling, units: Units
) -> np.ndarray:
    needed = sorted({int(end[index]) for index in wanted for end in (resampling.below, resampling.above)})
    source = read_frames([frames[index] for index in needed], units=units)
    row_of = {index: row for row, index in enumerate(needed)}
    shape = (len(wanted), resampling.rows, resampling.columns)
    whole = source.dtype.kind in "iu"
    check_memory(frames[0].file.blob.name, need=int(np.prod(shape)) * source.dtype.itemsize)
    out = np.empty(shape, dtype=source.dtype)
    for place, index in enumerate(wanted):
        low, high, weight = int(resampling.below[index]), int(resampling.above[index]), resampling.weight[index]
        value = _shifted(source[row_of[low]], resampling=resampling, index=low) if weight < 1 else 0.0
        if weight > 0:
            other = _shifted(source[row_of[high]], resampling=resampling, index=high)
            value = (1 - weight) * value + weight * other
        out[place] = np.rint(value) if whole else value
    return out


def _shifted(values: np.ndarray, *, resampling: Resampling, index: int) -> np.ndarray:
    """Samples a slice at output pixel + shift, linearly; outside lies the slice's least value."""
    result = values.astype(np.float32)
    column, row = resampling.shift[index].tolist()
    size = (resampling.rows, resampling.columns)
    if (column, row) == (0.0, 0.0) and result.shape == size:
        return result
    fill = float(result.min())
    for axis, shift in ((0, row), (1, column)):
        result = _shift_axis(result, axis=axis, shift=shift, length=size[axis], fill=fill)
    return result


def _shift_axis(values: np.ndarray, *, axis: int, shift: float, length: int, fill: float) -> np.ndarray:
    moved = np.moveaxis(values, axis, 0)
    places = np.arange(length) + shift
    low = np.floor(places + 1e-9).astype(int)
    weight = (places - low).astype(np.float32).reshape(-1, *[1] * (moved.ndim - 1))
    padded = np.concatenate([np.full_like(moved[:1], fill), moved, np.full_like(moved[:1], fill)])

    def at(indices: np.ndarray) -> np.ndarray:
        return padded[np.clip(indices + 1, 0, len(padded) - 1)]

    return np.moveaxis(at(low) * (1 - weight) + at(low + 1) * weight, 0, axis)
