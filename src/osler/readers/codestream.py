"""The short way to the most common slow case: one JPEG 2000 frame a file, on disk.

Its bytes go from the file to the codec; the header is not parsed again. Whatever is
unusual about them is left to pydicom, which knows more and takes longer. Imports neither
pydicom nor the rest of the readers, so that a decoding process is up at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from osler.readers.blob import Blob

SYNTAXES = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
_RAW = 0  # a codestream, without the boxes of a JP2 file
_START, _END = b"\xff\x4f\xff\x51", b"\xff\xd9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """Where the only frame of a file lies, and what it should be.

    Args:
        parts: Offset and length of each fragment within the file, in order.
        shape: Rows and columns.
        bits: Bits stored.
        signed: Whether stored values have a sign.
    """

    parts: tuple[tuple[int, int], ...]
    shape: tuple[int, int]
    bits: int
    signed: bool


def decode_codestream(blob: Blob, *, codestream: Codestream) -> np.ndarray | None:
    """Decodes the frame if it is whole and what the header says.

    Args:
        blob: The file.
        codestream: Where it lies.

    Returns:
        Stored values, ``(row, column)``; ``None`` where pydicom has to look.
    """
    import openjpeg

    try:
        with blob.open() as stream:
            data = b"".join(_read(stream, offset=offset, length=length) for offset, length in codestream.parts)
        if not (data.startswith(_START) and data[-64:].rstrip(b"\x00").endswith(_END)):
            return None  # without its end mark the codec takes zeros for coefficients
        found = openjpeg.get_parameters(data, j2k_format=_RAW)
        if _described(found) != (*codestream.shape, 1, codestream.bits, codestream.signed):
            return None
        return openjpeg.decode(data, j2k_format=_RAW)
    except (OSError, RuntimeError, ValueError):
        return None


def _read(stream: BinaryIO, *, offset: int, length: int) -> bytes:
    stream.seek(offset)
    return stream.read(length)


def _described(found: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(found[name] for name in ("rows", "columns", "samples_per_pixel", "precision", "is_signed"))
