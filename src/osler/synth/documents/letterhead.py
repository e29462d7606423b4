"""What stands above and below the values: whose report it is, of which patient, when; page numbers."""

from __future__ import annotations

from osler.synth.documents.paper import Paper
from osler.synth.documents.sheet import NOTICE, LabSheet

MUTED = "#5f6670"
RED = "#a3131f"


def long_date(sheet: LabSheet) -> str:
    """The date as ``14 Jan 2000``."""
    return f"{sheet.date.day} {sheet.date:%b %Y}"


def who(sheet: LabSheet) -> str:
    """Sex and age: ``female, 63 years``."""
    return f"{sheet.sex}, {sheet.age} years"


def band_head(paper: Paper, sheet: LabSheet, *, color: str, title: str) -> float:
    """A colored band with the laboratory's mark, and the patient's box; returns where the values may start (mm)."""
    paper.box(x=0, y=0, width=paper.width, height=19, fill=color)
    paper.circle(x=21, y=9.5, radius=5.6, fill="#ffffff")
    paper.cross(x=21, y=9.5, side=7.2, fill=color)
    paper.text("Central Laboratory", x=30, y=9, font="Helvetica-Bold", size=14, color="#ffffff")
    paper.text("Clinical chemistry · Hematology · Coagulation", x=30, y=14.2, size=8, color="#ffffff")
    paper.text(title, x=paper.width - 15, y=11.4, font="Helvetica-Bold", size=11, align="right", color="#ffffff")
    top = 25.0
    paper.box(x=15, y=top, width=paper.width - 30, height=21, edge="#b9c0c9", fill="#f7f8fa", radius=1.2)
    cells = (
        ("Patient", sheet.patient, 19, top + 5.4),
        ("Sex, age", who(sheet), 19, top + 11.2),
        ("Requested by", "Internal medicine, ward 3", 19, top + 17),
        ("Order", sheet.order, 88, top + 5.4),
        ("Collected", f"{long_date(sheet)}, 07:10", 88, top + 11.2),
        ("Reported", f"{long_date(sheet)}, 11:42", 88, top + 17),
    )
    for label, value, x, y in cells:
        paper.text(label, x=x, y=y, size=7.5, color=MUTED)
        bold = "Helvetica-Bold" if label in ("Patient", "Order") else "Helvetica"
        paper.text(value, x=x + 21, y=y, font=bold, size=9)
    paper.barcode(sheet.order, x=paper.width - 58, y=top + 4, width=38, height=10)
    paper.text(sheet.order, x=paper.width - 39, y=top + 17.4, font="Courier", size=7, align="center")
    return top + 21


def small_head(paper: Paper, sheet: LabSheet, *, font: str = "Helvetica") -> float:
    """One line at the top of a following page; returns where the values may start (mm)."""
    paper.text(f"{sheet.patient}   {who(sheet)}   order {sheet.order}", x=15, y=14, font=font, size=8, color=MUTED)
    paper.text(long_date(sheet), x=paper.width - 15, y=14, font=font, size=8, align="right", color=MUTED)
    paper.rule(x0=15, y=16, x1=paper.width - 15, color="#b9c0c9")
    return 18.0


def foot(paper: Paper, *, legend: str, pages: int, font: str = "Helvetica") -> None:
    """The legend of flags, the note that nothing is real, and the page number."""
    y = paper.height - 14
    paper.rule(x0=15, y=y - 5, x1=paper.width - 15, color="#b9c0c9")
    paper.text(legend, x=15, y=y - 1, font=font, size=7, color=MUTED)
    paper.text(NOTICE, x=15, y=y + 3, font=font, size=7, color=MUTED)
    paper.text(f"Page {paper.page} of {pages}", x=paper.width - 15, y=y - 1, font=font, size=7, align="right")
