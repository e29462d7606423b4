"""Checks that compressed pixel data are whole, without decoding them."""

from __future__ import annotations

import struct
from typing import BinaryIO

from osler.errors import FileFormatError

_ITEM = (0xFFFE, 0xE000)


def check_fragments(stream: BinaryIO, *, name: str, size: int) -> tuple[tuple[int, int], ...]:
    """Walks the items of encapsulated pixel data from length to length.

    A file that only lacks its end mark is let through: some writers forget it.

    Args:
        stream: The file, placed behind the first 8 bytes of the pixel data element.
        name: The file's name.
        size: The file's length in bytes.

    Returns:
        Offset and length of each fragment; the offset table before them is left out.

    Raises:
        FileFormatError: If an item reaches beyond the end of the file.
    """
    # Encapsulated data are explicit VR: 4 bytes of length follow.
    place = stream.tell() + 4
    items: list[tuple[int, int]] = []
    while place + 8 <= size:
        stream.seek(place)
        group, element, length = struct.unpack("<HHI", stream.read(8))
        if (group, element) != _ITEM:
            break  # the end mark, or something that the decoder will judge
        items.append((place + 8, length))
        place += 8 + length
    if place > size:
        raise FileFormatError(
            f"{name} is truncated: its compressed pixels end {place - size:,} bytes too early.",
            next_step="Copy or export the file again.",
        )
    return tuple(items[1:])
