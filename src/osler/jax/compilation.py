"""Compiled programs kept on disk, so that a second process does not compile again.

They hold no weights and nothing of a patient. JAX names them by the program,
its own version and its flags; beside that they are kept apart by processor,
because a program made for one with more instructions would not run on another.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from osler.weights.cache import cache_folder

SETTING = "OSLER_COMPILATION_CACHE"
"""Environment variable: ``off`` keeps nothing, a path keeps programs there."""

_DAYS_UNUSED = 60
_SECONDS_A_DAY = 86_400


def keep_compiled_programs() -> str:
    """Lets JAX keep compiled programs in the user's cache folder, and returns what was decided in words.

    A folder that the user chose by JAX's own settings is left as it is. Nothing
    is kept where the folder could be written by somebody else: what lies in it is run.
    """
    wish = os.environ.get(SETTING, "").strip()
    if wish.lower() == "off":
        return f"off: {SETTING}=off"
    if jax.config.jax_compilation_cache_dir and not str(jax.config.jax_compilation_cache_dir).startswith(_own(wish)):
        return f"kept by JAX's own setting in {jax.config.jax_compilation_cache_dir}"
    folder = Path(_own(wish)) / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_own(folder)
        _drop_unused(folder)
    except OSError as error:
        return f"off: {folder} cannot be used ({error.strerror or error})"
    if jax.config.jax_compilation_cache_dir != str(folder):
        compilation_cache.reset_cache()  # JAX looks at the setting once, at the first program
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Programs that compile in less than a second are many; together they are most of the wait.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return f"kept in {folder}"


def kept_in() -> Path | None:
    """Returns the folder that `keep_compiled_programs` checked, ``None`` where it keeps nothing."""
    wish, found = os.environ.get(SETTING, "").strip(), jax.config.jax_compilation_cache_dir
    if wish.lower() == "off" or not found or Path(found) != Path(_own(wish)) / _processor():
        return None
    return Path(found)


@contextmanager
def without_cache_of_jax() -> Iterator[None]:
    """Neither asks JAX's cache nor adds to it: what comes from there cannot be written again."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX looks at the setting once
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _own(wish: str) -> str:
    return str(Path(wish).expanduser() if wish else cache_folder() / "compiled")


def _processor() -> str:
    """Names this kind of processor by what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = [platform.processor()]
    told = next((line for line in lines if line.lower().startswith(("flags", "features"))), lines[0] if lines else "")
    return f"{platform.machine()}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _require_own(folder: Path) -> None:
    """Refuses a folder of somebody else, or one that others may write.

    Raises:
        PermissionError: If it is.
    """
    if not hasattr(os, "getuid"):
        return
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(1, "others may write there")


def _drop_unused(folder: Path) -> None:
    """Removes programs that were not used for long, such as those of an older JAX."""
    newest = max((entry.stat().st_mtime for entry in folder.iterdir()), default=0.0)
    for entry in folder.iterdir():
        used = entry.stat()
        if newest - max(used.st_atime, used.st_mtime) > _DAYS_UNUSED * _SECONDS_A_DAY:
            entry.unlink(missing_ok=True)
