"""Ask: a question about a study, or about none, answered in text."""

from __future__ import annotations

from osler.errors import RequestError

MAX_QUESTION = 20_000
"""Characters a question may have; long context belongs into the record, not into the question."""


def check_question(question: str) -> str:
    """Returns the question without space around it.

    Raises:
        RequestError: If it is empty or too long.
    """
    text = question.strip()
    if not text:
        raise RequestError(
            "The question is empty.", allowed="A question in words.", next_step='Try "What does this scan show?".'
        )
    if len(text) > MAX_QUESTION:
        raise RequestError(
            f"A question of {len(text):,} characters.",
            allowed=f"At most {MAX_QUESTION:,} characters.",
            next_step="Shorten it, or ask in several steps.",
        )
    return text
