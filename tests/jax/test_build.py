"""The kernels for JAX: what their name holds, what is said without a compiler, and what the sanitizers find."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.errors import ModelError
from osler.jax.build import build_kernels, library_path, variant
from osler.quant import build
from tests.kernels import run_sanitized

CHECK = Path(__file__).parent / "native_check.cpp"


def test_the_name_follows_the_sources_and_jaxlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    own = library_path()
    assert own.name.startswith("osler-kernels-jax-")
    assert own != build.library_path()
    assert build.library_path(replace(variant(), version="0.0.1")) != own
    (tmp_path / "ffi.cpp").write_text("int x;")
    assert build.library_path(replace(variant(), folder=tmp_path)) != own


def test_without_a_compiler_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ModelError, match=r"no C\+\+ compiler"):
        build_kernels(target=tmp_path / "k.so")


def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    # Without XLA's handlers: the products themselves, on threads of their own.
    own = {name: flags for name, flags in variant().base.items() if name != "ffi.cpp"}
    alone = replace(variant(), base=own, without=frozenset({"peak.cpp"}), include=(str(variant().folder),))
    assert "0 of" in run_sanitized(partial(build.build_kernels, main=CHECK, variant=alone), folder=tmp_path)
