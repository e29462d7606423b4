"""What a laboratory report says, before it has a layout: the values of one day, as they are printed."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

import numpy as np

from osler.synth.draws import Draws
from osler.synth.facts import Flag, Lab, PatientFacts, Sex
from osler.synth.ontology import LabEntry, load_ontology
from osler.synth.timeline import age_on, calendar_date, patient_id, sentence_case

NOTICE = "Synthetic document made by Osler. No real person; dates are shifted."
_ANNOTATION = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabResult:
    """One value as it is printed.

    Args:
        key: Of the ontology.
        name: Such as ``"Hemoglobin"``.
        loinc: LOINC code. panel: Heading it stands under.
        text: The value with the decimals that the laboratory reports.
        unit: For people, ``"10^9/L"``. low, high: Ends of the reference range, may be empty.
        value: What ``text`` says as a number.
        flag: Against the reference range.
    """

    key: str
    name: str
    loinc: str
    panel: str
    text: str
    unit: str
    low: str
    high: str
    value: float
    flag: Flag

    @property
    def reference(self) -> str:
        """The reference range: ``"12.0 - 15.5"``, ``"<= 5.0"``, ``">= 60"`` or nothing."""
        if self.low and self.high:
            return f"{self.low} - {self.high}"
        if self.high:
            return f"<= {self.high}"
        return f">= {self.low}" if self.low else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSheet:
    """All laboratory values of one day.

    Args:
        patient: Synthetic identifier. age: On that day.
        date: Shifted date. order: Number of the laboratory's order.
        results: In the order of the ontology, panel by panel.
        earlier: Sheets of earlier days, oldest first, without their own earlier ones.
    """

    patient: str
    sex: Sex
    age: int
    date: dt.date
    order: str
    results: tuple[LabResult, ...]
    earlier: tuple[LabSheet, ...] = ()

    def panels(self) -> list[tuple[str, list[LabResult]]]:
        """The results under their headings."""
        grouped: dict[str, list[LabResult]] = {}
        for result in self.results:
            grouped.setdefault(result.panel, []).append(result)
        return list(grouped.items())


def printed_unit(ucum: str) -> str:
    """Writes a UCUM unit as laboratories print it.

    Example:
        >>> printed_unit("10*9/L"), printed_unit("umol/L"), printed_unit("m[IU]/L"), printed_unit("mL/min/{1.73_m2}")
        ('10^9/L', 'µmol/L', 'mIU/L', 'mL/min/1.73 m²')
    """
    text = ucum.replace("/{1.73_m2}", "/1.73 m²").replace("10*", "10^").replace("[IU]", "IU").replace("[Hg]", "Hg")
    text = _ANNOTATION.sub("", text)
    return re.sub(r"(?<![A-Za-z])u(?=[A-Za-z])", "µ", text).strip("/") if text != "U/L" else text


def lab_sheets(patient: PatientFacts) -> tuple[LabSheet, ...]:
    """One sheet for each day with laboratory values, oldest first, with the values of the facts."""
    entries = {entry.key: entry for entry in load_ontology().labs}
    order = {key: place for place, key in enumerate(entries)}
    sheets: list[LabSheet] = []
    for day in sorted({lab.day for lab in patient.labs}):
        labs = sorted((lab for lab in patient.labs if lab.day == day), key=lambda lab: order[lab.key])
        sheets.append(
            LabSheet(
                patient=patient_id(patient),
                sex=patient.sex,
                age=age_on(patient, day=day),
                date=calendar_date(day),
                order=_order_number(patient, day=day),
                results=tuple(_result(lab, entry=entries[lab.key]) for lab in labs),
                earlier=tuple(sheets),
            )
        )
    return tuple(sheets)


def _order_number(patient: PatientFacts, *, day: int) -> str:
    bits = Draws(seed=patient.seed, patients=np.array([patient.number])).bits("document-order", day)
    return f"L{int(bits[0]) % 10**7:07d}"


def _result(lab: Lab, *, entry: LabEntry) -> LabResult:
    def text(value: float | None) -> str:
        return "" if value is None else f"{value:.{entry.decimals}f}"

    return LabResult(
        key=lab.key,
        name=sentence_case(entry.name),
        loinc=entry.loinc,
        panel=sentence_case(entry.panel.replace("-", " ")),
        text=text(lab.value),
        unit=printed_unit(lab.unit),
        low=text(lab.reference.low),
        high=text(lab.reference.high),
        value=lab.value,
        flag=lab.flag,
    )
