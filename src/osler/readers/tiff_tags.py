"""Reads the few TIFF tags that tell a whole slide from a picture, without a library.

A slide must be known as one where no slide library is installed, and a picture
library must never be asked to open it: it would build a list of all its tiles.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

_CLASSIC, _BIG = 42, 43
_MOST_DIRECTORIES = 64
_MOST_ENTRIES = 4096
_MOST_TEXT = 4096
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 16: 8, 13: 4, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

WIDTH, HEIGHT, BITS, DESCRIPTION, MAKE, SAMPLES, TILE_WIDTH, SUB_IFDS = 256, 257, 258, 270, 271, 277, 322, 330
NDPI = 65420


@dataclass(frozen=True, slots=True)
class TiffDirectory:
    """One directory (page) of a TIFF file: the tags that were asked for.

    Args:
        numbers: First value of each tag that holds whole numbers.
        texts: Tags that hold text, the first 4,096 bytes.
    """

    numbers: dict[int, int] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)``, zero where the tag is absent."""
        return self.numbers.get(WIDTH, 0), self.numbers.get(HEIGHT, 0)

    @property
    def tiled(self) -> bool:
        """Whether it is stored in tiles."""
        return TILE_WIDTH in self.numbers


def read_directories(stream: BinaryIO) -> tuple[tuple[TiffDirectory, ...], bool]:
    """Reads the main directories of a TIFF or BigTIFF file, at most 64; sub-directories are not entered.

    Args:
        stream: The file, at any position.

    Returns:
        The directories, and whether the file ends before their chain does.

    Raises:
        ValueError: If the file has no TIFF header. struct.error: If it ends before the first directory does.
    """
    found: list[TiffDirectory] = []
    try:
        for directory in _walk(stream):
            found.append(directory)
    except (ValueError, struct.error):
        if not found:
            raise
        return tuple(found), True
    return tuple(found), False


def _walk(stream: BinaryIO) -> Iterator[TiffDirectory]:
    stream.seek(0)
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
    if version not in (_CLASSIC, _BIG):
        raise ValueError("no TIFF header")
    big = version == _BIG
    offset = struct.unpack(f"{order}Q", head[8:16])[0] if big else struct.unpack(f"{order}I", head[4:8])[0]
    if not big:
        # NDPI files above 4 GB have 8-byte offsets behind a classic header; no classic file is that long.
        long = struct.unpack(f"{order}Q", head[4:12].ljust(8, b"\x00"))[0]
        offset = long if offset <= 0xFFFFFFFF < long < stream.seek(0, 2) else offset
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(offset)
        stream.seek(offset)
        count = struct.unpack(f"{order}Q" if big else f"{order}H", stream.read(8 if big else 2))[0]
        if count > _MOST_ENTRIES:
            raise ValueError(f"a directory of {count} entries")
        size = 20 if big else 12
        table = stream.read(count * size)
        following = stream.read(8 if big else 4)
        yield _directory(stream, [table[i * size : (i + 1) * size] for i in range(count)], order=order or "<", big=big)
        offset = struct.unpack(f"{order}Q" if big else f"{order}I", following)[0] if following else 0


def _directory(stream: BinaryIO, entries: list[bytes], *, order: str, big: bool) -> TiffDirectory:
    directory = TiffDirectory()
    for entry in entries:
        tag, kind = struct.unpack(f"{order}HH", entry[:4])
        if tag not in (WIDTH, HEIGHT, BITS, DESCRIPTION, MAKE, SAMPLES, TILE_WIDTH, SUB_IFDS, NDPI):
            continue
        count = struct.unpack(f"{order}Q" if big else f"{order}I", entry[4 : 12 if big else 8])[0]
        inline = entry[12:] if big else entry[8:]
        length = min(count * _SIZES.get(kind, 1), _MOST_TEXT)
        if length > len(inline):
            stream.seek(struct.unpack(f"{order}Q" if big else f"{order}I", inline)[0])
            inline = stream.read(length)
        if kind == 2:
            directory.texts[tag] = inline[:length].split(b"\x00")[0].decode("latin-1")
        elif kind in _CODES and count:
            code = _CODES[kind]
            directory.numbers[tag] = struct.unpack(f"{order}{code}", inline[: _SIZES[kind]])[0]
    return directory
