"""What the language model may read from a document: only what stands there.

Each answer is written under a constraint and then looked up in the text; a value that does
not occur there is refused and named. Text of the document is data: it is shown between
marks, and whatever it says, the answer has the form of the constraint.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from osler.engine.constrained import JsonSchema
from osler.readers.document import ReadDocument
from osler.readers.document_items import known_test
from osler.readers.document_labs import DocumentRow
from osler.readers.document_numbers import read_number
from osler.readers.document_units import ucum_of
from osler.readers.document_words import Line
from osler.study import ClinicalEvent

if TYPE_CHECKING:
    from osler.engine.session import Session

MOST_LINES = 24
"""Lines that the model is asked about at most."""
_MOST_CHARACTERS = 12_000
_LINE_QUESTION = (
    "The record holds one line of a laboratory report. Copy from it: the name of the test, its result, its unit."
)
_FORM_QUESTION = "Fill in the form with what the record says. Copy values as they stand there."


def read_line(session: Session, line: Line, *, date: dt.date | None, source: str) -> tuple[DocumentRow | None, str]:
    """Asks the model which words of a line are the test, the result and the unit.

    Args:
        session: The model.
        line: That the rules could not read.
        date: Of the document.
        source: The file.

    Returns:
        The row, or ``None`` with the reason.
    """
    words = [word.text.strip(";,:()") for word in line.words]
    numbers = sorted({word for word in words if read_number(word)})
    units = sorted({word for word in words if ucum_of(word)})
    names = [" ".join(words[:count]) for count in range(1, min(len(words), 8)) if any(c.isalpha() for c in words[0])]
    if not numbers or not names:
        return None, "it holds no number or no name"
    form = {
        "type": "object",
        "properties": {"name": {"enum": names}, "result": {"enum": numbers}, "unit": {"enum": [*units, ""]}},
        "required": ["name", "result", "unit"],
        "additionalProperties": False,
    }
    answer = session.ask(None, _LINE_QUESTION, record=line.plain, constraint=JsonSchema(form), max_tokens=96)
    try:
        read = json.loads(answer.text)
    except json.JSONDecodeError:
        return None, "the model's answer was cut off"
    number = read_number(read["result"])
    if number is None or not occurs(read["result"], line.plain):
        return None, f"the value {read['result']!r} does not stand there"
    unit = ucum_of(read["unit"]) or ""
    test = known_test(read["name"], reading=line.reading)
    code = test.loinc(unit) if test is not None else ""
    value: float | str = read["result"] if number.comparator else number.value
    event = ClinicalEvent(
        kind="observation",
        name=test.name if test is not None else read["name"],
        date=date,
        code=code,
        system="LOINC" if code else "",
        value=value,
        unit=unit,
        source=f"{source} p. {line.page}: {line.plain}",
    )
    return (
        DocumentRow(
            event=event,
            page=line.page,
            line=line.plain,
            printed=read["result"],
            way="model",
            score=line.score,
            problems=("Read by the language model: check which number of the line is the result.",),
        ),
        "",
    )


def fill_form(
    session: Session,
    documents: Sequence[ReadDocument],
    *,
    schema: Mapping[str, Any],
    max_tokens: int,
    speculation: str = "none",
) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    """Fills a form of the user from the documents.

    Args:
        session: The model.
        documents: What to read.
        schema: JSON Schema of the form.
        max_tokens: Longest answer.
        speculation: See `Session.ask`.

    Returns:
        The form, with ``None`` for each value that was refused since it does not occur in the
        text (``None`` as a whole if the answer was cut off); what was refused; and warnings.
    """
    text = "\n".join(page for one in documents for page in one.document.pages)
    shown = text[:_MOST_CHARACTERS]
    warnings = [] if shown == text else [f"The model saw the first {len(shown):,} of {len(text):,} characters."]
    constraint = JsonSchema(schema)
    answer = session.ask(
        None, _FORM_QUESTION, record=shown, constraint=constraint, max_tokens=max_tokens, speculation=speculation
    )
    warnings.extend(answer.warnings)
    try:
        form = json.loads(answer.text)
    except json.JSONDecodeError:
        return None, (), tuple(warnings)
    refused: list[str] = []
    checked = _checked(form, text=text, choices=_choices(schema), place="", refused=refused)
    return checked, tuple(refused), tuple(warnings)


def occurs(value: str, text: str) -> bool:
    """Whether a value stands in a text as it is, not as a part of a longer number or word.

    Example:
        >>> occurs("4.2", "Potassium 4.2 mmol/L"), occurs("4.2", "14.2"), occurs("K 4.2", "K\\t4.2")
        (True, False, True)
    """
    pattern = r"\s+".join(re.escape(part) for part in value.split())
    return bool(pattern) and re.search(rf"(?<![\w.,]){pattern}(?![\w]|[.,]\d)", text) is not None


def _checked(value: Any, *, text: str, choices: frozenset[str], place: str, refused: list[str]) -> Any:
    """The form with ``None`` in place of every text and number that is not in the document."""
    if isinstance(value, dict):
        return {
            name: _checked(one, text=text, choices=choices, place=f"{place}/{name}", refused=refused)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [
            _checked(one, text=text, choices=choices, place=f"{place}/{number}", refused=refused)
            for number, one in enumerate(value)
        ]
    if value is None or isinstance(value, bool) or value == "" or (isinstance(value, str) and value in choices):
        return value
    printed = value if isinstance(value, str) else json.dumps(value)
    if occurs(printed, text) or (not isinstance(value, str) and occurs(printed.replace(".", ","), text)):
        return value
    refused.append(f"{place or '/'}: {printed[:60]!r} does not occur in the document.")
    return None


def _choices(schema: Any) -> frozenset[str]:
    """Texts that the user's schema itself names: they need not stand in the document."""
    found: set[str] = set()
    if isinstance(schema, Mapping):
        for name, part in schema.items():
            if name == "enum" and isinstance(part, list):
                found |= {one for one in part if isinstance(one, str)}
            elif name == "const" and isinstance(part, str):
                found.add(part)
            else:
                found |= _choices(part)
    elif isinstance(schema, list):
        for part in schema:
            found |= _choices(part)
    return frozenset(found)
