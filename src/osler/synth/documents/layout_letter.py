"""A letter: the laboratory writes the values out, panel by panel, as running text."""

from __future__ import annotations

from osler.synth.documents.letterhead import MUTED, long_date, who
from osler.synth.documents.paper import Paper, width_mm, wrapped
from osler.synth.documents.sheet import NOTICE, LabResult, LabSheet

_FONT = {"serif": ("Times-Roman", "Times-Bold", 11.0), "sans": ("Helvetica", "Helvetica-Bold", 9.6)}
_LEFT, _RIGHT = 25.0, 185.0


def draw_letter(paper: Paper, sheet: LabSheet, *, variant: int, pages: int) -> None:
    """Draws the whole letter.

    Args:
        paper: Empty paper, A4.
        sheet: What it says.
        variant: Serif or sans-serif type.
        pages: How many pages it will have.
    """
    roman, bold, size = _FONT["serif" if variant % 2 == 0 else "sans"]
    y = _opening(paper, sheet, roman=roman, bold=bold, size=size)
    for panel, results in sheet.panels():
        for number, line in enumerate(_running(panel, results, font=roman, size=size)):
            if y > paper.height - 30:
                _foot(paper, pages=pages, font=roman)
                paper.next_page()
                y = 25.0
            if number == 0:
                paper.text(f"{panel}:", x=_LEFT, y=y, font=bold, size=size)
            indent = width_mm(f"{panel}: ", font=bold, size=size) if number == 0 else 0
            paper.text(line, x=_LEFT + indent, y=y, font=roman, size=size)
            y += size * 0.48
        y += 2.4
    for line in ("", "With kind regards,", "", "The laboratory physician on duty", "(released electronically)"):
        paper.text(line, x=_LEFT, y=min(y, paper.height - 20), font=roman, size=size)
        y += size * 0.46
    _foot(paper, pages=pages, font=roman)


def _opening(paper: Paper, sheet: LabSheet, *, roman: str, bold: str, size: float) -> float:
    paper.text("INSTITUTE OF LABORATORY MEDICINE", x=105, y=22, font=bold, size=13, align="center")
    paper.text("Hematology · Clinical chemistry", x=105, y=27.4, font=roman, size=9, align="center", color=MUTED)
    paper.rule(x0=_LEFT, y=31, x1=_RIGHT, weight=0.8)
    paper.rule(x0=_LEFT, y=31.9, x1=_RIGHT, weight=0.3)
    paper.text(long_date(sheet), x=_RIGHT, y=46, font=roman, size=size, align="right")
    paper.text("Internal medicine, ward 3", x=_LEFT, y=46, font=roman, size=size)
    paper.text(f"Re: {sheet.patient}, {who(sheet)}", x=_LEFT, y=60, font=bold, size=size)
    paper.text(f"Our order: {sheet.order}", x=_LEFT, y=65.4, font=roman, size=size)
    paper.text("Dear colleague,", x=_LEFT, y=76, font=roman, size=size)
    sentence = (
        f"thank you for the samples of {long_date(sheet)}. The results are given below; "
        "reference ranges for sex and age stand in parentheses."
    )
    y = 83.0
    for line in wrapped(sentence, font=roman, size=size, width=_RIGHT - _LEFT):
        paper.text(line, x=_LEFT, y=y, font=roman, size=size)
        y += size * 0.48
    return y + 3


def _running(panel: str, results: list[LabResult], *, font: str, size: float) -> list[str]:
    """The panel as lines that fit, the first one shorter by the panel's name."""
    items = [_item(result) for result in results]
    text = "; ".join(items) + "."
    words = width_mm(f"{panel}: ", font=font, size=size * 1.08)
    first = wrapped(text, font=font, size=size, width=_RIGHT - _LEFT - words)[0]
    rest = text[len(first) :].strip()
    return [first, *(wrapped(rest, font=font, size=size, width=_RIGHT - _LEFT) if rest else [])]


def _item(result: LabResult) -> str:
    reference = f" ({result.reference})" if result.reference else ""
    flag = "" if result.flag == "normal" else f" {result.flag.upper()}"
    unit = f" {result.unit}" if result.unit else ""
    return f"{result.name} {result.text}{unit}{reference}{flag}"


def _foot(paper: Paper, *, pages: int, font: str) -> None:
    paper.text(NOTICE, x=_LEFT, y=paper.height - 12, font=font, size=7.5, color=MUTED)
    paper.text(f"{paper.page}/{pages}", x=_RIGHT, y=paper.height - 12, font=font, size=8, align="right")
