"""Measures a deflated DICOM file before pydicom unpacks it whole into memory."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian

from osler.errors import FileFormatError
from osler.readers.limits import LIMITS, Limits, check_memory, sized

_HEAD, _PIECE = 4096, 1 << 20
_META_START = 132
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"


def check_deflated(stream: BinaryIO, *, name: str, limits: Limits = LIMITS) -> None:
    """Refuses a file that would unpack to more than is sensible; leaves all others alone.

    Args:
        stream: The file, at its start, to which it is set back.
        name: The file's name.
        limits: Bounds on the ratio.

    Raises:
        FileFormatError: If it is built like a bomb, or its file meta information has no length.
        CapacityError: If it does not fit into the free memory.
    """
    head = stream.read(_HEAD)
    if DeflatedExplicitVRLittleEndian.encode() not in head or head[128:132] != b"DICM":
        stream.seek(0)
        return
    if head[_META_START : _META_START + 8] != _GROUP_LENGTH:
        raise FileFormatError(
            f"{name} is deflated, and the length of its file meta information is missing.",
            next_step="Copy or export it again.",
        )
    (length,) = struct.unpack_from("<I", head, _META_START + 8)
    stream.seek(_META_START + 12 + length)
    unpacked, packed = _measure(stream, limits=limits)
    stream.seek(0)
    if unpacked > limits.archive_ratio_from and unpacked > limits.archive_ratio * packed:
        raise FileFormatError(
            f"{name} would unpack from {sized(packed)} to {sized(unpacked)} or more, like a bomb.",
            allowed=f"At most {limits.archive_ratio} times its size.",
            next_step="Export the file again, not deflated.",
        )
    check_memory(name, need=unpacked)


def _measure(stream: BinaryIO, *, limits: Limits) -> tuple[int, int]:
    """Bytes unpacked and packed, as far as the first exceeds what is allowed."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacked = packed = 0
    while data := stream.read(_PIECE):
        packed += len(data)
        while data and not inflater.eof:
            unpacked += len(inflater.decompress(data, _PIECE))
            data = inflater.unconsumed_tail
        if unpacked > limits.array_bytes or inflater.eof:
            break
    return unpacked, packed
