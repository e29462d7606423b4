"""The published JSON Schemas of everything that ``--json`` prints."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from osler.errors import unknown_name

SCHEMA_NAMES = ("answer", "extraction", "failure", "inspection")


def load_schema(name: str = "answer") -> dict[str, Any]:
    """Returns a schema by name: ``"answer"``, ``"extraction"``, ``"failure"`` or ``"inspection"``.

    Raises:
        RequestError: If the name is unknown.
    """
    if name not in SCHEMA_NAMES:
        raise unknown_name("schema", name=name, known=SCHEMA_NAMES)
    return json.loads((files("osler.writers") / f"{name}.schema.json").read_text(encoding="utf-8"))
