"""Claims of headers against files and memory."""

from __future__ import annotations

import pytest

from osler.errors import CapacityError, FileFormatError
from osler.readers.limits import check_length, check_memory, check_shape, sized


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (2**75, "32768.0 EiB")],
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert sized(count) == text


def test_shapes() -> None:
    assert check_shape("f", shape=(2, 3, 4), item_bytes=2) == 48
    with pytest.raises(FileFormatError, match="f: the header says 2 x 0 voxels"):
        check_shape("f", shape=(2, 0), item_bytes=2)
    with pytest.raises(FileFormatError, match="f: the header says no voxels"):
        check_shape("f", shape=(), item_bytes=2)
    with pytest.raises(FileFormatError, match=r"which is 7\.3 TiB\. At most 64\.0 GiB are read"):
        check_shape("f", shape=(10**6, 10**6), item_bytes=8)


def test_lengths() -> None:
    check_length("f", need=10, have=10)
    with pytest.raises(FileFormatError, match="f is truncated: 10 bytes of voxels are announced and 0 are there"):
        check_length("f", need=10, have=-3, what="voxels")


def test_memory() -> None:
    check_memory("f", need=1000)
    with pytest.raises(CapacityError, match=r"f needs 1\.0 PiB of memory\. .* are free\. Read fewer slices"):
        check_memory("f", need=2**50)
