"""Claims of headers against files and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import CapacityError, FileFormatError
from osler.readers import limits
from osler.readers.limits import available_memory, check_length, check_memory, check_shape, sized


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


def test_free_memory_is_measured() -> None:
    assert 10_000_000 < available_memory() < 1 << 50


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("max", "1000\n"), ("current", "900\n"), ("stat", "anon 800\ninactive_file 100\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    assert available_memory() == 200
    check_memory("f", need=200)
    with pytest.raises(CapacityError, match=r"f needs 201 bytes of memory\. 200 bytes are free"):
        check_memory("f", need=201)
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 10_000_000
