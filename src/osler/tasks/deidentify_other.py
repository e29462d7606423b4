"""Takes identity out of NIfTI volumes and of PNG and JPEG pictures, without touching a pixel.

NIfTI headers have room for free text, extensions may hold whole DICOM headers, and gzip remembers
the file's name. Faces in head scans are not removed.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image

from osler.errors import FileFormatError, UnsupportedError
from osler.tasks.burned_in_text import TextFinder, TextRegion

_ORIENTATION = 0x0112
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# What changes how pixels look; all else is words, dates and programs.
_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT", b"bKGD"}
# Texts of a header by its size: name, first byte, length.
_NIFTI_TEXTS = {
    348: (
        ("data_type", 4, 10),
        ("db_name", 14, 18),
        ("descrip", 148, 80),
        ("aux_file", 228, 24),
        ("intent_name", 328, 16),
    ),
    540: (("descrip", 240, 80), ("aux_file", 320, 24), ("intent_name", 508, 16)),
}
_UNPACKED_MOST = 8 * 2**30


def clean_nifti(data: bytes, *, name: str, counts: Counter[tuple[str, str]]) -> bytes:
    """Empties the texts of a NIfTI header and drops its extensions; voxels and geometry stay byte for byte.

    Args:
        data: The file, packed or not.
        name: The file, for errors.
        counts: Gets what was done.

    Raises:
        FileFormatError: If it is damaged.
    """
    packed = data[:2] == b"\x1f\x8b"
    raw = bytearray(_unpack(data, name=name) if packed else data)
    order = "<" if struct.unpack("<i", raw[:4])[0] in (348, 540) else ">"
    size = struct.unpack(f"{order}i", raw[:4])[0]
    if size not in (348, 540) or len(raw) < size + 4:
        raise FileFormatError(f"{name} is a damaged NIfTI file.", next_step="Export it again.")
    for field, start, length in _NIFTI_TEXTS[size]:
        if bytes(raw[start : start + length]).strip(b"\0"):
            counts[f"NIfTI {field}", "emptied"] += 1
        raw[start : start + length] = bytes(length)
    place, kind = (108, "f") if size == 348 else (168, "q")
    offset = int(struct.unpack(f"{order}{kind}", raw[place : place + struct.calcsize(kind)])[0])
    if not size <= offset <= len(raw):
        raise FileFormatError(
            f"{name}: its header says that voxels begin at byte {offset}.", next_step="Export it again."
        )
    least = size + 4
    if offset > least:
        counts["NIfTI extensions", "removed"] += 1
    voxels = _voxels(raw, size=size, order=order, offset=offset, name=name)
    start = max((least + 15) // 16 * 16, least)
    raw[place : place + struct.calcsize(kind)] = struct.pack(f"{order}{kind}", start)
    head = bytes(raw[:size]) + bytes(start - size)
    cleaned = head + voxels
    if not packed:
        return cleaned
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0, compresslevel=6) as stream:
        stream.write(cleaned)
    return buffer.getvalue()


def _voxels(raw: bytearray, *, size: int, order: str, offset: int, name: str) -> bytes:
    """The voxels alone: bytes behind them may hold anything."""
    place, kind, bits_at = (40, "h", 72) if size == 348 else (16, "q", 14)
    dims = struct.unpack(f"{order}8{kind}", raw[place : place + 8 * struct.calcsize(kind)])
    bits = struct.unpack(f"{order}h", raw[bits_at : bits_at + 2])[0]
    count = 1
    for length in dims[1 : 1 + max(min(dims[0], 7), 0)]:
        count *= max(int(length), 1)
    need = (count * bits + 7) // 8
    if offset + need > len(raw):
        raise FileFormatError(f"{name} is truncated.", next_step="Copy or export it again.")
    return bytes(raw[offset : offset + need])


def _unpack(data: bytes, *, name: str) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        raw = unpacker.decompress(data, _UNPACKED_MOST)
    except zlib.error as error:
        raise FileFormatError(f"{name} is damaged (gzip).", next_step="Copy it again.") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise FileFormatError(f"{name} is truncated, or unpacks to too much.", next_step="Copy it again.")
    return raw


def clean_picture(
    data: bytes, *, name: str, finder: TextFinder | None, counts: Counter[tuple[str, str]]
) -> tuple[bytes, str, int]:
    """Drops all metadata of a PNG or JPEG, and blanks text in it.

    The orientation that a JPEG names stays: without it left would become right.

    Args:
        data: The file.
        name: The file, for errors.
        finder: Finds text; ``None`` leaves the pixels as they are.
        counts: Gets what was done.

    Returns:
        The new file, its ending, and how many regions were blanked.

    Raises:
        FileFormatError: If it is damaged.
        UnsupportedError: If it is neither PNG nor JPEG.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            kind, orientation = picture.format, picture.getexif().get(_ORIENTATION, 1)
            picture.load()
            pixels = picture.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileFormatError(f"{name} cannot be decoded.", next_step="Copy it again.") from error
    if kind not in ("PNG", "JPEG"):
        raise UnsupportedError(
            f"{name} is a {kind} picture, whose metadata cannot be dropped without writing it anew.",
            allowed="PNG and JPEG.",
            next_step="Convert it to PNG.",
        )
    regions = _text_in(pixels, finder=finder)
    if regions:
        counts["picture pixels", "text blanked"] += len(regions)
        return _blanked(pixels, regions=regions, orientation=orientation), ".png", len(regions)
    cleaned = (
        _clean_png(data, counts=counts) if kind == "PNG" else _clean_jpeg(data, orientation=orientation, counts=counts)
    )
    with Image.open(io.BytesIO(cleaned)) as again:
        if not np.array_equal(np.asarray(again), np.asarray(pixels)):
            raise FileFormatError(f"{name} would change by dropping its metadata.", next_step="Convert it to PNG.")
    return cleaned, ".png" if kind == "PNG" else ".jpg", 0


def _text_in(pixels: Image.Image, *, finder: TextFinder | None) -> list[TextRegion]:
    if finder is None:
        return []
    return [region for region in finder.find(np.asarray(pixels.convert("RGB"))) if not region.is_marker]


def _blanked(pixels: Image.Image, *, regions: list[TextRegion], orientation: int) -> bytes:
    plain = pixels.convert("RGB") if pixels.mode not in ("L", "RGB", "I;16") else pixels
    for region in regions:
        plain.paste(0 if plain.mode != "RGB" else (0, 0, 0), (region.left, region.top, region.right, region.bottom))
    exif = Image.Exif()
    if orientation != 1:
        exif[_ORIENTATION] = orientation
    fresh = Image.fromarray(np.asarray(plain))
    buffer = io.BytesIO()
    fresh.save(buffer, format="PNG", exif=exif)
    return buffer.getvalue()


def _clean_png(data: bytes, *, counts: Counter[tuple[str, str]]) -> bytes:
    out, place = [_PNG_HEAD], len(_PNG_HEAD)
    while place + 12 <= len(data):
        length = struct.unpack(">I", data[place : place + 4])[0]
        kind = data[place + 4 : place + 8]
        if kind in _PNG_KEPT:
            out.append(data[place : place + 12 + length])
        else:
            counts[f"PNG {kind.decode('latin-1')}", "removed"] += 1
        place += 12 + length
        if kind == b"IEND":
            break
    return b"".join(out)


def _clean_jpeg(data: bytes, *, orientation: int, counts: Counter[tuple[str, str]]) -> bytes:
    out = [b"\xff\xd8"]
    if orientation != 1:
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        body = exif.tobytes()
        out.append(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    for marker, segment in _segments(data):
        if marker == 0xE0 and segment[4:9] == b"JFIF\0":
            # Without the thumbnail, which is a picture of its own.
            out.append(b"\xff\xe0\x00\x10" + segment[4:16] + b"\0\0")
        elif marker == 0xEE or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            out.append(segment)
        else:
            counts["JPEG comment" if marker == 0xFE else f"JPEG APP{marker - 0xE0}", "removed"] += 1
    return b"".join(out)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments of a JPEG after its start; the entropy-coded data go with the scan before them."""
    place = 2
    while place + 2 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker == 0xD9:
            yield marker, data[place : place + 2]
            return
        if place + 4 > len(data):
            return
        end = place + 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
        if marker == 0xDA:
            while end + 1 < len(data) and not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        yield marker, data[place:end]
        place = end
