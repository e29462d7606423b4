"""The few TIFF tags that are read without a library are those that tifffile reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile

from osler.readers.tiff_tags import DESCRIPTION, HEIGHT, SUB_IFDS, TILE_WIDTH, WIDTH, read_directories


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_are_tifffiles(tmp_path: Path, big: bool, order: str) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        file.write(
            np.zeros((96, 160, 3), "uint8"),
            tile=(32, 16),
            photometric="rgb",
            description="Aperio x",
            metadata=None,
            subifds=1,
        )
        file.write(np.zeros((48, 80, 3), "uint8"), tile=(32, 16), photometric="rgb", subfiletype=1)
        file.write(np.zeros((9, 7), "uint8"), photometric="minisblack")
    with path.open("rb") as stream:
        directories, cut = read_directories(stream)
    assert not cut
    with tifffile.TiffFile(path) as file:
        assert [one.size for one in directories] == [(page.imagewidth, page.imagelength) for page in file.pages]
    assert directories[0].numbers[TILE_WIDTH] == 16
    assert directories[0].tiled
    assert not directories[1].tiled
    assert directories[0].texts[DESCRIPTION] == "Aperio x"
    assert SUB_IFDS in directories[0].numbers


def test_a_loop_of_directories_ends() -> None:
    head = b"II*\x00" + (8).to_bytes(4, "little")
    entry = WIDTH.to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little") + b"\x07\x00\x00\x00"
    loop = head + (1).to_bytes(2, "little") + entry + (8).to_bytes(4, "little")
    (only,), cut = read_directories(io.BytesIO(loop))
    assert not cut
    assert only.size == (7, 0)
    assert HEIGHT not in only.numbers


def test_what_is_no_tiff_is_said() -> None:
    with pytest.raises(ValueError, match="no TIFF header"):
        read_directories(io.BytesIO(b"II+*garbage garbage"))
    with pytest.raises(ValueError, match="directory of 65535 entries"):
        read_directories(io.BytesIO(b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(64)))


def test_a_chain_that_leads_nowhere_is_cut() -> None:
    entry = WIDTH.to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little") + b"\x07\x00\x00\x00"
    data = b"II*\x00" + (8).to_bytes(4, "little") + (1).to_bytes(2, "little") + entry + (999).to_bytes(4, "little")
    (only,), cut = read_directories(io.BytesIO(data))
    assert only.size == (7, 0)
    assert cut
