"""The discharge letter: diagnoses, imaging over time, laboratory values and drugs as they stand on one day."""

from __future__ import annotations

import io
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np

from osler.errors import RequestError, unknown_name
from osler.synth.documents.phrases import exam_sentence, finding_name
from osler.synth.documents.sheet import NOTICE, LabSheet, lab_sheets
from osler.synth.draws import Draws
from osler.synth.facts import Exam, PatientFacts
from osler.synth.ontology import load_ontology
from osler.synth.timeline import Span, age_on, build_timeline, calendar_date, patient_id, sentence_case

LetterStyle = Literal["prose", "form"]
_FONTS = {"prose": ("Times-Roman", "Times-Bold", 10.6), "form": ("Helvetica", "Helvetica-Bold", 9.2)}
_FRAME_PT = 6  # reportlab pads its frames by this much
_COLOR = {"prose": "#1a1a1a", "form": "#1f4e79"}


def discharge_letter_pdf(patient: PatientFacts, *, exam: int | None = None, style: LetterStyle | None = None) -> bytes:
    """Writes the letter after one exam; nothing later is in it.

    Args:
        patient: The facts.
        exam: Number of the exam after which the letter is written; the last one by default.
        style: ``"prose"`` (a typed letter) or ``"form"`` (headings and ruled tables); drawn by default.

    Returns:
        The PDF, the same bytes everywhere.

    Raises:
        RequestError: If the exam or the style does not exist.
    """
    number = patient.exams[-1].number if exam is None and patient.exams else exam
    chosen = next((one for one in patient.exams if one.number == number), None)
    if chosen is None:
        raise RequestError(
            f"Patient {patient.number} has no exam {number!r}.",
            allowed=f"Exams 0 to {len(patient.exams) - 1}." if patient.exams else "This patient has none.",
        )
    if style is None:
        draws = Draws(seed=patient.seed, patients=np.array([patient.number]))
        style = ("prose", "form")[int(draws.below("letter-style", 2, chosen.number)[0])]
    if style not in _FONTS:
        raise unknown_name("letter style", name=style, known=_FONTS)
    return _Letter(patient, last=chosen, style=style).write()


class _Letter:
    """One letter being written with reportlab's flowing layout."""

    def __init__(self, patient: PatientFacts, *, last: Exam, style: LetterStyle) -> None:
        from reportlab.lib.styles import ParagraphStyle

        self.patient, self.last, self.style = patient, last, style
        self.roman, self.bold, self.size = _FONTS[style]
        self.color = _COLOR[style]
        self.body = ParagraphStyle(
            "body", fontName=self.roman, fontSize=self.size, leading=self.size * 1.34, spaceAfter=3.4
        )
        self.head = ParagraphStyle(
            "head",
            parent=self.body,
            fontName=self.bold,
            fontSize=self.size * 1.06,
            textColor=self.color,
            spaceBefore=8,
            spaceAfter=2.6,
            keepWithNext=1,
        )

    def write(self) -> bytes:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate

        buffer = io.BytesIO()
        document = SimpleDocTemplate(
            buffer,
            pagesize=A4,
            leftMargin=24 * mm - _FRAME_PT,
            rightMargin=22 * mm - _FRAME_PT,
            topMargin=22 * mm,
            bottomMargin=22 * mm,
            invariant=1,
            title=f"Discharge letter {patient_id(self.patient)}",
            author="Osler (synthetic)",
            subject="Synthetic document, no real person",
            creator="Osler",
        )
        document.build(self._story(), onFirstPage=self._frame, onLaterPages=self._frame)
        return buffer.getvalue()

    def _frame(self, canvas: Any, document: Any) -> None:
        """Letterhead on the first page; notice and page number on every page."""
        from reportlab.lib.colors import HexColor
        from reportlab.lib.units import mm

        canvas.saveState()
        canvas.setFillColor(HexColor(self.color))
        if document.page == 1:
            canvas.setFont(self.bold, 14)
            canvas.drawString(24 * mm, 277 * mm, "Department of Internal Medicine")
            canvas.setFont(self.roman, 9)
            canvas.drawString(24 * mm, 272 * mm, "Ward 3 · Outpatient imaging follow-up")
            canvas.setFont(self.bold, 11)
            canvas.drawRightString(188 * mm, 277 * mm, "DISCHARGE LETTER")
            canvas.setStrokeColor(HexColor(self.color))
            canvas.setLineWidth(1.2 if self.style == "form" else 0.6)
            canvas.line(24 * mm, 269 * mm, 188 * mm, 269 * mm)
        canvas.setFillColor(HexColor("#5f6670"))
        canvas.setFont(self.roman, 7.5)
        canvas.drawString(24 * mm, 13 * mm, f"{patient_id(self.patient)} · {NOTICE}")
        canvas.drawRightString(188 * mm, 13 * mm, f"Page {document.page}")
        canvas.restoreState()

    def _story(self) -> list[Any]:
        from reportlab.lib.units import mm
        from reportlab.platypus import Spacer

        timeline = build_timeline(self.patient)
        day = self.last.day
        conditions = [span for span in timeline.conditions if span.start <= day]
        drugs = [span for span in timeline.medications if span.start <= day]
        exams = [exam for exam in self.patient.exams if exam.number <= self.last.number]
        return [
            Spacer(1, 10 * mm),
            *self._opening(exams[0]),
            *self._section("Diagnoses", self._diagnoses(conditions)),
            *self._section("Reason for the last examination", [self._text(_reason(self.last))]),
            *self._section("Imaging", self._imaging(exams)),
            *self._section("Laboratory", self._laboratory(day)),
            *self._section("Medication", self._medication(drugs, day=day)),
            *self._section("Assessment", [self._text(_assessment(self.last))]),
            Spacer(1, 4 * mm),
            self._text("With kind regards,"),
            self._text("The ward physician (released electronically, valid without a signature)"),
        ]

    def _text(self, text: str) -> Any:
        from reportlab.platypus import Paragraph

        return Paragraph(text, self.body)

    def _section(self, title: str, content: list[Any]) -> list[Any]:
        from reportlab.platypus import Paragraph

        return [Paragraph(title, self.head), *content]

    def _opening(self, first: Exam) -> list[Any]:
        patient = self.patient
        age = age_on(patient, day=self.last.day)
        period = f"{_date(first.day)} to {_date(self.last.day)}" if first is not self.last else _date(self.last.day)
        if self.style == "form":
            rows = [
                ["Patient", patient_id(patient), "Date", _date(self.last.day)],
                ["Sex, age", f"{patient.sex}, {age} years", "In our care", period],
            ]
            return [self._table(rows, widths=(20, 58, 24, 62), head=False)]
        return [
            self._text(_date(self.last.day)),
            self._text(f"<b>Re: {patient_id(patient)}, {patient.sex}, {age} years</b>"),
            self._text("Dear colleague,"),
            self._text(f"we report on the above patient, who was in our care ({period})."),
        ]

    def _diagnoses(self, conditions: list[Span]) -> list[Any]:
        codes = {entry.key: entry.icd10 for entry in load_ontology().conditions}
        if not conditions:
            return [self._text("No chronic disease is known.")]
        if self.style == "form":
            rows = [["Diagnosis", "ICD-10", "Since"]]
            rows += [[span.name, codes[span.key] or "-", _month(span.start)] for span in conditions]
            return [self._table(rows, widths=(100, 28, 36))]
        return [
            self._text(f"- {escape(span.name)}{_code(codes[span.key])}, since {_month(span.start)}")
            for span in conditions
        ]

    def _imaging(self, exams: list[Exam]) -> list[Any]:
        names = {entry.key: entry.name for entry in load_ontology().protocols}
        return [
            self._text(
                f"<b>{_date(exam.day)}, {escape(names[exam.protocol])}{_compared(exam, exams)}:</b> "
                f"{escape(exam_sentence(exam))}"
            )
            for exam in exams
        ]

    def _laboratory(self, day: int) -> list[Any]:
        sheets = [sheet for sheet in lab_sheets(self.patient) if sheet.date <= calendar_date(day)][-4:]
        if not sheets:
            return [self._text("No laboratory values.")]
        keys = {one.key for sheet in sheets for one in sheet.results if one.flag != "normal"}
        if not keys:
            return [self._text(f"All values of {_sheet_date(sheets[-1])} lie in their reference ranges.")]
        rows = [["Test", "Unit", "Reference", *(_sheet_date(sheet) for sheet in sheets)]]
        named = {one.key: one for sheet in sheets for one in sheet.results if one.key in keys}
        for key, one in named.items():
            rows.append([one.name, one.unit, one.reference, *(_cell(sheet, key=key) for sheet in sheets)])
        widths = (46, 28, 26, *(64 / len(sheets),) * len(sheets))
        return [self._table(rows, widths=widths), self._text("H above, L below the reference range.")]

    def _medication(self, drugs: list[Span], *, day: int) -> list[Any]:
        if not drugs:
            return [self._text("None.")]
        if self.style == "form":
            rows = [["Drug", "From", "To"]]
            rows += [[span.name, _date(span.start), _stop(span, day=day)] for span in drugs]
            return [self._table(rows, widths=(100, 32, 32))]
        going = [span for span in drugs if _stop(span, day=day) == "continued"]
        ended = [span for span in drugs if span not in going]
        lines = []
        if going:
            lines.append("Continued: " + "; ".join(f"{span.name} (since {_date(span.start)})" for span in going) + ".")
        if ended:
            lines.append(
                "Ended: "
                + "; ".join(f"{span.name} ({_date(span.start)} to {_stop(span, day=day)})" for span in ended)
                + "."
            )
        return [self._text(escape(line)) for line in lines]

    def _table(self, rows: list[list[str]], *, widths: tuple[float, ...], head: bool = True) -> Any:
        from reportlab.lib.colors import HexColor
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.lib.units import mm
        from reportlab.platypus import Paragraph, Table, TableStyle

        small = ParagraphStyle(
            "cell", parent=self.body, fontSize=self.size * 0.9, leading=self.size * 1.14, spaceAfter=0
        )
        bold = ParagraphStyle("bold", parent=small, fontName=self.bold)
        cells = [
            [
                Paragraph(escape(text), bold if (head and not number) or (not head and column % 2) else small)
                for column, text in enumerate(row)
            ]
            for number, row in enumerate(rows)
        ]
        style = [
            ("LINEBELOW", (0, 0), (-1, -1), 0.3, HexColor("#c3c9d1")),
            ("TOPPADDING", (0, 0), (-1, -1), 1.6),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ]
        if head:
            style.append(("LINEBELOW", (0, 0), (-1, 0), 0.8, HexColor(self.color)))
        if head and self.style == "form":
            style.append(("BACKGROUND", (0, 0), (-1, 0), HexColor("#e6ecf3")))
        return Table(
            cells,
            colWidths=[width * mm for width in widths],
            hAlign="LEFT",
            repeatRows=int(head),
            style=TableStyle(style),
        )


def _date(day: int) -> str:
    date = calendar_date(day)
    return f"{date.day} {date:%b %Y}"


def _month(day: int) -> str:
    return f"{calendar_date(day):%b %Y}"


def _sheet_date(sheet: LabSheet) -> str:
    return f"{sheet.date:%d.%m.%y}"


def _code(code: str) -> str:
    return f" ({code})" if code else ""


def _stop(span: Span, *, day: int) -> str:
    """When a drug ended, as it is known on the day of the letter."""
    return "continued" if span.stop is None or span.stop > day else _date(span.stop)


def _cell(sheet: LabSheet, *, key: str) -> str:
    result = next((one for one in sheet.results if one.key == key), None)
    if result is None:
        return "--"
    return result.text + {"low": " L", "normal": "", "high": " H"}[result.flag]


def _reason(exam: Exam) -> str:
    text = next((entry.text for entry in load_ontology().indications if entry.key == exam.indication), "")
    return escape(sentence_case(text or exam.indication.replace("-", " "))) + "."


def _compared(exam: Exam, exams: list[Exam]) -> str:
    prior = next((one for one in exams if one.number == exam.compared), None)
    return "" if prior is None else f", compared with {_date(prior.day)}"


def _assessment(exam: Exam) -> str:
    """What changed on the last exam, in one or two sentences."""
    changed = {
        change: ", ".join(
            dict.fromkeys(
                finding_name(fact.key) for fact in exam.findings if fact.change == change and fact.certainty != "absent"
            )
        )
        for change in ("new", "larger", "smaller", "resolved")
    }
    words = {"new": "newly seen", "larger": "progressive", "smaller": "regressive", "resolved": "no longer seen"}
    parts = [f"{words[change]}: {names}" for change, names in changed.items() if names]
    if parts:
        text = f"On imaging {'; '.join(parts)}."
    elif exam.compared is not None:
        text = "No relevant change on imaging."
    elif any(fact.certainty != "absent" for fact in exam.findings):
        text = "Findings on imaging as described above."
    else:
        text = "No finding of concern on imaging."
    return escape(text) + " Follow-up as clinically indicated."
