"""ZIP archives: hostile ones are refused, and nothing is unpacked to disk."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from osler.errors import FileFormatError, UnsupportedError
from osler.readers import Limits, open_study
from osler.readers.archive import find_members
from tests.readers.make_dicom import ramp, write_series


def _zip(path: Path, *, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_bomb_is_refused_with_numbers(tmp_path: Path) -> None:
    path = _zip(tmp_path / "bomb.zip", members={"a.dcm": bytes(1_000_000)})
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = struct.pack("<I", 3_000_000_000)  # what the directory says it unpacks to
    path.write_bytes(raw)
    start = time.perf_counter()
    with pytest.raises(FileFormatError, match=r"would unpack from 1\.1 KiB to 2\.8 GiB, like a ZIP bomb"):
        open_study(path)
    assert time.perf_counter() - start < 2


def test_a_member_that_is_longer_than_it_says_is_not_read_on(tmp_path: Path) -> None:
    path = _zip(tmp_path / "liar.zip", members={"a.dcm": bytes(50_000_000)})
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    path.write_bytes(raw)
    tracemalloc.start()
    with pytest.raises(FileFormatError):
        open_study(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_huge_total_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "big.zip", members={"a": b"x" * 1000})
    with pytest.raises(FileFormatError, match="At most 500 bytes"):
        find_members(path, limits=Limits(archive_bytes=500))


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    """Two entries of the directory point to one body, as in the densest bombs."""
    path = _zip(tmp_path / "overlap.zip", members={"a": b"x" * 1000, "b": b"y" * 1000})
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match="overlap"):
        find_members(path)


@pytest.mark.parametrize("name", ["../evil.dcm", "a/../../evil.dcm", "/etc/evil.dcm", "C:\\evil.dcm", "..\\evil.dcm"])
def test_names_that_point_outside_are_left_out(tmp_path: Path, name: str) -> None:
    paths = write_series(tmp_path / "in", volume=ramp(3))
    archive = _zip(tmp_path / "scan.zip", members={path.name: path.read_bytes() for path in paths})
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr(name, paths[0].read_bytes())
    study = open_study(archive)
    assert study.volumes()[0].shape[0] == 3
    assert [item.why for item in study.left_out] == ["its name points outside of the archive"]
    assert not (tmp_path.parent / "evil.dcm").exists()


def test_archives_in_archives_are_not_opened(tmp_path: Path) -> None:
    inner = _zip(tmp_path / "inner.zip", members={"a.txt": b"words"})
    outer = _zip(tmp_path / "outer.zip", members={"inner.zip": inner.read_bytes()})
    with pytest.raises(UnsupportedError, match="an archive inside"):
        open_study(outer)


def test_an_empty_archive(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="holds no images"):
        open_study(_zip(tmp_path / "none.zip", members={}))


def test_a_truncated_archive(tmp_path: Path) -> None:
    path = _zip(tmp_path / "cut.zip", members={"a": b"x" * 1000})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileFormatError, match="damaged ZIP archive"):
        open_study(path)


def test_a_damaged_member_is_left_out(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", volume=ramp(3))
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in paths:
            target.write(path, path.name)
    raw = bytearray(archive.read_bytes())
    start = raw.index(b"DICM", 1000)  # the second member: its bytes no longer fit its checksum
    raw[start + 4 : start + 40] = bytes(36)
    archive.write_bytes(raw)
    study = open_study(archive)
    assert sum(item.count for item in study.left_out) == 1
    assert len(list(study.series())) >= 1


def test_too_many_members(tmp_path: Path) -> None:
    path = _zip(tmp_path / "many.zip", members={str(number): b"" for number in range(10)})
    with pytest.raises(UnsupportedError, match="holds 10 files"):
        find_members(path, limits=Limits(files=9))


def test_names_in_an_old_code_page_are_no_overlap(tmp_path: Path) -> None:
    """Windows packs names such as Müller without UTF-8: one byte a letter."""
    path = tmp_path / "old.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            archive.writestr(f"{'@' * 40}{number}.dcm", b"x" * 100)
    path.write_bytes(path.read_bytes().replace(b"@" * 40, b"\x81" * 40))
    members, left_out = find_members(path)
    assert [member.member for member in members] == [f"{'ü' * 40}{number}.dcm" for number in range(3)]
    assert left_out == []
