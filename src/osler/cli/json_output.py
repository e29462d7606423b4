"""The one JSON object that a command prints with ``--json``."""

from __future__ import annotations

import json
from typing import Any

import typer


def echo_json(record: dict[str, Any]) -> None:
    """Prints a record as JSON.

    Text stays readable, in any script; where it cannot be encoded (a file name
    that is not UTF-8), everything beyond ASCII is escaped, which is JSON too.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(record, indent=2)
    typer.echo(text)
