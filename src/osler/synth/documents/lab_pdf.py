"""Laboratory reports as PDF, in five layouts."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from osler.errors import unknown_name
from osler.synth.documents.layout_cumulative import draw_cumulative
from osler.synth.documents.layout_letter import draw_letter
from osler.synth.documents.layout_panels import draw_panels
from osler.synth.documents.layout_table import draw_print, draw_table
from osler.synth.documents.paper import A4, Paper
from osler.synth.documents.sheet import LabSheet

Layout = Literal["table", "panels", "cumulative", "letter", "print"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


class _Draw(Protocol):
    def __call__(self, paper: Paper, sheet: LabSheet, *, variant: int, pages: int) -> None: ...


_DRAW: dict[Layout, _Draw] = {
    "table": draw_table,
    "panels": draw_panels,
    "cumulative": draw_cumulative,
    "letter": draw_letter,
    "print": draw_print,
}


def lab_report_pdf(sheet: LabSheet, *, layout: Layout, variant: int = 0) -> bytes:
    """Draws a laboratory report; its text layer holds the values as they stand in the sheet.

    Args:
        sheet: What it says.
        layout: ``"table"`` (columns), ``"panels"`` (boxes with bars), ``"cumulative"`` (a column
            a date), ``"letter"`` (running text) or ``"print"`` (fixed pitch).
        variant: Colors and small differences, 0 or more.

    Returns:
        The PDF, the same bytes everywhere.

    Raises:
        RequestError: If the layout is unknown.
    """
    if layout not in _DRAW:
        raise unknown_name("layout", name=layout, known=LAYOUTS)
    size = A4[::-1] if layout == "cumulative" else A4
    title = f"Laboratory report {sheet.order}"

    def drawn(pages: int) -> Paper:
        paper = Paper(title=title, size=size)
        _DRAW[layout](paper, sheet, variant=variant, pages=pages)
        return paper

    return drawn(drawn(1).page).finish()
