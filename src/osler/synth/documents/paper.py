"""Paper to draw a document on: millimeters from the top left corner, and a text layer that can be read back.

The PDF holds no creation date and no machine's name, so the same document is
the same bytes everywhere.
"""

from __future__ import annotations

import io
from typing import Literal

from reportlab.graphics.barcode.code128 import Code128
from reportlab.lib.colors import HexColor
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

Align = Literal["left", "right", "center"]
A4: tuple[float, float] = (210.0, 297.0)

# Arrows stand in the Symbol font of every PDF reader; the other base fonts have none.
ARROWS: dict[str, str] = {"high": "↑", "low": "↓"}


def width_mm(text: str, *, font: str, size: float) -> float:
    """Width of a line of text in mm."""
    return stringWidth(text, font, size) / mm


def fitted(text: str, *, font: str, size: float, width: float) -> float:
    """The font size, at most ``size``, at which a text fits a width (mm)."""
    natural = width_mm(text, font=font, size=size)
    return size if natural <= width else size * width / natural


def wrapped(text: str, *, font: str, size: float, width: float) -> list[str]:
    """Breaks a text into lines of at most ``width`` mm, at spaces."""
    lines, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line and width_mm(longer, font=font, size=size) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]


class Paper:
    """A document being drawn, page by page.

    Args:
        title: Stands in the file's properties.
        size: Width and height in mm.
    """

    def __init__(self, *, title: str, size: tuple[float, float] = A4) -> None:
        self.width, self.height = size
        self.page = 1
        self._buffer = io.BytesIO()
        self._canvas = Canvas(self._buffer, pagesize=(size[0] * mm, size[1] * mm), invariant=1)
        self._canvas.setTitle(title)
        self._canvas.setAuthor("Osler (synthetic)")
        self._canvas.setSubject("Synthetic document, no real person")
        self._canvas.setCreator("Osler")

    def text(
        self,
        text: str,
        *,
        x: float,
        y: float,
        font: str = "Helvetica",
        size: float = 9,
        align: Align = "left",
        color: str = "#1a1a1a",
    ) -> None:
        """Writes one line with its baseline at ``y`` mm from the top."""
        self._canvas.setFillColor(HexColor(color))
        self._canvas.setFont(font, size)
        place = (x * mm, (self.height - y) * mm)
        if align == "right":
            self._canvas.drawRightString(*place, text)
        elif align == "center":
            self._canvas.drawCentredString(*place, text)
        else:
            self._canvas.drawString(*place, text)

    def arrow(
        self, way: Literal["low", "high"], *, x: float, y: float, size: float = 9, color: str = "#1a1a1a"
    ) -> None:
        """Writes an arrow up or down, which reads back as ``↑`` or ``↓``."""
        self.text(ARROWS[way], x=x, y=y, font="Symbol", size=size, color=color)

    def rule(
        self, *, x0: float, y: float, x1: float, weight: float = 0.3, color: str = "#1a1a1a", dash: float = 0
    ) -> None:
        """Draws a horizontal line, ``weight`` in points."""
        self.line(x0=x0, y0=y, x1=x1, y1=y, weight=weight, color=color, dash=dash)

    def line(
        self,
        *,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        weight: float = 0.3,
        color: str = "#1a1a1a",
        dash: float = 0,
    ) -> None:
        """Draws a line, ``weight`` in points; ``dash`` in mm, 0 for none."""
        self._canvas.setStrokeColor(HexColor(color))
        self._canvas.setLineWidth(weight)
        self._canvas.setDash(*([dash * mm, dash * mm],) if dash else ())
        self._canvas.line(x0 * mm, (self.height - y0) * mm, x1 * mm, (self.height - y1) * mm)
        self._canvas.setDash()

    def box(
        self,
        *,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str | None = None,
        edge: str | None = None,
        weight: float = 0.4,
        radius: float = 0,
    ) -> None:
        """Draws a rectangle whose top left corner is at (x, y) mm; round corners by ``radius`` mm."""
        if fill:
            self._canvas.setFillColor(HexColor(fill))
        if edge:
            self._canvas.setStrokeColor(HexColor(edge))
            self._canvas.setLineWidth(weight)
        self._canvas.roundRect(
            x * mm,
            (self.height - y - height) * mm,
            width * mm,
            height * mm,
            radius * mm,
            stroke=int(edge is not None),
            fill=int(fill is not None),
        )

    def circle(self, *, x: float, y: float, radius: float, fill: str) -> None:
        """Draws a filled circle, mm."""
        self._canvas.setFillColor(HexColor(fill))
        self._canvas.circle(x * mm, (self.height - y) * mm, radius * mm, stroke=0, fill=1)

    def cross(self, *, x: float, y: float, side: float, fill: str) -> None:
        """Draws an upright cross with its middle at (x, y) mm, the mark of a letterhead."""
        arm = side / 3
        self.box(x=x - arm / 2, y=y - side / 2, width=arm, height=side, fill=fill)
        self.box(x=x - side / 2, y=y - arm / 2, width=side, height=arm, fill=fill)

    def barcode(self, text: str, *, x: float, y: float, width: float, height: float) -> None:
        """Draws a text as Code 128 bars with the top left corner at (x, y) mm."""
        bars = Code128(text, barHeight=height * mm, barWidth=0.3 * mm, quiet=0, humanReadable=0)
        bars = Code128(text, barHeight=height * mm, barWidth=0.3 * mm * width * mm / bars.width, quiet=0)
        bars.drawOn(self._canvas, x * mm, (self.height - y - height) * mm)

    def next_page(self) -> None:
        """Ends this page and starts another."""
        self._canvas.showPage()
        self.page += 1

    def finish(self) -> bytes:
        """Ends the last page and returns the PDF."""
        self._canvas.showPage()
        self._canvas.save()
        return self._buffer.getvalue()
