"""Reads NIfTI-1, NIfTI-2 and MGH/MGZ volumes by nibabel.

nibabel's arrays are indexed ``(i, j, k)`` and its affines give RAS mm. Here the array
becomes ``(slice, row, column) = (k, j, i)`` and the affine takes ``(column, row, slice)
= (i, j, k)`` to LPS mm. Voxels keep the order of the file: nothing is flipped.
"""

from __future__ import annotations

import gzip
import io
import logging
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from osler.errors import DataError, FileFormatError, GeometryError, UnsupportedError
from osler.readers.blob import Blob, DiskBlob
from osler.readers.dicom_errors import DECODE_ERRORS
from osler.readers.dicom_pixels import finite, pick_slices
from osler.readers.limits import DEFLATE_BOUND, LIMITS, Limits, check_length, check_memory, check_shape
from osler.study import Affine, Image, LeftOut, Series, SliceOrigin, Volume
from osler.study.pixels import Units

# Values are looked at when a file is opened, up to this many bytes.
_SURVEY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a look at the stored values found, after scaling."""

    low: float
    high: float
    not_finite: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NiftiPixels:
    """Voxels of one volume of a file.

    Args:
        blob: The file.
        size: Voxels along i, j, k.
        flat: Whether there is one slice, to be read as an image.
    """

    blob: Blob
    size: tuple[int, int, int]
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """``(slice, row, column)``, or ``(row, column)`` for a single slice."""
        columns, rows, slices = self.size
        return (rows, columns) if self.flat else (slices, rows, columns)

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """Reads all slices or those named.

        Returns:
            int16 (or uint8) if the file holds whole numbers of that size, else float32.

        Raises:
            FileFormatError: If the file is damaged.
            CapacityError: If the result does not fit into the free memory.
            RequestError: If a slice does not exist.
        """
        wanted = pick_slices(None if self.flat else slices, count=self.size[2])
        check_memory(self.blob.name, need=self.size[0] * self.size[1] * len(wanted) * 4)
        try:
            with _loaded(self.blob) as image:
                voxels = _stored(image, size=self.size)
                picked = voxels if wanted == list(range(len(voxels))) else voxels[wanted]
                values = finite(np.ascontiguousarray(_scaled(picked, image=image)))
        except DataError:
            raise
        except DECODE_ERRORS as error:
            raise _damaged(self.blob, error=error) from error
        return values[0] if self.flat else values


def read_volume(blob: Blob, *, limits: Limits = LIMITS) -> tuple[Series, tuple[LeftOut, ...]]:
    """Opens a NIfTI or MGH file.

    Args:
        blob: The file.
        limits: Bounds on what the header may claim.

    Returns:
        A `Volume`, or an `Image` for a single slice, and what was left out (later time points).

    Raises:
        FileFormatError: If the file is damaged or truncated.
        UnsupportedError: If its voxels are colors, vectors or complex numbers.
        GeometryError: If it has no usable affine.
    """
    try:
        with _loaded(blob) as image:
            shape = tuple(int(length) for length in image.shape)
            item = np.dtype(image.get_data_dtype())
            offset = int(getattr(image.dataobj, "offset", 0))
    except DataError:
        raise
    except DECODE_ERRORS as error:
        raise _damaged(blob, error=error) from error
    size, left_out, problems = _spatial(blob, shape=shape)
    if item.names or item.kind not in "iufb":
        raise UnsupportedError(
            f"{blob.name} holds voxels of type {item!s}.",
            allowed="One real number a voxel.",
            next_step="Export a gray-scale volume.",
        )
    need = check_shape(blob.name, shape=shape, item_bytes=item.itemsize, limits=limits)
    _check_stored_length(blob, need=need, offset=offset)
    with _loaded(blob) as image:
        affine, affine_problems = _affine(blob, image=image)
    survey = _survey(blob, size=size, need=need)
    modality, units, value_problems = _judge(survey)
    series = _series(
        blob,
        size=size,
        affine=affine,
        modality=modality,
        units=units,
        problems=(*problems, *affine_problems, *value_problems),
    )
    return series, left_out


def _damaged(blob: Blob, *, error: Exception) -> FileFormatError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return FileFormatError(
        f"{blob.name} is not a readable NIfTI or MGH volume: {lines[0][:200]}.",
        next_step="Copy or export it again.",
    )


@contextmanager
def _loaded(blob: Blob) -> Iterator[Any]:
    """Opens header and array proxy. Voxels of an uncompressed file on disk are mapped, not read."""
    import nibabel
    from nibabel.freesurfer import MGHImage

    with ExitStack() as stack:
        source: Any = stack.enter_context(blob.open())
        if not isinstance(blob, DiskBlob):
            check_memory(blob.name, need=blob.size)
            source = io.BytesIO(source.read())
        packed = source.read(2) == b"\x1f\x8b"
        source.seek(0)
        if packed:
            source = stack.enter_context(gzip.GzipFile(fileobj=source))
        magic = source.read(4)
        source.seek(0)
        if magic == b"\x00\x00\x00\x01":
            kind: Any = MGHImage
        elif 540 in (int.from_bytes(magic, "little"), int.from_bytes(magic, "big")):
            kind = nibabel.Nifti2Image
        else:
            kind = nibabel.Nifti1Image
        try:
            with _quiet():
                yield kind.from_file_map({"image": nibabel.FileHolder(fileobj=source)})
        except _nibabel_errors() as error:
            raise _damaged(blob, error=error) from error


def _nibabel_errors() -> tuple[type[Exception], ...]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError
    from nibabel.wrapstruct import WrapStructError

    return HeaderDataError, HeaderTypeError, ImageFileError, WrapStructError


@contextmanager
def _quiet() -> Iterator[None]:
    """Mutes warnings and nibabel's log of small faults, which `open_study` judges itself."""
    log = logging.getLogger("nibabel.global")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _spatial(
    blob: Blob, *, shape: tuple[int, ...]
) -> tuple[tuple[int, int, int], tuple[LeftOut, ...], tuple[str, ...]]:
    """The three spatial axes, and what a fourth one holds."""
    if not 2 <= len(shape) <= 7:
        raise FileFormatError(
            f"{blob.name}: the header says {len(shape)} axes.", allowed="2 to 4.", next_step="Export it again."
        )
    size = (shape[0], shape[1], shape[2] if len(shape) > 2 else 1)
    if any(length != 1 for length in shape[4:]):
        raise UnsupportedError(
            f"{blob.name} has the axes {shape!r}: vectors or matrices at each voxel.",
            allowed="3D, or 4D of which the first volume is read.",
            next_step="Export one component as a 3D volume.",
        )
    times = shape[3] if len(shape) > 3 else 1
    if times <= 1:
        return size, (), ()
    why = "later volumes of a 4D file; split the file to read them"
    return size, (LeftOut(what=blob.name, why=why, count=times - 1),), (f"A 4D file of {times}: the first is used.",)


def _check_stored_length(blob: Blob, *, need: int, offset: int) -> None:
    with blob.open() as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    if not packed:
        check_length(blob.name, need=need, have=blob.size - offset, what="voxels")
    elif need > blob.size * DEFLATE_BOUND:
        check_length(blob.name, need=need, have=blob.size * DEFLATE_BOUND, what="voxels")


def _affine(blob: Blob, *, image: Any) -> tuple[Affine, tuple[str, ...]]:
    """The sform if it is set, else the qform, as NIfTI asks; said if there is neither or they differ."""
    header = image.header
    problems: list[str] = []
    if not hasattr(header, "get_sform"):
        return Affine.from_ras(image.affine), ()
    named = [form for form in (header.get_sform(coded=True), _qform(header)) if form is not None and form[1]]
    usable: list[Affine] = []
    for matrix, _code in named:
        try:
            usable.append(Affine.from_ras(matrix))
        except GeometryError:
            problems.append("One of the orientations in the header is damaged and was passed over.")
    if not usable:
        if named:
            raise GeometryError(
                f"{blob.name}: the orientation in its header is singular.", next_step="Export the volume again."
            )
        problems.append("The header gives no orientation: which side is left is not known.")
        return Affine.from_ras(header.get_base_affine()), tuple(problems)
    if len(usable) == 2 and not usable[0].isclose(usable[1], mm=0.05):
        problems.append("The header's two orientations (sform and qform) differ: the sform is used.")
    return usable[0], tuple(problems)


def _qform(header: Any) -> tuple[np.ndarray, int] | None:
    try:
        return header.get_qform(coded=True)
    except (*DECODE_ERRORS, *_nibabel_errors()):
        return None


def _stored(image: Any, *, size: tuple[int, int, int]) -> np.ndarray:
    """Stored values as ``(k, j, i)``; mapped from the file where it is not compressed."""
    proxy = image.dataobj
    array = np.asanyarray(proxy.get_unscaled() if hasattr(proxy, "get_unscaled") else proxy)
    extra = (0,) * (array.ndim - 3)
    if array.ndim > 3:
        array = array[(slice(None), slice(None), slice(None), *extra)]
    return array.reshape(size, order="F").transpose(2, 1, 0)


def _scaled(values: np.ndarray, *, image: Any) -> np.ndarray:
    slope, intercept = _scale(image)
    if slope == 1 and intercept == 0:
        return _compact(values)
    if slope == int(slope) and intercept == int(intercept) and values.dtype.kind in "iu" and values.itemsize <= 2:
        return _compact(values.astype(np.int32) * np.int32(slope) + np.int32(intercept))
    return values.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _scale(image: Any) -> tuple[float, float]:
    """``scl_slope`` and ``scl_inter``; a slope of zero or NaN means none."""
    slope = float(getattr(image.dataobj, "slope", 1.0))
    intercept = float(getattr(image.dataobj, "inter", 0.0))
    if not np.isfinite(slope) or slope == 0 or not np.isfinite(intercept):
        return 1.0, 0.0
    return slope, intercept


def _compact(values: np.ndarray) -> np.ndarray:
    """Whole numbers as int16 (or uint8) where they fit, all else as float32, in native byte order."""
    if values.dtype.kind == "b" or values.dtype == np.uint8:
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        fits = values.itemsize < 2 or values.dtype.newbyteorder("=") == np.int16
        if fits or values.size == 0 or (values.min() >= -32768 and values.max() <= 32767):
            return values.astype(np.int16)
    return values.astype(np.float32)


def _survey(blob: Blob, *, size: tuple[int, int, int], need: int) -> Survey | None:
    """Looks at all values, slice by slice; ``None`` for a file too large for a look."""
    if need > _SURVEY_BYTES:
        return None
    check_memory(blob.name, need=need)
    try:
        with _loaded(blob) as image:
            low, high, bad = _extremes(_stored(image, size=size))
            slope, intercept = _scale(image)
    except (EOFError, zlib.error, OSError, ValueError) as error:
        raise FileFormatError(
            f"{blob.name} is truncated or damaged: its voxels end early ({str(error)[:120]}).",
            next_step="Copy or export it again.",
        ) from error
    if low > high:
        raise DataError(
            f"{blob.name} has no finite voxel: all {bad:,} are NaN or infinite.",
            next_step="Check how the file was written.",
        )
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return Survey(low=ends[0], high=ends[1], not_finite=bad)


def _extremes(voxels: np.ndarray) -> tuple[float, float, int]:
    """Least and greatest finite value, and how many are not finite."""
    low, high, bad = np.inf, -np.inf, 0
    for plane in voxels:
        good = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane
        bad += plane.size - good.size
        if good.size:
            low, high = min(low, float(good.min())), max(high, float(good.max()))
    return low, high, bad


def _judge(survey: Survey | None) -> tuple[str, Units, tuple[str, ...]]:
    """Modality and units by the values, since NIfTI names neither."""
    if survey is None:
        return "", "arbitrary", ("Too large for a look at its values: the modality is not known.",)
    problems = []
    if survey.not_finite:
        problems.append(
            f"{survey.not_finite:,} voxels are NaN or infinite: they are read as the least value of what is read."
        )
    if survey.low == survey.high:
        problems.append(f"All voxels have the same value ({survey.low:g}): there is nothing to see.")
    if -10_000 <= survey.low <= -500 and 100 <= survey.high <= 40_000:
        problems.append(
            f"The file names no modality: values from {survey.low:g} to {survey.high:g} are taken as CT in HU."
        )
        return "CT", "HU", tuple(problems)
    return "", "arbitrary", tuple(problems)


def _series(
    blob: Blob,
    *,
    size: tuple[int, int, int],
    affine: Affine,
    modality: str,
    units: Units,
    problems: tuple[str, ...],
) -> Series:
    description = blob.name.replace("\\", "/").rsplit("/", 1)[-1].rsplit("!", 1)[-1]
    if size[2] == 1:
        return Image(
            series=blob.name,
            pixels=NiftiPixels(blob=blob, size=size, flat=True),
            modality=modality,
            units=units,
            spacing=(affine.spacing[0], affine.spacing[1]),
            affine=affine,
            origins=(SliceOrigin(file=blob.name),),
            description=description,
            problems=(*problems, "A single slice, not a volume."),
        )
    return Volume(
        series=blob.name,
        pixels=NiftiPixels(blob=blob, size=size),
        affine=affine,
        modality=modality,
        units=units,
        origins=tuple(SliceOrigin(file=blob.name, frame=index) for index in range(size[2])),
        description=description,
        problems=problems,
    )
