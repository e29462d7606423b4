"""Each entry of a folder is one study."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import FileFormatError
from osler.readers.inbox import list_inbox


def test_entries_are_studies_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(b"x")
    (tmp_path / "c.png").write_bytes(b"y")
    (tmp_path / ".arriving").mkdir()
    assert [study.path.name for study in list_inbox(tmp_path)] == ["a", "b", "c.png"]


def test_the_stamp_changes_with_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "1.dcm"
    file.write_bytes(b"x")
    (before,) = list_inbox(tmp_path)
    assert list_inbox(tmp_path) == (before,)
    file.write_bytes(b"longer")
    assert list_inbox(tmp_path)[0].stamp != before.stamp
    (tmp_path / "a" / "2.dcm").write_bytes(b"x")
    assert len({before.stamp, *(study.stamp for study in list_inbox(tmp_path))}) == 2


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for name in ("absent", "file", "a\0b"):
        with pytest.raises(FileFormatError, match="cannot be listed"):
            list_inbox(tmp_path / name)
