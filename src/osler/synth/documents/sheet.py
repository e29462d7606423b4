"""What a laboratory report says, before it has a layout: the values of one day, as they are printed."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from osler.synth.facts import Flag, Sex

NOTICE = "Synthetic document made by Osler. No real person; dates are shifted."
_ANNOTATION = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabResult:
    """One value as it is printed.

    Args:
        key: Of the ontology.
        name: Such as ``"Hemoglobin"``. short: Such as ``"HGB"``.
        loinc: LOINC code. panel: Heading it stands under.
        text: The value with the decimals that the laboratory reports.
        unit: For people, ``"10^9/L"``. low, high: Ends of the reference range, may be empty.
        value: What ``text`` says as a number.
        flag: Against the reference range.
    """

    key: str
    name: str
    short: str
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
