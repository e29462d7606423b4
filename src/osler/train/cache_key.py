"""Keys of what a run keeps to save time: a kept file counts only for what it was made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, is_dataclass
from pathlib import Path

import numpy as np

from osler.train.checkpoints import save_json

KEY_FILE = "key.json"


def cache_key(**parts: object) -> str:
    """Returns a SHA-256 over named parts: numbers, words, lists, dataclasses.

    Example:
        >>> cache_key(seed=1) == cache_key(seed=1), cache_key(seed=1) == cache_key(seed=2)
        (True, False)
    """
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_key(folder: Path, *, key: str) -> bool:
    """Whether a folder was finished with this key; an unreadable key is another key."""
    try:
        return json.loads((folder / KEY_FILE).read_text(encoding="utf-8")) == {"key": key}
    except (OSError, ValueError):
        return False


def set_key(folder: Path, *, key: str) -> None:
    """Marks a folder as finished with this key.

    Raises:
        CheckpointError: If it cannot be written.
    """
    save_json(folder / KEY_FILE, {"key": key})


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
    return str(value)
