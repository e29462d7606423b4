"""Answers to files: JSON by a published schema, text, pictures; each written whole or not at all."""

from osler.writers.atomic import check_writable, write_atomic
from osler.writers.failure import failure_to_dict
from osler.writers.schema import SCHEMA_NAMES, load_schema
from osler.writers.text import SAFETY_NOTE, format_answer, format_evidence, printable, slice_ranges

__all__ = [
    "SAFETY_NOTE",
    "SCHEMA_NAMES",
    "check_writable",
    "failure_to_dict",
    "format_answer",
    "format_evidence",
    "load_schema",
    "printable",
    "slice_ranges",
    "write_atomic",
]
