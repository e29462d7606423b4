"""One column a date, on paper turned sideways: how each value went over time."""

from __future__ import annotations

from osler.synth.documents.letterhead import MUTED, RED, foot, who
from osler.synth.documents.paper import Paper, fitted
from osler.synth.documents.sheet import LabResult, LabSheet

MOST_DATES = 6
_ROW = 5.0
_NAME, _UNIT, _RANGE, _DATES = 15.0, 66.0, 88.0, 118.0


def draw_cumulative(paper: Paper, sheet: LabSheet, *, variant: int, pages: int) -> None:
    """Draws the whole report: the earlier sheets, at most `MOST_DATES` in all, and this one last.

    Args:
        paper: Empty paper, A4 turned sideways.
        sheet: What it says.
        variant: Picks the color.
        pages: How many pages it will have.
    """
    color = ("#2b4c7e", "#4a4a4a", "#6b2737", "#1d6a58")[variant % 4]
    sheets = [*sheet.earlier[-(MOST_DATES - 1) :], sheet]
    rows = _rows(sheets)
    y = _head(paper, sheet, sheets=sheets, color=color)
    panel = ""
    for number, newest in enumerate(rows):
        need = _ROW + (7 if newest.panel != panel else 0)
        if y + need > paper.height - 22:
            foot(paper, legend="Arrows: outside the reference range.", pages=pages)
            paper.next_page()
            y = _head(paper, sheet, sheets=sheets, color=color)
        if newest.panel != panel:
            panel = newest.panel
            y += 6.4
            paper.text(panel, x=_NAME, y=y - 1.6, font="Times-BoldItalic", size=9.6, color=color)
        if number % 2:
            paper.box(x=_NAME - 1, y=y, width=paper.width - 28, height=_ROW, fill="#f1f3f6")
        y += _ROW
        _line(paper, newest, sheets=sheets, y=y - 1.5)
    foot(paper, legend="Arrows: outside the reference range.", pages=pages)


def _rows(sheets: list[LabSheet]) -> list[LabResult]:
    """One result a test that occurs on any of the dates, panel by panel."""
    newest: dict[str, LabResult] = {}
    for sheet in reversed(sheets):
        for result in sheet.results:
            newest.setdefault(result.key, result)
    panels = list(dict.fromkeys(result.panel for result in newest.values()))
    return sorted(newest.values(), key=lambda result: panels.index(result.panel))


def _head(paper: Paper, sheet: LabSheet, *, sheets: list[LabSheet], color: str) -> float:
    paper.text("Cumulative laboratory findings", x=_NAME, y=17, font="Times-Bold", size=16, color=color)
    paper.text(
        "Institute of Laboratory Medicine", x=paper.width - 15, y=17, font="Times-Italic", size=10, align="right"
    )
    facts = f"Patient {sheet.patient}     {who(sheet)}     Order {sheet.order}"
    paper.text(facts, x=_NAME, y=24, font="Times-Roman", size=10)
    paper.rule(x0=_NAME - 1, y=27, x1=paper.width - 14, weight=1.2, color=color)
    for text, x in (("Test", _NAME), ("Unit", _UNIT), ("Reference", _RANGE)):
        paper.text(text, x=x, y=32, font="Times-Bold", size=9)
    for number, one in enumerate(sheets):
        last = number == len(sheets) - 1
        x = _date_x(paper, number, count=len(sheets))
        paper.text(f"{one.date:%d.%m.%y}", x=x, y=32, font="Times-Bold", size=9, align="right")
        if last:
            paper.text("current", x=x, y=25.4, font="Times-Italic", size=7.5, align="right", color=MUTED)
    paper.rule(x0=_NAME - 1, y=33.6, x1=paper.width - 14, weight=0.5, color=color)
    return 34.0


def _date_x(paper: Paper, number: int, *, count: int) -> float:
    step = min(30.0, (paper.width - 20 - _DATES) / count)
    return _DATES + step * (number + 1) - 6


def _line(paper: Paper, newest: LabResult, *, sheets: list[LabSheet], y: float) -> None:
    font = "Times-Roman"
    paper.text(newest.name, x=_NAME, y=y, font=font, size=fitted(newest.name, font=font, size=9.6, width=49))
    paper.text(newest.unit, x=_UNIT, y=y, font=font, size=8.6, color=MUTED)
    paper.text(newest.reference, x=_RANGE, y=y, font=font, size=8.6, color=MUTED)
    for number, sheet in enumerate(sheets):
        x = _date_x(paper, number, count=len(sheets))
        result = next((one for one in sheet.results if one.key == newest.key), None)
        if result is None:
            paper.text("--", x=x, y=y, font=font, size=9, align="right", color="#b0b5bb")
            continue
        if result.flag == "normal":
            paper.text(result.text, x=x, y=y, font=font, size=9.6, align="right")
        else:
            paper.text(result.text, x=x, y=y, font="Times-Bold", size=9.6, align="right", color=RED)
            paper.arrow(result.flag, x=x + 0.8, y=y, size=9, color=RED)
