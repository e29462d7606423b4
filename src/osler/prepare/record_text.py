"""The record as text for the prompt: dated lines, chosen by the question, bounded."""

from __future__ import annotations

from dataclasses import dataclass

from osler.study import ClinicalEvent, Document, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordText:
    """What the model is shown of a record.

    Args:
        text: Dated lines between a first and a last line that mark them as data; empty without a record.
        events: The events that are shown, oldest first.
        documents: The documents that are shown, whole or in part.
        left_out: How many events and documents are not shown.
    """

    text: str = ""
    events: tuple[ClinicalEvent, ...] = ()
    documents: tuple[Document, ...] = ()
    left_out: int = 0


def record_text(study: Study, *, question: str, most_characters: int = 6000) -> RecordText:
    """Chooses what of the record bears on a question and writes it as dated lines.

    Args:
        study: Its events and documents are the record.
        question: What is asked; entries that share words with it come first.
        most_characters: Longest text, about four characters a token.
    """
    raise NotImplementedError
