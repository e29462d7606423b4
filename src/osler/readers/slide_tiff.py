"""Reads whole slides that are TIFF files (SVS, NDPI, SCN, generic pyramids) by ``tiffslide``.

Only the levels of the slide are ever touched. The label and the macro picture
that scanners put beside them show the patient's name or number: nothing here
opens them.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import FileFormatError, UnsupportedError
from osler.extras import import_extra
from osler.readers.limits import check_length
from osler.readers.slide_pyramid import LazyPyramid
from osler.readers.slide_region import check_levels, check_piece, quiet
from osler.readers.tiff_tags import read_directories
from osler.study import SlideLevel

_MPP_X, _MPP_Y, _OBJECTIVE = "tiffslide.mpp-x", "tiffslide.mpp-y", "tiffslide.objective-power"


class TiffPyramid(LazyPyramid):
    """A slide in a TIFF file."""

    def _open(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a header was said when it was opened
            slide = import_extra("tiffslide", extra="slides").TiffSlide(str(self.paths[0]))
            dict(slide.properties)
        return slide

    def _piece(self, slide: Any, *, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        factor = slide.level_downsamples[level]
        location = _base(x, factor=factor), _base(y, factor=factor)
        return _rgb(slide.read_region(location, level, (width, height), as_array=True))


def open_tiff_slide(
    path: Path,
) -> tuple[TiffPyramid, tuple[float, float] | None, float | None, tuple[str, ...]]:
    """Opens the headers of a slide.

    Args:
        path: The file.

    Returns:
        The pyramid, mm between columns and rows, the magnification of the objective, and what was noticed.

    Raises:
        RequestError: If ``tiffslide`` is not installed.
        FileFormatError: If the file is truncated or its header is absurd.
        UnsupportedError: If it is no brightfield slide in 8-bit color.
        CapacityError: If it is not stored in pieces that can be read one by one.
        Exception: What the library raises on a file that it does not know.
    """
    tiffslide = import_extra("tiffslide", extra="slides")
    quiet("tifffile", "tiffslide", "zarr", "fsspec")
    _check_chain(path)
    with tiffslide.TiffSlide(str(path)) as slide:
        sizes = slide.level_dimensions
        levels = tuple(
            SlideLevel(
                width=int(w),
                height=int(h),
                downsample=1.0 if index == 0 else math.sqrt(sizes[0][0] / w * sizes[0][1] / h),
            )
            for index, (w, h) in enumerate(sizes)
        )
        check_levels(str(path), levels=levels)
        series = slide.ts_tifffile.series[slide.properties.get("tiffslide.series-index", 0)]
        problems = _check_series(path, series=series)
        spacing = _spacing(slide.properties)
        power = _positive(slide.properties.get(_OBJECTIVE))
    return TiffPyramid((path,), levels=levels), spacing, power, problems


def _check_chain(path: Path) -> None:
    with path.open("rb") as stream:
        _, cut = read_directories(stream)
    if cut:
        raise FileFormatError(
            f"{path} is truncated: its list of levels leads beyond its end.", next_step="Copy or export it again."
        )


def _check_series(path: Path, *, series: Any) -> tuple[str, ...]:
    """Checks kinds of pixels and that every tile lies within the file."""
    size = path.stat().st_size
    problems: list[str] = []
    if series.dtype != np.uint8 or series.axes not in ("YXS", "YX", "CYX"):
        raise UnsupportedError(
            f"{path} is a slide of {series.dtype} pixels with axes {series.axes!r}.",
            allowed="Osler reads brightfield slides: 8-bit color in one layer.",
            next_step="Export one layer as 8-bit RGB.",
        )
    channels = {"YX": 1, "YXS": series.shape[-1], "CYX": series.shape[0]}[series.axes]
    if channels not in (1, 3, 4):
        raise UnsupportedError(
            f"{path} is a slide of {channels} channels.",
            allowed="Osler reads brightfield slides: 8-bit color.",
            next_step="Export it as 8-bit RGB.",
        )
    if channels == 1:
        problems.append("A slide in gray: stains cannot be told apart.")
    for level in series.levels:
        for page in level.pages:
            if page is None:
                continue
            _check_page(path, page=page, size=size)
    return tuple(problems)


def _check_page(path: Path, *, page: Any, size: int) -> None:
    offsets = np.asarray(page.dataoffsets, dtype=np.int64)
    counts = np.asarray(page.databytecounts, dtype=np.int64)
    keyframe = page.keyframe
    wanted = math.prod(keyframe.chunked)
    if len(offsets) != len(counts) or len(offsets) < wanted:
        raise FileFormatError(
            f"{path} is damaged: a level of {keyframe.imagewidth} x {keyframe.imagelength} px needs {wanted:,} tiles, "
            f"and the file lists {min(len(offsets), len(counts)):,}.",
            next_step="Copy or export it again.",
        )
    if len(offsets) and (offsets.min() < 0 or counts.min() < 0):
        raise FileFormatError(f"{path} is damaged: a tile lies before the file.", next_step="Copy it again.")
    check_length(str(path), need=int((offsets + counts).max(initial=0)), have=size, what="tiles")
    check_piece(str(path), need=math.prod(keyframe.chunks) * keyframe.dtype.itemsize)


def _spacing(properties: Any) -> tuple[float, float] | None:
    """mm between columns and rows of level 0."""
    across, down = _positive(properties.get(_MPP_X)), _positive(properties.get(_MPP_Y))
    return None if across is None or down is None else (across / 1000, down / 1000)


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _base(index: int, *, factor: float) -> int:
    """The px of level 0 that the library maps to px ``index`` of a level: it truncates ``base / factor``."""
    base = math.ceil(index * factor)
    while int(base / factor) < index:
        base += 1
    return base


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """Gray as three equal channels; an alpha channel is dropped."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[..., :3])
