"""Encoded studies on disk: found again, never wrong, never in the way."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import osler.engine.study_cache as study_cache_module
from osler.engine.session import Session
from osler.engine.study_cache import CacheEntry, StudyCache, open_study_cache
from osler.errors import RequestError
from osler.study import ArrayPixels, Study, TimePoint
from osler.weights import Checkpoint

ROWS = {"features": torch.arange(12, dtype=torch.bfloat16).reshape(3, 4)}


@pytest.fixture
def cache(tmp_path: Path) -> StudyCache:
    return StudyCache(tmp_path / "studies", fingerprint="weights")


@pytest.fixture
def make_session(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Session]:
    """Sessions that share a cache on disk, as separate runs would."""
    monkeypatch.setenv("OSLER_STUDY_CACHE", str(tmp_path / "studies"))
    known = dataclasses.replace(checkpoint, identity="random-weights")
    return lambda: Session(known, studies="disk")


def _files(folder: Path, kind: str = "") -> list[Path]:
    return sorted(folder.glob(f"{kind}*.safetensors"))


def test_tensors_come_back_as_they_were(cache: StudyCache) -> None:
    assert cache.get("features", content="a") is None
    cache.put("features", content="a", tensors=ROWS)
    found = cache.get("features", content="a")
    assert found is not None
    assert torch.equal(found["features"], ROWS["features"])
    assert cache.get("prefix", content="a") is None
    assert cache.get("features", content="b") is None
    assert cache.take_notes() == ()


def test_other_weights_or_contracts_do_not_share_entries(cache: StudyCache) -> None:
    cache.put("features", content="a", tensors=ROWS)
    assert StudyCache(cache.folder, fingerprint="other").get("features", content="a") is None


def test_only_the_owner_can_look(cache: StudyCache) -> None:
    cache.put("features", content="a", tensors=ROWS)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("harm", ["truncated", "flipped", "other key", "emptied", "not safetensors"])
def test_a_damaged_entry_is_removed_and_said(cache: StudyCache, harm: str) -> None:
    cache.put("features", content="a", tensors=ROWS)
    (path,) = _files(cache.folder)
    data = path.read_bytes()
    if harm == "truncated":
        path.write_bytes(data[:-5])
    elif harm == "flipped":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "other key":
        save_file(load_file(path), path, metadata={"key": "0", "sha256": "0"})
    else:
        path.write_bytes(b"" if harm == "emptied" else b"GIF89a" * 100)
    assert cache.get("features", content="a") is None
    assert not path.exists()
    assert cache.take_notes() == ("An entry of the study cache was damaged and is made again.",)
    assert cache.take_notes() == ()
    cache.put("features", content="a", tensors=ROWS)
    assert cache.get("features", content="a") is not None


def test_the_least_recently_used_go_first(cache: StudyCache) -> None:
    size = 4096
    cache.most_bytes = 3 * (size + 1000)
    for number, name in enumerate("abc"):
        cache.put("features", content=name, tensors={"features": torch.zeros(size, dtype=torch.uint8)})
        for path in _files(cache.folder):
            if path.stat().st_mtime > 1e6:
                os.utime(path, (number, number))
    assert cache.get("features", content="a") is not None  # used again, so it is the newest
    cache.put("features", content="d", tensors={"features": torch.zeros(size, dtype=torch.uint8)})
    kept = [name for name in "abcd" if cache.get("features", content=name) is not None]
    assert kept == ["a", "c", "d"]
    cache.put("features", content="e", tensors={"features": torch.zeros(4 * size, dtype=torch.uint8)})
    assert cache.get("features", content="e") is None  # larger than the whole cache may be
    assert len(_files(cache.folder)) == 3


def test_the_folder_is_listed_seldom_and_kept_small_by_two_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, found = [], StudyCache._found

    def counted(cache: StudyCache) -> Iterator[CacheEntry]:
        listed.append(cache)
        return found(cache)

    monkeypatch.setattr(StudyCache, "_found", counted)
    most = 1 << 20
    writers = [StudyCache(tmp_path / "studies", fingerprint=name, most_bytes=most) for name in "ab"]
    for number in range(300):
        for writer in writers:
            rows = {"features": torch.zeros(4096, dtype=torch.uint8)}
            writer.put("features", content=str(number), tensors=rows)
    held = sum(path.stat().st_size for path in _files(tmp_path / "studies"))
    assert 0.8 * most < held < 1.15 * most  # each may be a sixteenth past it
    assert len(listed) < 100
    assert all(writer.get("features", content="299") is not None for writer in writers)


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = StudyCache(tmp_path / "file" / "studies")
    for _ in range(3):
        cache.put("features", content="a", tensors=ROWS)
        assert cache.get("features", content="a") is None
    (note,) = cache.take_notes()
    assert "cannot be written (not a directory)" in note
    assert "encoded again next time" in note


def test_a_full_disk_is_said_and_leaves_nothing(cache: StudyCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(study_cache_module, "save_file", full)
    cache.put("features", content="a", tensors=ROWS)
    assert "cannot be written (no space left on device)" in cache.take_notes()[0]
    assert list(cache.folder.iterdir()) == []


def test_a_disk_that_fills_up_in_the_middle_of_an_entry(tmp_path: Path) -> None:
    """The limit of the system on the size of a file stands for a full disk: writing fails half way, truly."""
    resource = pytest.importorskip("resource", reason="no limits of processes on this system")
    assert resource.RLIMIT_FSIZE
    script = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from osler.engine.study_cache import StudyCache\n"
        "cache = StudyCache(Path(sys.argv[1]))\n"
        "cache.put('features', content='small', tensors={'features': torch.zeros(10)})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "cache.put('features', content='large', tensors={'features': torch.zeros(1_000_000)})\n"
        "cache.put('features', content='next', tensors={'features': torch.zeros(1_000_000)})\n"
        "assert cache.get('features', content='large') is None\n"
        "assert cache.get('features', content='small') is not None\n"
        "print(len(cache.take_notes()), len(list(Path(sys.argv[1]).iterdir())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "studies")], capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stdout.split()) == (0, ["1", "1"]), done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_of_somebody_else_is_read_and_not_written(cache: StudyCache, tmp_path: Path) -> None:
    cache.put("features", content="a", tensors=ROWS)
    tmp_path.chmod(0o500)  # the folder cannot be made anew
    for path in _files(cache.folder):
        path.chmod(0o400)
    cache.folder.chmod(0o500)
    later = StudyCache(cache.folder / "below", fingerprint="weights")
    try:
        assert cache.get("features", content="a") is not None
        later.put("features", content="b", tensors=ROWS)
    finally:
        tmp_path.chmod(0o700)
        cache.folder.chmod(0o700)
    (note,) = later.take_notes()
    assert "cannot be written (permission denied)" in note


def test_parts_of_a_killed_process_are_cleared_away(cache: StudyCache) -> None:
    cache.folder.mkdir()
    old, new = cache.folder / ".x.1-2.partial", cache.folder / ".y.1-2.partial"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.put("features", content="a", tensors=ROWS)
    assert (old.exists(), new.exists()) == (False, True)


def test_two_processes_may_fill_and_empty_one_folder_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from osler.engine.study_cache import StudyCache\n"
        "cache = StudyCache(Path(sys.argv[1]), most_bytes=60_000)\n"
        "for turn in range(60):\n"
        "    name = str(turn % 7)\n"
        "    found = cache.get('features', content=name)\n"
        "    assert found is None or bool((found['features'] == turn % 7).all())\n"
        "    cache.put('features', content=name, tensors={'features': torch.full((3000,), turn % 7)})\n"
        "print(cache.take_notes())\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [run.communicate(timeout=120)[0].strip() for run in runs] == ["()", "()"]
    assert [run.returncode for run in runs] == [0, 0]


def test_a_second_run_neither_encodes_nor_reads_the_study(
    make_session: Callable[[], Session], ct_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_session().ask(ct_study, "what is this?", max_tokens=20)
    plain = make_session().ask(ct_study, "and now?", max_tokens=20)
    session = make_session()
    monkeypatch.setattr(session.model, "encode_images", lambda pixels: pytest.fail("encoded again"))
    second = session.ask(ct_study, "what is this?", max_tokens=20)
    other = session.ask(ct_study, "and now?", max_tokens=20)
    assert (second.text, other.text) == (first.text, plain.text)
    assert second.tokens["reused"] > second.tokens["images"]
    assert first.tokens["reused"] == 0
    assert second.warnings == first.warnings


def test_answers_with_and_without_the_cache_have_the_same_tokens(
    make_session: Callable[[], Session], checkpoint: Checkpoint, ct_study: Study
) -> None:
    make_session().ask(ct_study, "first", max_tokens=5)
    for question in ("what?", "a longer question about this", "z"):
        fresh = Session(checkpoint).ask(ct_study, question, max_tokens=30)
        assert make_session().ask(ct_study, question, max_tokens=30).text == fresh.text


def test_one_changed_pixel_is_another_study(make_session: Callable[[], Session], ct_study: Study) -> None:
    make_session().ask(ct_study, "what?", max_tokens=5)
    (volume,) = ct_study.volumes()
    voxels = volume.read().copy()
    voxels[3] += 80
    changed = dataclasses.replace(volume, pixels=ArrayPixels(voxels))
    answer = make_session().ask(Study(timepoints=(TimePoint(series=(changed,)),)), "what?", max_tokens=5)
    assert answer.tokens["reused"] == 0


def test_a_damaged_prefix_is_made_again_and_said(
    make_session: Callable[[], Session], ct_study: Study, tmp_path: Path
) -> None:
    first = make_session().ask(ct_study, "what?", max_tokens=10)
    (prefix,) = _files(tmp_path / "studies", "prefix")
    prefix.write_bytes(prefix.read_bytes()[:-3])
    again = make_session().ask(ct_study, "what?", max_tokens=10)
    assert again.text == first.text
    assert "An entry of the study cache was damaged and is made again." in again.warnings
    assert make_session().ask(ct_study, "what?", max_tokens=10).tokens["reused"] > 0


def test_weights_made_in_memory_are_never_kept(checkpoint: Checkpoint, ct_study: Study, tmp_path: Path) -> None:
    Session(checkpoint, studies="disk").ask(ct_study, "what?", max_tokens=2)
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("limit", ["0", "-1", "many", "nan", "inf"])
def test_an_absurd_limit_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("OSLER_STUDY_CACHE", "")
    monkeypatch.setenv("OSLER_STUDY_CACHE_GB", limit)
    with pytest.raises(RequestError, match=r"OSLER_STUDY_CACHE_GB is .*above 0.*OSLER_STUDY_CACHE=off"):
        open_study_cache()


def test_the_environment_places_and_bounds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSLER_STUDY_CACHE", "off")
    assert open_study_cache() is None
    monkeypatch.setenv("OSLER_STUDY_CACHE", "")
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    monkeypatch.setenv("OSLER_STUDY_CACHE_GB", "0.5")
    found = open_study_cache()
    assert found is not None
    assert (found.folder, found.most_bytes) == (tmp_path / "studies", 500_000_000)
