"""JSON objects from files, without loading torch."""

from __future__ import annotations

import json
from pathlib import Path

from osler.errors import CheckpointError


def read_json(path: Path) -> dict[str, object]:
    """Reads a JSON object.

    Raises:
        CheckpointError: If it is absent or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Cannot read {str(path)!r}: {error}.", next_step="Copy the file again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} holds a {type(content).__name__}.", allowed="A JSON object is expected.")
    return content
