"""Two columns of boxes, one a panel, with a bar that shows where each value lies in its range."""

from __future__ import annotations

from osler.synth.documents.letterhead import RED, band_head, foot, small_head
from osler.synth.documents.paper import Paper, fitted
from osler.synth.documents.sheet import LabResult, LabSheet

_COLORS = ("#28607a", "#7a3e28", "#2f6b3a", "#44407a")
_LEGEND = "Results with * lie outside the reference range. The bar shows the range (gray) and the result (mark)."
_ROW, _HEAD, _WIDTH = 5.0, 6.6, 88.0
_MOST_ROWS = 40  # of a box that fits below the letterhead


def draw_panels(paper: Paper, sheet: LabSheet, *, variant: int, pages: int) -> None:
    """Draws the whole report.

    Args:
        paper: Empty paper, A4.
        sheet: What it says.
        variant: Picks the color.
        pages: How many pages it will have.
    """
    color = _COLORS[variant % len(_COLORS)]
    top = band_head(paper, sheet, color=color, title="Results by panel") + 7
    bottom = paper.height - 24
    ends = [top, top]
    for panel, results in _pieces(sheet):
        height = _HEAD + _ROW * len(results) + 2
        side = 0 if ends[0] <= ends[1] else 1
        if ends[side] + height > bottom:
            side = 1 - side
        if ends[side] + height > bottom and ends != [top, top]:
            foot(paper, legend=_LEGEND, pages=pages)
            paper.next_page()
            top = small_head(paper, sheet) + 5
            ends, side = [top, top], 0
        _panel(paper, panel, results, x=15 + side * (_WIDTH + 4), y=ends[side], color=color)
        ends[side] += height + 4
    foot(paper, legend=_LEGEND, pages=pages)


def _pieces(sheet: LabSheet) -> list[tuple[str, list[LabResult]]]:
    """The panels, long ones in pieces."""
    return [
        (panel if start == 0 else f"{panel} (continued)", results[start : start + _MOST_ROWS])
        for panel, results in sheet.panels()
        for start in range(0, len(results), _MOST_ROWS)
    ]


def _panel(paper: Paper, name: str, results: list[LabResult], *, x: float, y: float, color: str) -> None:
    height = _HEAD + _ROW * len(results) + 2
    paper.box(x=x, y=y, width=_WIDTH, height=height, edge="#c3c9d1", radius=1)
    paper.box(x=x, y=y, width=_WIDTH, height=_HEAD - 0.8, fill=color, radius=1)
    paper.text(name, x=x + 2.5, y=y + 4.1, font="Helvetica-Bold", size=8.2, color="#ffffff")
    for number, result in enumerate(results):
        _row(paper, result, x=x, y=y + _HEAD + _ROW * (number + 1) - 1.4)
        if number:
            line = y + _HEAD + _ROW * number
            paper.rule(x0=x + 2, y=line, x1=x + _WIDTH - 2, weight=0.2, color="#e3e6ea")


def _row(paper: Paper, result: LabResult, *, x: float, y: float) -> None:
    normal = result.flag == "normal"
    font = "Helvetica" if normal else "Helvetica-Bold"
    size = fitted(result.name, font=font, size=7.6, width=29)
    paper.text(result.name, x=x + 2.5, y=y, font=font, size=size)
    paper.text(result.text, x=x + 42, y=y, font=font, size=8, align="right", color="#1a1a1a" if normal else RED)
    if not normal:
        paper.text("*", x=x + 42.6, y=y, font=font, size=8, color=RED)
    paper.text(result.unit, x=x + 44.6, y=y, size=fitted(result.unit, font="Helvetica", size=7, width=15.5))
    size = fitted(result.reference, font="Helvetica", size=7, width=13.5)
    paper.text(result.reference, x=x + 61, y=y, size=size)
    _bar(paper, result, x=x + 75.5, y=y - 1, width=10.5)


def _bar(paper: Paper, result: LabResult, *, x: float, y: float, width: float) -> None:
    """Draws the reference range as the middle half of a bar, and the value where it lies."""
    paper.rule(x0=x, y=y, x1=x + width, weight=0.5, color="#b9c0c9")
    paper.box(x=x + width / 4, y=y - 0.9, width=width / 2, height=1.8, fill="#c9d2db")
    low = float(result.low) if result.low else 0.0
    high = float(result.high) if result.high else 2 * low
    place = 0.25 + 0.5 * (result.value - low) / (high - low) if high > low else 0.5
    mark = x + width * min(max(place, 0.02), 0.98)
    color = "#1a1a1a" if result.flag == "normal" else RED
    paper.line(x0=mark, y0=y - 1.6, x1=mark, y1=y + 1.6, weight=1.1, color=color)
