"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from osler.errors import RequestError
from osler.writers.atomic import check_writable, write_atomic


def test_writes_a_new_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = check_writable(tmp_path / "a.png")
    write_atomic(target, data=b"whole")
    assert target.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a.png"]


def test_honors_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        target = write_atomic(tmp_path / "a.png", data=b"x")
    finally:
        os.umask(before)
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_failing_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RequestError, match="No space left on device"):
        write_atomic(target, data=b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_interrupt_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, data=b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"No folder .*absent.* The folder of an output file must exist"):
        check_writable(tmp_path / "absent" / "a.png")


def test_a_folder_in_the_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is not a regular file"):
        check_writable(tmp_path, replace="any")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_a_device_is_never_replaced() -> None:
    with pytest.raises(RequestError, match="is not a regular file"):
        check_writable("/dev/null", replace="any")


def test_a_foreign_file_is_kept_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"mine")
    with pytest.raises(RequestError, match="which Osler did not write"):
        check_writable(target, replace="ours")
    with pytest.raises(RequestError, match="exists, and is kept"):
        check_writable(target)
    assert check_writable(target, replace="any") == target
    assert check_writable(target, replace="ours", is_ours=lambda path: True) == target
    assert target.read_bytes() == b"mine"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.png"
    real.write_bytes(b"old")
    link = tmp_path / "link.png"
    link.symlink_to(real)
    write_atomic(check_writable(link, replace="any"), data=b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(RequestError, match="Permission denied"):
            check_writable(tmp_path / "a.png")
    finally:
        tmp_path.chmod(0o755)


def test_a_folder_that_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(RequestError, match=r"'a.png' cannot be placed"):
        check_writable("a.png")


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be placed"):
        check_writable(f"{tmp_path}/a\0.png")


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be placed"):
        check_writable(tmp_path / f"{'a' * 300}.png")
