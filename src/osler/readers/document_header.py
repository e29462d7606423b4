"""The head of a table: which column holds the results, the units, the ranges, which dates."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from osler.readers.document_items import Item, Style, items_of
from osler.readers.document_words import Line, Word

Role = Literal["name", "value", "flag", "unit", "range", "low", "high", "code", "other"]

_ROLES: dict[Role, str] = {
    "name": "test tests analyte parameter untersuchung analyse bezeichnung messgröße name component bestimmung",
    "value": "result results value ergebnis wert messwert resultat befund ergebnisse",
    "flag": "flag abn bewertung kennz kennzeichen hinweis status",
    "unit": "unit units einheit einheiten dimension",
    "range": "reference range normal normalwert normalbereich normbereich referenzbereich referenz norm ref "
    "referenzwerte interval intervals limits normwert normwerte sollwert",
    "low": "untere lower min von",
    "high": "obere upper max",
    "code": "loinc code",
    "other": "previous vorwert prior last letzter method methode specimen material comment kommentar panel",
}
_WORD_ROLES: dict[str, Role] = {word: role for role, words in _ROLES.items() for word in words.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Args:
        role: What it holds. x0: Left edge of its heading. x1: Right edge.
        date: Of its values, where the heading is a date.
        unit: Of its values, where the heading names one (UCUM).
    """

    role: Role
    x0: float
    x1: float
    date: dt.date | None = None
    unit: str = ""

    def distance(self, item: Item) -> float:
        """How far an item is from standing in the column: left, middle or right aligned."""
        middle = (self.x0 + self.x1) / 2 - (item.x0 + item.x1) / 2
        return min(abs(self.x0 - item.x0), abs(self.x1 - item.x1), abs(middle))


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The columns of a table, left to right."""

    columns: tuple[Column, ...]

    @property
    def dated(self) -> tuple[Column, ...]:
        """Columns whose heading is a date."""
        return tuple(column for column in self.columns if column.date is not None)

    def has(self, role: Role) -> bool:
        """Whether there is such a column."""
        return any(column.role == role for column in self.columns)

    def nearest(self, item: Item, *, roles: Sequence[Role]) -> Column | None:
        """The column of these roles that an item stands in."""
        columns = [column for column in self.columns if column.role in roles]
        return min(columns, key=lambda column: column.distance(item)) if columns else None

    def place(self, word: Word) -> int:
        """Number of the column whose heading begins next to the left of a word's middle."""
        middle = (word.x0 + word.x1) / 2
        return sum(column.x0 <= max(word.x0 + 1, middle - (word.x1 - word.x0)) for column in self.columns) - 1


def header_of(line: Line, *, style: Style) -> Header | None:
    """Reads a line as the head of a table of results; ``None`` if it is none."""
    items = items_of(line.words, style=style)
    columns: list[Column] = []
    unknown = 0
    for item in items:
        column = _column(item)
        if column is None:
            unknown += item.kind != "unit"
        elif columns and column.date is None and columns[-1].role == column.role and column.role != "value":
            last = columns[-1]
            columns[-1] = Column(role=last.role, x0=last.x0, x1=column.x1, unit=last.unit)
        else:
            columns.append(column)
        if column is None and item.kind == "unit" and columns:
            last = columns[-1]
            columns[-1] = Column(role=last.role, x0=last.x0, x1=item.x1, date=last.date, unit=item.unit)
    roles = {column.role for column in columns}
    dates = sum(column.date is not None for column in columns)
    is_head = ("value" in roles and len(roles) >= 2) or (dates >= 1 and len(roles) >= 2) or dates >= 2
    if not is_head or unknown > len(columns) or any(item.kind in ("number", "range") for item in items):
        return None
    return Header(columns=tuple(columns))


def _column(item: Item) -> Column | None:
    if item.date is not None:
        return Column(role="value", x0=item.x0, x1=item.x1, date=item.date)
    if item.kind != "word":
        return None
    role = _WORD_ROLES.get(re.sub(r"[^a-zäöüß]", "", item.text.lower()))
    return None if role is None else Column(role=role, x0=item.x0, x1=item.x1)
