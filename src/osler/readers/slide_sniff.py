"""Tells a whole slide from a picture, by content."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from osler.readers.blob import Blob, DiskBlob
from osler.readers.tiff_tags import BITS, DESCRIPTION, MAKE, NDPI, SAMPLES, SUB_IFDS, TiffDirectory, read_directories

_MAKERS = ("Aperio", "Hamamatsu", "Leica", "Philips", "Ventana", "3DHISTECH")
_MARKS = ("DPUfsImport", "www.leica-microsystems.com/scn", "<iScan", "openslide.")
_LARGE_SIDE = 4096
_HUGE = 150_000_000
_MIRAX_INDEX = "Slidedat.ini"


def is_slide(blob: Blob) -> bool:
    """Whether a TIFF file is a whole slide.

    It is one if a scanner's maker signed it, if a tiled image has smaller
    copies of itself (a pyramid), or if it is a tiled 8-bit color image of at
    least 4,096 px a side or any image of more than 150 million px. Every other
    TIFF is a picture. The name of the file says nothing.

    Args:
        blob: A file that starts like a TIFF file.
    """
    try:
        with blob.open() as stream:
            directories, _ = read_directories(stream)
    except (OSError, ValueError, struct.error, EOFError):
        return False  # the picture reader says what is wrong with it
    if not directories:
        return False
    first = directories[0]
    width, height = first.size
    text = first.texts.get(DESCRIPTION, "")
    signed = text.startswith(_MAKERS) or any(mark in text for mark in _MARKS) or NDPI in first.numbers
    if signed or first.texts.get(MAKE, "").startswith(_MAKERS) or width * height > _HUGE:
        return True
    color = first.numbers.get(SAMPLES, 1) >= 3 and first.numbers.get(BITS, 1) <= 8
    return first.tiled and (_has_levels(directories) or (color and max(width, height) >= _LARGE_SIDE))


def _has_levels(directories: tuple[TiffDirectory, ...]) -> bool:
    """Whether further tiled pages, or sub-directories, are smaller copies of the first page."""
    first, *others = directories
    if SUB_IFDS in first.numbers:
        return True
    width, height = first.size
    for other in others:
        w, h = other.size
        # Rounding of a halved side is one px; an aspect that differs more is another image.
        if other.tiled and 0 < w < width and 0 < h and abs(w * height - h * width) <= max(width, height):
            return True
    return False


def mirax_folder(blob: Blob) -> Path | None:
    """The data folder of a MIRAX slide, if this file belongs to one.

    The ``.mrxs`` file itself is a JPEG picture of the whole glass, label
    included, so it must never be opened as a picture.
    """
    if not isinstance(blob, DiskBlob):
        return None
    folder = blob.path.with_suffix("")
    return folder if folder != blob.path and (folder / _MIRAX_INDEX).is_file() else None


def without_mirax_data(files: Sequence[DiskBlob]) -> list[DiskBlob]:
    """Takes out the data files of MIRAX slides, which belong to the ``.mrxs`` file beside their folder."""
    folders = {blob.path.with_suffix("") for blob in files if blob.path.suffix.lower() == ".mrxs"}
    data = {folder for folder in folders if (folder / _MIRAX_INDEX).is_file()}
    return [blob for blob in files if blob.path.parent not in data]
