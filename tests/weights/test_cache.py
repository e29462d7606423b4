"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.weights.cache import cache_folder, whole_file, whole_path


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("OSLER_CACHE")
    assert cache_folder().name in ("osler", "cache")


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def write_half() -> None:
        with whole_file(target) as out:
            out.write(b"ne")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_success_replaces_it(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    with whole_file(target) as out:
        out.write(b"new")
    assert target.read_bytes() == b"new"
    with whole_path(target) as part:
        part.write_bytes(b"newer")
        assert target.read_bytes() == b"new"
    assert target.read_bytes() == b"newer"
