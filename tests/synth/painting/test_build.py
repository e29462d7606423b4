from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from osler.errors import ModelError
from osler.synth.painting.build import build_kernels, library_path
from tests.kernels import run_sanitized

CHECK = Path(__file__).parent / "native_check.cpp"


def test_the_name_follows_the_sources_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    before = library_path()
    assert before.name.startswith("osler-painting-")
    monkeypatch.setattr("osler.quant.build.SOURCES", tmp_path)
    assert library_path() == before
    sources = tmp_path / "native"
    sources.mkdir()
    (sources / "film.cpp").write_text("int x;")
    monkeypatch.setattr("osler.synth.painting.build.SOURCES", sources)
    assert library_path() != before


def test_without_a_compiler_it_says_that_numpy_paints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ModelError, match=r"no C\+\+ compiler.*NumPy paints"):
        build_kernels(target=tmp_path / "k.so")


def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    assert run_sanitized(partial(build_kernels, main=CHECK), folder=tmp_path) == "0 wrong\n"
