"""Reads PNG, JPEG and TIFF pictures by Pillow, upright by their EXIF orientation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import DecompressionBombError

from osler.errors import DataError, FileFormatError
from osler.readers.blob import Blob
from osler.readers.dicom_errors import DECODE_ERRORS
from osler.readers.dicom_pixels import finite
from osler.readers.limits import LIMITS, Limits, check_memory
from osler.study import Image, LeftOut, SliceOrigin
from osler.study.pixels import Units

_FORMATS = ("PNG", "JPEG", "TIFF", "MPO")
_GRAY = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L"}
_ORIENTATION = 0x0112
_TAIL_BYTES = 1 << 16
_FEW_PIXELS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PicturePixels:
    """Pixels of a picture.

    Args:
        blob: The file.
        width: Width when upright, px.
        height: Height when upright, px.
        units: ``"RGB"`` or ``"arbitrary"`` (gray).
    """

    blob: Blob
    width: int
    height: int
    units: Units

    @property
    def shape(self) -> tuple[int, ...]:
        """``(row, column)`` or ``(row, column, 3)``."""
        return (self.height, self.width, 3) if self.units == "RGB" else (self.height, self.width)

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """Decodes the picture: uint8 RGB, or gray as uint8, int16 or float32.

        Raises:
            FileFormatError: If the picture is damaged.
        """
        del slices
        check_memory(self.blob.name, need=self.width * self.height * 12)
        try:
            with self.blob.open() as stream, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picture = ImageOps.exif_transpose(PillowImage.open(stream, formats=_FORMATS))
                return _gray(picture) if self.units == "arbitrary" else _color(picture)
        except (*DECODE_ERRORS, SyntaxError, DecompressionBombError) as error:
            raise _damaged(self.blob, error=error) from error


def read_picture(blob: Blob, *, limits: Limits = LIMITS) -> tuple[Image, tuple[LeftOut, ...]]:
    """Opens a picture.

    Args:
        blob: The file.
        limits: Bounds on its size.

    Returns:
        The image, and further pages that were left out.

    Raises:
        FileFormatError: If the picture is damaged or absurdly large.
    """
    try:
        with blob.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = PillowImage.open(stream, formats=_FORMATS)
            width, height = picture.size
            if width * height > limits.picture_pixels:
                raise _too_large(blob, size=f"{width} x {height} pixels", limits=limits)
            turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            gray, pages = picture.mode in _GRAY, int(getattr(picture, "n_frames", 1))
            transparent = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            _check_end(blob, format_name=picture.format or "")
    except DataError:
        raise
    except DecompressionBombError as error:
        raise _too_large(blob, size="more pixels than any camera takes", limits=limits) from error
    except PermissionError as error:
        raise FileFormatError(
            f"{blob.name} cannot be read (permission denied).", next_step="Ask its owner for access."
        ) from error
    except (*DECODE_ERRORS, SyntaxError, UnidentifiedImageError) as error:
        raise _damaged(blob, error=error) from error
    size = (height, width) if turned else (width, height)
    paged = pages > 1 and picture.format == "TIFF"
    why = "further pages of a TIFF"
    left_out = (LeftOut(what=blob.name, why=why, count=pages - 1),) if paged else ()
    units: Units = "arbitrary" if gray else "RGB"
    image = Image(
        series=blob.name,
        pixels=PicturePixels(blob=blob, width=size[0], height=size[1], units=units),
        units=units,
        origins=(SliceOrigin(file=blob.name),),
        description=blob.name.replace("\\", "/").rsplit("/", 1)[-1],
        problems=_problems(size, turned=turned, pages=pages if paged else 1, transparent=transparent),
    )
    return image, left_out


def _problems(size: tuple[int, int], *, turned: bool, pages: int, transparent: bool) -> tuple[str, ...]:
    problems = []
    if min(size) < _FEW_PIXELS:
        problems.append(f"Only {size[0]} x {size[1]} pixels: too coarse for a diagnosis.")
    if turned:
        problems.append("Turned upright by its EXIF orientation.")
    if pages > 1:
        problems.append(f"A TIFF of {pages} pages: the first is used.")
    if transparent:
        problems.append("Transparent parts are read as black.")
    return tuple(problems)


def _damaged(blob: Blob, *, error: Exception) -> FileFormatError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = "not a picture that Pillow can read" if isinstance(error, UnidentifiedImageError) else lines[0][:200]
    return FileFormatError(f"{blob.name} is a damaged picture: {reason}.", next_step="Copy or export it again.")


def _too_large(blob: Blob, *, size: str, limits: Limits) -> FileFormatError:
    return FileFormatError(
        f"{blob.name} has {size}.",
        allowed=f"At most {limits.picture_pixels:,} pixels.",
        next_step="If it is a whole-slide image, it is not a plain picture; else make it smaller.",
    )


def _check_end(blob: Blob, *, format_name: str) -> None:
    """Finds the end mark of PNG and JPEG, which a cut-off file lacks."""
    mark = {"PNG": b"IEND", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9"}.get(format_name)
    if mark is None:
        return
    with blob.open() as stream:
        stream.seek(max(blob.size - _TAIL_BYTES, 0))
        if mark in stream.read(_TAIL_BYTES):
            return
        # Something else stands behind the picture, as in some photographs.
        stream.seek(0)
        before = b""
        while piece := stream.read(_TAIL_BYTES):
            if mark in before + piece:
                return
            before = piece[-len(mark) :]
    raise FileFormatError(
        f"{blob.name} is a truncated picture: its end is missing.", next_step="Copy or export it again."
    )


def _gray(picture: PillowImage.Image) -> np.ndarray:
    values = np.asarray(picture)
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        return finite(values.astype(np.float32))
    if values.dtype == np.uint8:
        return values.copy()
    if values.size and (values.min() < -32768 or values.max() > 32767):
        return values.astype(np.float32)
    return values.astype(np.int16)


def _color(picture: PillowImage.Image) -> np.ndarray:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        ground = PillowImage.new("RGBA", rgba.size, (0, 0, 0, 255))
        return np.asarray(PillowImage.alpha_composite(ground, rgba).convert("RGB")).copy()
    return np.asarray(picture.convert("RGB")).copy()
