"""The user's cache folder and files that appear in it whole or not at all."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from osler.atomic import replaced


def cache_folder() -> Path:
    """Returns the folder for files that can be made again.

    ``$OSLER_CACHE`` if set, else the platform's own place. It is not created.
    """
    if chosen := os.environ.get("OSLER_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "osler"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "osler" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "osler"


@contextmanager
def whole_path(target: Path) -> Iterator[Path]:
    """Lends a temporary path beside ``target``; what is written there takes the name only on success.

    Two processes may do so at once: each writes its own file and the last to
    finish wins. On any error, Ctrl-C included, the temporary file is removed.

    Raises:
        OSError: If the folder cannot be written or is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    with replaced(target, part=part):
        yield part


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``target`` for writing; see `whole_path`."""
    with whole_path(target) as part, part.open("xb") as out:
        yield out
