"""The commonest report: one line a test, columns for result, flag, unit and reference range."""

from __future__ import annotations

from osler.synth.documents.letterhead import RED, band_head, foot, long_date, small_head, who
from osler.synth.documents.paper import Paper, fitted
from osler.synth.documents.sheet import LabResult, LabSheet

_COLORS = ("#1f4e79", "#0b6e6e", "#5a2a63", "#33475b")
_LEGEND = "H above, L below the reference range. Bold results need attention."
_FLAG = {"low": "L", "normal": "", "high": "H"}
_ROW = 5.4


def draw_table(paper: Paper, sheet: LabSheet, *, variant: int, pages: int) -> None:
    """Draws the whole report.

    Args:
        paper: Empty paper, A4.
        sheet: What it says.
        variant: Picks the color, and whether LOINC codes get a column.
        pages: How many pages it will have.
    """
    color = _COLORS[variant % len(_COLORS)]
    codes = variant % 2 == 0
    y = _columns(paper, y=band_head(paper, sheet, color=color, title="LABORATORY REPORT") + 8, codes=codes)
    bottom = paper.height - 24
    line = 0
    for panel, results in sheet.panels():
        if y + 7 + _ROW > bottom:
            y = _turn(paper, sheet, pages=pages, codes=codes)
        y += 6.6
        paper.text(panel, x=17, y=y - 1.6, font="Helvetica-Bold", size=8.8, color=color)
        paper.rule(x0=15, y=y, x1=paper.width - 15, weight=0.5, color=color)
        for result in results:
            if y + _ROW > bottom:
                y = _turn(paper, sheet, pages=pages, codes=codes)
            line += 1
            if line % 2:
                paper.box(x=15, y=y, width=paper.width - 30, height=_ROW, fill="#f3f5f7")
            y += _ROW
            _result(paper, result, y=y - 1.6, codes=codes)
    y += 9
    if y < bottom - 6:
        paper.text("Validated electronically; valid without a signature.", x=15, y=y, font="Helvetica-Oblique", size=8)
    foot(paper, legend=_LEGEND, pages=pages)


def _turn(paper: Paper, sheet: LabSheet, *, pages: int, codes: bool) -> float:
    foot(paper, legend=_LEGEND, pages=pages)
    paper.next_page()
    return _columns(paper, y=small_head(paper, sheet) + 4, codes=codes)


def _columns(paper: Paper, *, y: float, codes: bool) -> float:
    paper.box(x=15, y=y, width=paper.width - 30, height=6.4, fill="#dfe4ea")
    heads = [("Test", 17), ("Flag", 103), ("Unit", 112), ("Reference range", 136)]
    for text, x in heads + ([("LOINC", 177)] if codes else []):
        paper.text(text, x=x, y=y + 4.4, font="Helvetica-Bold", size=8)
    paper.text("Result", x=99, y=y + 4.4, font="Helvetica-Bold", size=8, align="right")
    return y + 6.4


def _result(paper: Paper, result: LabResult, *, y: float, codes: bool) -> None:
    normal = result.flag == "normal"
    font = "Helvetica" if normal else "Helvetica-Bold"
    color = "#1a1a1a" if normal else RED
    paper.text(result.name, x=19, y=y, font=font, size=fitted(result.name, font=font, size=9, width=62))
    paper.text(result.text, x=99, y=y, font=font, size=9, align="right", color=color)
    if not normal:
        paper.text(_FLAG[result.flag], x=105, y=y, font=font, size=9, color=color)
    paper.text(result.unit, x=112, y=y, size=8.4)
    paper.text(result.reference, x=136, y=y, size=8.4)
    if codes:
        paper.text(result.loinc, x=177, y=y, size=7.4, color="#7a828c")


def draw_print(paper: Paper, sheet: LabSheet, *, variant: int, pages: int) -> None:
    """Draws the printout of an old laboratory system: fixed pitch on paper with green bars.

    Args:
        paper: Empty paper, A4.
        sheet: What it says.
        variant: Green bars, or plain paper.
        pages: How many pages it will have.
    """
    y = _print_head(paper, sheet, variant=variant)
    for panel, results in sheet.panels():
        for text, result in [("", None), (f"** {panel.upper()} **", None), *[("", one) for one in results]]:
            if y > paper.height - 24:
                _print_foot(paper, pages=pages)
                paper.next_page()
                y = _print_head(paper, sheet, variant=variant)
            y += 4.6
            if result is not None:
                _printed(paper, result, y=y)
            elif text:
                paper.text(text, x=16, y=y, font="Courier-Bold", size=9.5)
    paper.text("*** END OF REPORT ***", x=16, y=min(y + 10, paper.height - 20), font="Courier", size=9.5)
    _print_foot(paper, pages=pages)


def _printed(paper: Paper, result: LabResult, *, y: float) -> None:
    flag = {"low": "L", "normal": " ", "high": "H"}[result.flag]
    name = f"{result.name.upper()} ".ljust(39, ".")
    line = f"{name} {result.text:>8} {flag} {result.unit:<15} {result.reference}".rstrip()
    font = "Courier" if result.flag == "normal" else "Courier-Bold"
    paper.text(line, x=16, y=y, font=font, size=9.5)


def _print_head(paper: Paper, sheet: LabSheet, *, variant: int) -> float:
    if variant % 2 == 0:
        for row in range(15):
            paper.box(x=8, y=14.7 + row * 18.4, width=paper.width - 16, height=9.2, fill="#e6f2e4")
    for row in range(24):
        for x in (4.0, paper.width - 4.0):
            paper.circle(x=x, y=10 + row * 12.0, radius=1.7, fill="#d4d6d8")
    lines = (
        "CENTRAL LABORATORY" + " " * 52 + "FINAL REPORT",
        "=" * 82,
        f"PATIENT  : {sheet.patient:<30} ORDER    : {sheet.order}",
        f"SEX/AGE  : {who(sheet).upper():<30} COLLECTED: {long_date(sheet).upper()}",
        "WARD     : INTERNAL MEDICINE 3            PRIORITY : ROUTINE",
        "-" * 82,
        f"{'TEST':<39} {'RESULT':>8}   {'UNIT':<15} REFERENCE RANGE",
        "-" * 82,
    )
    y = 18.0
    for line in lines:
        paper.text(line, x=16, y=y, font="Courier", size=9.5)
        y += 4.6
    return y - 4.6


def _print_foot(paper: Paper, *, pages: int) -> None:
    text = f"PAGE {paper.page} OF {pages}   H/L: ABOVE/BELOW RANGE   SYNTHETIC DOCUMENT, NO REAL PERSON"
    paper.text(text, x=16, y=paper.height - 9, font="Courier", size=8.5)
