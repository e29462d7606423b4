"""What all slide sources share: regions that reach over the edge, and the words for failures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from osler.errors import CapacityError, FileFormatError, OslerError, RequestError
from osler.readers.dicom_errors import DECODE_ERRORS
from osler.readers.limits import sized
from osler.study import SlideLevel

MOST_REGION_PIXELS = 2**28
MOST_PIECE_BYTES = 2**28
_MOST_SIDE = 2**23
_MOST_PIXELS = 2**41
_WHITE = 255
_LIBRARIES = ("imagecodecs", "openslide", "tifffile", "tiffslide", "wsidicom", "zarr")


def read_inside(
    levels: Sequence[SlideLevel],
    *,
    level: int,
    x: int,
    y: int,
    width: int,
    height: int,
    read: Callable[[int, int, int, int], np.ndarray],
    name: str,
) -> np.ndarray:
    """Reads a region of one level; what lies beyond the slide is white.

    Args:
        levels: Of the slide.
        level: Which one. x: px of it. y: px of it. width: px of it. height: px of it.
        read: Called with ``x, y, width, height`` of the part inside the level.
        name: Of the slide, for messages.

    Raises:
        RequestError: If the level or the size does not exist.
        CapacityError: If the region is larger than memory should hold.
        FileFormatError: If the file is damaged there.
    """
    if not 0 <= level < len(levels):
        raise RequestError(f"Level {level} of {name}.", allowed=f"0 to {len(levels) - 1}.")
    if width < 1 or height < 1:
        raise RequestError(f"A region of {width} x {height} px.", allowed="At least one px each way.")
    if width * height > MOST_REGION_PIXELS:
        raise CapacityError(
            f"A region of {width} x {height} px of {name}.",
            allowed=f"At most {MOST_REGION_PIXELS:,} px at once.",
            next_step="Read smaller regions, or a coarser level.",
        )
    place = levels[level]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, place.width), min(y + height, place.height)
    out = np.full((height, width, 3), _WHITE, dtype=np.uint8)
    if x1 > x0 and y1 > y0:
        try:
            pixels = read(x0, y0, x1 - x0, y1 - y0)
            if pixels.shape != (y1 - y0, x1 - x0, 3):
                raise ValueError(f"a region of shape {pixels.shape}")
        except OslerError:
            raise
        except Exception as error:
            if not is_damage(error):
                raise
            raise FileFormatError(
                f"{name} is damaged: level {level} cannot be read at {x0}, {y0} ({type(error).__name__}).",
                next_step="Copy or export it again.",
            ) from error
        out[y0 - y : y1 - y, x0 - x : x1 - x] = pixels
    return out


def is_damage(error: Exception) -> bool:
    """Whether an error is one that damaged files cause: some of the libraries' own derive from ``Exception`` alone."""
    return isinstance(error, DECODE_ERRORS) or type(error).__module__.partition(".")[0] in _LIBRARIES


def check_levels(name: str, *, levels: Sequence[SlideLevel]) -> None:
    """Checks the sizes that a header claims.

    Raises:
        FileFormatError: If there is no level, or one is empty or absurdly large.
    """
    for level in levels or (SlideLevel(width=0, height=0, downsample=1.0),):
        if min(level.width, level.height) < 1 or max(level.width, level.height) > _MOST_SIDE:
            raise _absurd(name, level=level)
        if level.width * level.height > _MOST_PIXELS:
            raise _absurd(name, level=level)


def check_piece(name: str, *, need: int) -> None:
    """Checks that the pieces a level is stored in can be decoded one by one.

    Args:
        name: Of the slide.
        need: Bytes of one decoded tile or strip.

    Raises:
        CapacityError: If one is too large.
    """
    if need > MOST_PIECE_BYTES:
        raise CapacityError(
            f"{name} is stored in pieces of {sized(need)}, so no region can be read without decoding one whole.",
            allowed=f"Tiles or strips of at most {sized(MOST_PIECE_BYTES)}.",
            next_step="Convert it to a tiled pyramid, such as by `vips tiffsave IN OUT --tile --pyramid`.",
        )


def quiet(*names: str) -> None:
    """Keeps libraries from writing to the terminal what a header holds; a handler of the user's still gets it."""
    for name in names:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            logger.addHandler(logging.NullHandler())


def _absurd(name: str, *, level: SlideLevel) -> FileFormatError:
    return FileFormatError(
        f"{name}: the header says a slide of {level.width} x {level.height} px.",
        allowed=f"1 to {_MOST_SIDE:,} px a side, and {_MOST_PIXELS:,} in all.",
        next_step="The header is probably damaged: export the slide again.",
    )
