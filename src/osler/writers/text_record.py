"""The rows of a terminal answer that come from sentences, the record and searches."""

from __future__ import annotations

from collections.abc import Sequence

from osler.study import Answer, ClinicalEvent, Match
from osler.writers.wording import flag_of, range_text, statement_marks, value_text

Rows = list[tuple[str, str]]


def record_rows(answer: Answer) -> Rows:
    """Returns label and text for sentences with evidence, observations, matches, and what is not trained."""
    rows: Rows = [
        ("Sentence", f"{one.section}: {one.text} [{statement_marks(one)}]" if one.section else one.text)
        for one in answer.statements
    ]
    rows += [("Lab", line) for line in observation_lines(answer.observations)]
    rows += [("Match", _match(match)) for match in answer.matches]
    rows += [("Untrained", f"{name}: not trained in these weights, nothing was made up") for name in answer.untrained]
    return rows


def observation_lines(events: Sequence[ClinicalEvent]) -> list[str]:
    """Lays observations out in columns: day, name, value, range, flag, code."""
    cells = [
        (
            event.date.isoformat() if event.date else "no date",
            event.name,
            value_text(event.value, unit=event.unit) or "-",
            range_text(event) or "-",
            flag_of(event).upper() or "-",
            " ".join(part for part in (event.system, event.code) if part),
        )
        for event in events
    ]
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(6)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _match(match: Match) -> str:
    where = f", slice {match.slice + 1}" if match.slice is not None else ""
    series = f" [{match.series}]" if match.series else ""
    text = f": {match.text}" if match.text else ""
    return f"{match.score:.2f} {match.study}{where}{series}{text}"
