"""Tells what a file is from its first bytes. Names and extensions are not trusted."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Literal

Kind = Literal[
    "dicom",
    "dicom-slide",
    "nifti",
    "mgh",
    "zip",
    "picture",
    "slide",
    "empty",
    "gzip",
    "pdf",
    "json",
    "nrrd",
    "analyze",
    "text",
    "other",
]

HEAD_BYTES = 4096

_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")
_BIG_TIFF = (b"II+\x00", b"MM\x00+")
_WHOLE_SLIDE_CLASS = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.77\.1\.6(?![0-9.])")

NOT_READ: dict[Kind, str] = {
    "empty": "the file is empty",
    "gzip": "gzip-compressed, and not a NIfTI or MGH volume; unpack it first",
    "nrrd": "an NRRD volume; convert it to NIfTI",
    "analyze": "an Analyze 7.5 or NIfTI pair header; convert it to a single .nii file, which keeps left and right",
    "text": "a text file, not an image",
    "other": "not DICOM, NIfTI, MGH, ZIP, PNG, JPEG, TIFF or PDF (judged by its content)",
}


def kind_of(head: bytes) -> Kind:
    """Names the format of a file by its first `HEAD_BYTES` bytes.

    A TIFF file is a ``"picture"`` here; `osler.readers.slide_sniff` tells whether it is a slide.

    Args:
        head: The first bytes, fewer if the file is shorter.
    """
    if not head:
        return "empty"
    if head[128:132] == b"DICM":
        return "dicom-slide" if _WHOLE_SLIDE_CLASS.search(head) else "dicom"
    if head.startswith(_PICTURES):
        return "picture"
    if head.startswith(_BIG_TIFF):
        return "slide"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        inner = _inflate(head)
        return _volume_kind(inner) or ("json" if _looks_like_json(inner) else "gzip")
    return _volume_kind(head) or _other_kind(head)


def _inflate(head: bytes) -> bytes:
    """The start of what a gzip stream holds; empty if it is damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _volume_kind(head: bytes) -> Kind | None:
    if len(head) >= 348:
        size_little, size_big = struct.unpack("<i", head[:4])[0], struct.unpack(">i", head[:4])[0]
        if 348 in (size_little, size_big):
            return "nifti" if head[344:348] == b"n+1\x00" else "analyze"
        if 540 in (size_little, size_big) and head[4:8] == b"n+2\x00":
            return "nifti"
    if len(head) >= 284:
        version, *dims, frames, kind = struct.unpack(">6i", head[:24])
        if version == 1 and kind in (0, 1, 2, 3, 4, 10) and all(length > 0 for length in (*dims, frames)):
            return "mgh"
    return None


def _other_kind(head: bytes) -> Kind:
    if _looks_like_bare_dicom(head):
        return "dicom"
    if head.startswith(b"%PDF"):
        return "pdf"
    if head.startswith(b"NRRD0"):
        return "nrrd"
    if _looks_like_json(head):
        return "json"
    return "text" if _is_text(head) else "other"


def _looks_like_json(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # JSON of another encoding than its standard wants
        head = head[2:].replace(b"\x00", b"")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text[:1] in (b"{", b"[") and b"\x00" not in head


def _is_text(head: bytes) -> bool:
    controls = sum(byte < 9 or 13 < byte < 32 for byte in head)
    return controls == 0


def _looks_like_bare_dicom(head: bytes) -> bool:
    """Whether the bytes start with a data element of group 0002 or 0008, as files without preamble do."""
    if len(head) < 16:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group not in (0x0002, 0x0008) or element > 0x1200:
            continue
        explicit = head[4:6].isalpha() and head[4:6].isupper()
        implicit = struct.unpack(f"{order}I", head[4:8])[0] <= 256
        if explicit or implicit:
            return True
    return False
