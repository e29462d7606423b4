"""MIRAX slides made in code, by the structure that OpenSlide documents (https://openslide.org/formats/mirax/).

A slide is ``NAME.mrxs``, a JPEG of the glass, beside a folder ``NAME`` with ``Slidedat.ini`` (what there is),
``Index.dat`` (where it is) and ``Data0000.dat`` (the pictures). Not every scanner's slide is like it: these have
no overlap and no table of camera positions.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from tests.readers.make_slide import MAGENTA, levels_of

TILE = 128
_VERSION = b"01.02"
_SLIDE = "0123456789ABCDEF0123456789ABCDEF"
_WHITE_BGR = 0xFFFFFF


def write_mirax(
    path: Path,
    pixels: np.ndarray,
    *,
    levels: int = 3,
    microns: float = 0.5,
    missing: tuple[tuple[int, int], ...] = (),
) -> list[np.ndarray]:
    """Writes a slide of 20x and returns the pixels of its levels, as read.

    Args:
        path: Ends in ``.mrxs``; the folder is made beside it.
        pixels: (rows, columns, 3); both sides a multiple of ``128 * 2 ** (levels - 1)``.
        levels: Each half as large as the one before.
        microns: Between pixels of the first level.
        missing: Tiles (row, column) of the first level that were not scanned; its smaller levels have none of them.
    """
    folder = path.with_suffix("")
    folder.mkdir()
    Image.new("RGB", (64, 32), MAGENTA).save(path, format="JPEG")
    made = levels_of(pixels, count=levels)
    down, across = pixels.shape[0] // TILE, pixels.shape[1] // TILE
    data = bytearray(_VERSION + _SLIDE.encode())
    pages: list[list[tuple[int, int, int]]] = []
    for number, level in enumerate(made):
        step, entries = 2**number, []
        for row in range(0, down, step):
            for column in range(0, across, step):
                if number == 0 and (row, column) in missing:
                    continue
                y, x = row // step * TILE, column // step * TILE
                tile = _picture(level[y : y + TILE, x : x + TILE], kind="PNG")
                entries.append((row * across + column, len(data), len(tile)))
                data += tile
        pages.append(entries)
    label = _picture(np.full((32, 64, 3), MAGENTA, dtype=np.uint8), kind="JPEG")
    label_at = len(data)
    data += label
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Index.dat").write_bytes(_index(pages, label=(label_at, len(label))))
    (folder / "Slidedat.ini").write_text(_settings(across, down, levels=levels, microns=microns), encoding="utf-8-sig")
    for row, column in missing:
        made[0][row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = 255
    return made


def _picture(pixels: np.ndarray, *, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format=kind)
    return out.getvalue()


def _index(pages: list[list[tuple[int, int, int]]], *, label: tuple[int, int]) -> bytes:
    """The roots of both kinds of records, a pointer a record, and pages of entries; all numbers are int32."""
    head = len(_VERSION) + len(_SLIDE) + 8
    out = bytearray(_VERSION + _SLIDE.encode())
    pointers = head + 4 * (len(pages) + 1)
    out += struct.pack("<2i", head, head + 4 * len(pages))
    bodies = [
        struct.pack("<2i", len(page), 0) + b"".join(struct.pack("<4i", i, o, n, 0) for i, o, n in page)
        for page in pages
    ]
    bodies.append(struct.pack("<2i", 1, 0) + struct.pack("<5i", 0, 0, *label, 0))
    records, at = bytearray(), pointers
    for body in bodies:
        out += struct.pack("<i", at)
        records += struct.pack("<2i", 0, at + 8) + body
        at += 8 + len(body)
    return bytes(out + records)


def _settings(across: int, down: int, *, levels: int, microns: float) -> str:
    zooms = [
        f"HIER_0_VAL_{n} = ZoomLevel_{n}\nHIER_0_VAL_{n}_SECTION = LAYER_0_LEVEL_{n}_SECTION" for n in range(levels)
    ]
    sections = [
        f"""[LAYER_0_LEVEL_{n}_SECTION]
OVERLAP_X = 0
OVERLAP_Y = 0
MICROMETER_PER_PIXEL_X = {microns * 2**n}
MICROMETER_PER_PIXEL_Y = {microns * 2**n}
IMAGE_FORMAT = PNG
IMAGE_FILL_COLOR_BGR = {_WHITE_BGR}
DIGITIZER_WIDTH = {TILE}
DIGITIZER_HEIGHT = {TILE}
IMAGE_CONCAT_FACTOR = {min(n, 1)}"""
        for n in range(levels)
    ]
    return "\n".join(
        [
            f"""[GENERAL]
SLIDE_VERSION = 01.02
SLIDE_ID = {_SLIDE}
IMAGENUMBER_X = {across}
IMAGENUMBER_Y = {down}
OBJECTIVE_MAGNIFICATION = 20
CameraImageDivisionsPerSide = 1
[HIERARCHICAL]
HIER_COUNT = 1
NONHIER_COUNT = 1
INDEXFILE = Index.dat
HIER_0_NAME = Slide zoom level
HIER_0_COUNT = {levels}""",
            *zooms,
            """NONHIER_0_NAME = Scan data layer
NONHIER_0_COUNT = 1
NONHIER_0_VAL_0 = ScanDataLayer_SlideBarcode
NONHIER_0_VAL_0_SECTION = BARCODE_SECTION
[BARCODE_SECTION]
BARCODE_IMAGE_TYPE = JPEG
[DATAFILE]
FILE_COUNT = 1
FILE_0 = Data0000.dat""",
            *sections,
            "",
        ]
    )
