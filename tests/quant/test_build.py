from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from osler.errors import ModelError
from osler.quant.build import Built, build_kernels, find_compiler, library_path
from tests.kernels import missing_tiles, run_sanitized

CHECK = Path(__file__).parent / "native_check.cpp"


def test_the_name_follows_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    assert library_path() == library_path()
    before = library_path()
    sources = tmp_path / "native"
    sources.mkdir()
    (sources / "api.cpp").write_text("int x;")
    monkeypatch.setattr("osler.quant.build.SOURCES", sources)
    assert library_path() != before
    assert library_path().parent == tmp_path / "kernels"


def test_without_a_compiler_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert find_compiler() is None
    with pytest.raises(ModelError, match=r"no C\+\+ compiler.*PyTorch computes"):
        build_kernels(target=tmp_path / "k.so")


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "fake-compiler"
    fake.write_text("#!/bin/sh\necho 'error: out of ideas' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    with pytest.raises(ModelError, match=r"fake-compiler could not compile the kernels: .*error: out of ideas"):
        build_kernels(target=tmp_path / "k.so")
    assert not (tmp_path / "k.so").exists()


def test_only_the_user_can_change_what_was_built(built: Built) -> None:
    assert built.path.parent.stat().st_mode & 0o777 == 0o700
    assert built.path.stat().st_mode & 0o022 == 0


def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    assert "0 of" in run_sanitized(partial(build_kernels, main=CHECK, tiles=missing_tiles()), folder=tmp_path)
