"""An error as the JSON object that scripts read: the other outcome of every command."""

from __future__ import annotations

from typing import Any

from osler.errors import OslerError
from osler.study import ANSWER_SCHEMA_VERSION


def failure_to_dict(error: OslerError) -> dict[str, Any]:
    """Returns the published JSON form of an error (``failure.schema.json``).

    Args:
        error: Names files and values, never patients.
    """
    record: dict[str, Any] = {"kind": type(error).__name__, "problem": error.problem}
    if error.allowed:
        record["allowed"] = error.allowed
    if error.next_step:
        record["next_step"] = error.next_step
    return {"schema": ANSWER_SCHEMA_VERSION, "error": record}
