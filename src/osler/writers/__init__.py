"""Answers to files: JSON by a published schema, text, pictures; each written whole or not at all.

Names are imported when they are first used: printing an error needs neither
numpy nor Pillow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.writers.atomic import check_writable, write_atomic
    from osler.writers.failure import failure_to_dict
    from osler.writers.picture import check_picture, is_own_picture
    from osler.writers.schema import SCHEMA_NAMES, load_schema
    from osler.writers.text import SAFETY_NOTE, format_answer, format_evidence, printable
    from osler.writers.views import draw_answer, draw_view

_HOMES = {
    "SAFETY_NOTE": "text",
    "SCHEMA_NAMES": "schema",
    "check_picture": "picture",
    "check_writable": "atomic",
    "draw_answer": "views",
    "draw_view": "views",
    "failure_to_dict": "failure",
    "format_answer": "text",
    "format_evidence": "text",
    "is_own_picture": "picture",
    "load_schema": "schema",
    "printable": "text",
    "write_atomic": "atomic",
}

__all__ = [
    "SAFETY_NOTE",
    "SCHEMA_NAMES",
    "check_picture",
    "check_writable",
    "draw_answer",
    "draw_view",
    "failure_to_dict",
    "format_answer",
    "format_evidence",
    "is_own_picture",
    "load_schema",
    "printable",
    "write_atomic",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.writers' has no attribute {name!r}")
    return getattr(import_module(f"osler.writers.{_HOMES[name]}"), name)
