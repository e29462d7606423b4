"""Walking folders: loops end, links work, hidden files are passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from osler.readers import Limits, open_study
from osler.readers.folder import find_files
from tests.readers.make_dicom import ramp, write_series

needs_links = pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")


@needs_links
def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", volume=ramp(3))
    (tmp_path / "scan/again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    study = open_study(tmp_path)
    assert study.volumes()[0].shape[0] == 3
    reasons = {Path(item.what).name: item.why for item in study.left_out}
    assert reasons["again"] == "a link to a folder that was read already"
    assert "cannot be read" in reasons["self"]


@needs_links
def test_links_to_elsewhere_are_followed(tmp_path: Path) -> None:
    write_series(tmp_path / "store", volume=ramp(3))
    (tmp_path / "case").mkdir()
    (tmp_path / "case/link").symlink_to(tmp_path / "store", target_is_directory=True)
    assert open_study(tmp_path / "case").volumes()[0].shape[0] == 3


def test_deep_trees_end(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 8)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    files, left_out = find_files(tmp_path, limits=Limits(depth=5))
    assert files == []
    assert "nested deeper than 5" in left_out[0].why


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    write_series(tmp_path, volume=ramp(3))
    assert open_study(tmp_path).left_out == ()
