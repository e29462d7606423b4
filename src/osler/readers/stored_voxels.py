"""Voxels as NIfTI and MGH files store them: one block, slice behind slice, read a piece at a time.

A compressed file is unpacked as a stream: what is not wanted is passed over and never kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

_PIECE = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the voxels of the first volume lie.

    Args:
        offset: Of the first voxel, bytes (unpacked).
        dtype: As stored, byte order included.
        size: Voxels along i, j, k; i is the fastest.
    """

    offset: int
    dtype: np.dtype
    size: tuple[int, int, int]

    @property
    def plane(self) -> int:
        """Bytes of one slice."""
        return self.size[0] * self.size[1] * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Of all slices."""
        return self.plane * self.size[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a look at the stored values found.

    Args:
        low: Least finite value. high: Greatest finite value; below `low` if there is none.
        not_finite: How many values are NaN or infinite.
        whole: Whether all values were looked at.
    """

    low: float
    high: float
    not_finite: int
    whole: bool


def read_planes(stream: BinaryIO, *, layout: Layout, slices: Sequence[int]) -> np.ndarray:
    """Reads slices, in the order given.

    Args:
        stream: The file, unpacked; read forward only, so that a packed one is unpacked once.
        layout: Where they lie.
        slices: Indices along k.

    Returns:
        Stored values, ``(slice, row, column)``.

    Raises:
        EOFError: If the file ends before them.
        OSError: If the checksum behind the last slice of a packed file is another one.
    """
    columns, rows, _ = layout.size
    planes = np.empty((len(slices), rows, columns), dtype=layout.dtype)
    for place in sorted(range(len(slices)), key=lambda place: slices[place]):
        stream.seek(layout.offset + slices[place] * layout.plane)
        _fill(stream, memoryview(planes[place].reshape(-1).view(np.uint8)))
    if slices and max(slices) == layout.size[2] - 1:
        _pass_end(stream)
    return planes


def survey(stream: BinaryIO, *, layout: Layout, packed: bool, most: int) -> Survey:
    """Looks at the values, up to a number of bytes.

    Args:
        stream: The file, unpacked.
        layout: Where they lie.
        packed: Whether going forward in the stream costs unpacking: then its beginning is looked at,
            else pieces from the whole of it.
        most: Bytes to look at.

    Raises:
        EOFError: If the file ends before them.
    """
    low, high, bad = np.inf, -np.inf, 0
    for values in _pieces(stream, layout=layout, packed=packed, most=most):
        good = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        bad += values.size - good.size
        if good.size:
            low, high = min(low, float(good.min())), max(high, float(good.max()))
    whole = layout.bytes <= most
    if whole:
        _pass_end(stream)
    return Survey(low=low, high=high, not_finite=bad, whole=whole)


def _pieces(stream: BinaryIO, *, layout: Layout, packed: bool, most: int) -> Iterator[np.ndarray]:
    item = layout.dtype.itemsize
    piece = _PIECE // item * item
    starts = list(range(0, layout.bytes, piece))
    count = max(most // piece, 1)
    if len(starts) > count:
        picks = range(count) if packed else np.linspace(0, len(starts) - 1, count).round().astype(int).tolist()
        starts = [starts[pick] for pick in picks]
    for start in starts:
        values = np.empty(min(piece, layout.bytes - start) // item, dtype=layout.dtype)
        stream.seek(layout.offset + start)
        _fill(stream, memoryview(values.view(np.uint8)))
        yield values


def _pass_end(stream: BinaryIO) -> None:
    """Reads on to the end of a packed stream, where its checksum is compared; a few tags may lie between."""
    stream.read(_PIECE)


def _fill(stream: BinaryIO, view: memoryview) -> None:
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"{len(view) - filled:,} bytes are missing")
        filled += count
