"""Compiled programs on disk: kept for the next process, off by request, never where others may write."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax

from osler.jax.compilation import SETTING, keep_compiled_programs
from tests.cli.running import SOURCES

_COMPILE = """
from osler.jax.compilation import keep_compiled_programs
import jax, jax.numpy as jnp
print(keep_compiled_programs())
jax.jit(lambda x: jnp.tanh(x @ x))(jnp.ones((8, 8))).block_until_ready()
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch):
    """JAX's settings are of the whole process."""
    monkeypatch.delenv(SETTING, raising=False)
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def compiled_in(folder: Path) -> set[Path]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), SETTING: str(folder)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    run = subprocess.run([sys.executable, "-c", _COMPILE], env=environment, capture_output=True, text=True, check=True)
    assert f"kept in {folder}" in run.stdout
    return {path for path in folder.rglob("*-cache") if path.is_file()}


def test_a_second_process_finds_what_the_first_compiled(tmp_path: Path) -> None:
    first = compiled_in(tmp_path)
    assert first
    times = {path: path.stat().st_mtime_ns for path in first}
    assert compiled_in(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in first} == times


def test_off_by_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "off")
    assert keep_compiled_programs().startswith("off")
    assert jax.config.jax_compilation_cache_dir is None


def test_the_users_own_setting_of_jax_stays(tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert str(tmp_path) in keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no owners of files")
def test_a_folder_that_others_may_write_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SETTING, str(tmp_path))
    assert keep_compiled_programs().startswith("kept in")
    folder = Path(jax.config.jax_compilation_cache_dir)
    jax.config.update("jax_compilation_cache_dir", None)
    folder.chmod(0o777)
    assert "others may write" in keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None


def test_programs_that_were_not_used_for_long_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SETTING, str(tmp_path))
    keep_compiled_programs()
    folder = Path(jax.config.jax_compilation_cache_dir)
    old, new = folder / "old-cache", folder / "new-cache"
    for path in (old, new):
        path.write_bytes(b"program")
    long_ago = time.time() - 90 * 86_400
    os.utime(old, (long_ago, long_ago))
    keep_compiled_programs()
    assert (old.exists(), new.exists()) == (False, True)
