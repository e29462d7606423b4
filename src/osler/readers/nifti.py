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
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from osler.errors import DataError, FileFormatError, GeometryError, UnsupportedError
from osler.readers.blob import Blob, DiskBlob
from osler.readers.dicom_errors import DECODE_ERRORS
from osler.readers.dicom_pixels import finite, pick_slices, rescaled
from osler.readers.limits import DEFLATE_BOUND, LIMITS, Limits, check_length, check_memory, check_shape
from osler.readers.stored_voxels import Layout, Survey, read_planes, survey
from osler.study import Affine, Image, LeftOut, Series, SliceOrigin, Volume
from osler.study.pixels import Units

# So much of the values is looked at when a file is opened: enough to tell a CT.
_SURVEY_BYTES = 64 << 20
_TAG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Opened:
    """A header, and the stream that the voxels are read from."""

    image: Any
    stream: Any
    packed: bool

    def layout(self, *, size: tuple[int, int, int]) -> Layout:
        proxy = self.image.dataobj
        return Layout(offset=int(proxy.offset), dtype=np.dtype(proxy.dtype), size=size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NiftiPixels:
    """Voxels of one volume of a file.

    Args:
        blob: The file.
        size: Voxels along i, j, k.
        item_bytes: Of one voxel as stored.
        flat: Whether there is one slice, to be read as an image.
    """

    blob: Blob
    size: tuple[int, int, int]
    item_bytes: int
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
        # As stored, and once more as float32.
        check_memory(self.blob.name, need=self.size[0] * self.size[1] * len(wanted) * (self.item_bytes + 4))
        try:
            with _opened(self.blob) as file:
                voxels = read_planes(file.stream, layout=file.layout(size=self.size), slices=wanted)
                values = finite(np.ascontiguousarray(_scaled(voxels, image=file.image)))
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
        with _opened(blob) as file:
            shape = tuple(int(length) for length in file.image.shape)
            item = np.dtype(file.image.get_data_dtype())
            offset = int(getattr(file.image.dataobj, "offset", 0))
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
    with _opened(blob) as file:
        affine, affine_problems = _affine(blob, image=file.image)
    modality, units, value_problems = _judge(_survey(blob, size=size))
    series = _series(
        blob,
        pixels=NiftiPixels(blob=blob, size=size, item_bytes=item.itemsize, flat=size[2] == 1),
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
def _opened(blob: Blob) -> Iterator[_Opened]:
    """Reads the header and keeps the file open for the voxels."""
    import nibabel
    from nibabel.freesurfer import MGHImage

    with ExitStack() as stack:
        source: Any = stack.enter_context(blob.open())
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
                image = kind.from_file_map({"image": nibabel.FileHolder(fileobj=source)})
                yield _Opened(image=image, stream=source, packed=packed or not isinstance(blob, DiskBlob))
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
    """Compares the length of the file with what the header announces, without reading the voxels."""
    with blob.open() as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        if not packed:
            check_length(blob.name, need=need, have=blob.size - offset, what="voxels")
            return
        if need > blob.size * DEFLATE_BOUND:
            check_length(blob.name, need=need, have=blob.size * DEFLATE_BOUND, what="voxels")
        if not isinstance(blob, DiskBlob):
            return
        stream.seek(-4, io.SEEK_END)
        total = int.from_bytes(stream.read(4), "little")
    # A gzip file ends with its unpacked length, modulo 2**32; a few tags may follow the voxels. If it is another
    # one, the file is cut, or has several parts: only going through it tells.
    if (total - need - offset) % 2**32 > _TAG_BYTES:
        _go_through(blob, need=need + offset)


def _go_through(blob: Blob, *, need: int) -> None:
    """Unpacks a file to its end and keeps nothing of it."""
    count = 0
    try:
        with blob.open() as stream, gzip.GzipFile(fileobj=stream) as voxels:
            while count < need and (piece := voxels.read(min(1 << 20, need - count))):
                count += len(piece)
    except (EOFError, OSError, zlib.error) as error:
        raise _ends_early(blob, error=error) from error
    if count < need:
        raise _ends_early(blob, error=EOFError(f"{need - count:,} bytes are missing"))


def _ends_early(blob: Blob, *, error: Exception) -> FileFormatError:
    return FileFormatError(
        f"{blob.name} is truncated or damaged: its voxels end early ({str(error)[:120]}).",
        next_step="Copy or export it again.",
    )


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


def _scaled(values: np.ndarray, *, image: Any) -> np.ndarray:
    slope, intercept = _scale(image)
    if slope == 1 and intercept == 0:
        return _compact(values)
    if slope == int(slope) and intercept == int(intercept) and values.dtype.kind in "iu" and values.itemsize <= 2:
        return _compact(rescaled(values, slope=slope, intercept=intercept))
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
        return values.astype(np.uint8, copy=False)
    if values.dtype.kind in "iu":
        fits = values.itemsize < 2 or values.dtype.newbyteorder("=") == np.int16
        if fits or values.size == 0 or (values.min() >= -32768 and values.max() <= 32767):
            return values.astype(np.int16, copy=False)
    return values.astype(np.float32, copy=False)


def _survey(blob: Blob, *, size: tuple[int, int, int]) -> Survey:
    """Looks at some of the values, after scaling."""
    try:
        with _opened(blob) as file:
            found = survey(file.stream, layout=file.layout(size=size), packed=file.packed, most=_SURVEY_BYTES)
            slope, intercept = _scale(file.image)
    except (EOFError, zlib.error, zipfile.BadZipFile, OSError, ValueError) as error:
        raise _ends_early(blob, error=error) from error
    if found.low > found.high:
        if found.whole:
            raise DataError(
                f"{blob.name} has no finite voxel: all {found.not_finite:,} are NaN or infinite.",
                next_step="Check how the file was written.",
            )
        return found
    low, high = sorted((found.low * slope + intercept, found.high * slope + intercept))
    return replace(found, low=low, high=high)


def _judge(survey: Survey) -> tuple[str, Units, tuple[str, ...]]:
    """Modality and units by the values, since NIfTI names neither."""
    problems = []
    if survey.not_finite:
        count = f"{survey.not_finite:,}" if survey.whole else f"At least {survey.not_finite:,}"
        problems.append(f"{count} voxels are NaN or infinite: they are read as the least value of what is read.")
    if survey.whole and survey.low == survey.high:
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
    pixels: NiftiPixels,
    affine: Affine,
    modality: str,
    units: Units,
    problems: tuple[str, ...],
) -> Series:
    description = blob.name.replace("\\", "/").rsplit("/", 1)[-1].rsplit("!", 1)[-1]
    if pixels.flat:
        return Image(
            series=blob.name,
            pixels=pixels,
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
        pixels=pixels,
        affine=affine,
        modality=modality,
        units=units,
        origins=tuple(SliceOrigin(file=blob.name, frame=index) for index in range(pixels.size[2])),
        description=description,
        problems=problems,
    )
