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
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{str(path.parent)!r} is no model: it holds no {path.name}.",
            allowed="A folder with config.json and safetensors, or a GGUF file.",
            next_step="Check the path; 'osler models' lists the names.",
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"Cannot read {str(path)!r}: {reason}.", next_step="Copy the file again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} holds a {type(content).__name__}.", allowed="A JSON object is expected.")
    return content
