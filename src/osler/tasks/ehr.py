"""Questions about the record, answered from its events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from osler.study import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class EhrRequest:
    """What to ask of which record.

    Args:
        question: In words.
        records: FHIR files, folders, NDJSON.
        model: For open questions: a known name, or a folder with a checkpoint.
    """

    question: str
    records: tuple[str | Path, ...]
    model: str = "osler-mini"


def ask_record(request: EhrRequest) -> Answer:
    """Answers a question from the record."""
    raise NotImplementedError
