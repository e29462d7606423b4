"""Units: spelled in UCUM, converted where that is certain, kept where it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.readers.ucum import convert, convert_event, known_unit, spell_unit
from osler.study import ClinicalEvent, ReferenceRange


@pytest.mark.parametrize(
    ("written", "ucum"),
    [
        ("mmol/l", "mmol/L"), ("K/uL", "10*3/uL"), ("x10^9/L", "10*9/L"), ("µg/dL", "ug/dL"), ("mmHg", "mm[Hg]"),
        ("IU/L", "[IU]/L"), ("mg / dl", "mg/dL"), ("10*3/uL", "10*3/uL"), ("bpm", "/min"), ("°C", "Cel"),
        ("ml/min/1.73m2", "mL/min/{1.73_m2}"),
    ],
)  # fmt: skip
def test_spelling(written: str, ucum: str) -> None:
    assert spell_unit(written) == ucum
    assert known_unit(written)


@pytest.mark.parametrize("unit", ["furlong", "mg/dL/", "Mg", "", "cells of unknown size", "x" * 500, "10*999/uL", "g/"])
def test_an_unknown_unit_stays_as_it_is(unit: str) -> None:
    assert spell_unit(unit) == unit
    assert not known_unit(unit)
    assert convert(1.0, unit=unit, to="mg/dL") is None


@pytest.mark.parametrize(
    ("value", "unit", "to", "code", "expected"),
    [
        (1.0, "mg/dL", "umol/L", "2160-0", 88.40),  # creatinine
        (100.0, "mg/dL", "mmol/L", "2345-7", 5.551),  # glucose
        (200.0, "mg/dL", "mmol/L", "2093-3", 5.172),  # cholesterol
        (14.0, "mg/dL", "mmol/L", "3094-0", 4.998),  # urea nitrogen
        (14.0, "g/dL", "mmol/L", "718-7", 8.688),  # hemoglobin
        (140.0, "mmol/L", "meq/L", "2951-2", 140.0),
        (10.0, "mg/dL", "meq/L", "17861-6", None),  # mass to charge takes two steps: refused
        (2.5, "mmol/L", "meq/L", "17861-6", 5.0),
        (7.0, "%", "mmol/mol", "4548-4", 53.0),
        (53.0, "mmol/mol", "%", "4548-4", 7.0),
        (7.0, "%", "mmol/mol", "4544-3", None),  # a hematocrit is no HbA1c
        (98.6, "[degF]", "Cel", "", 37.0),
        (120.0, "mm[Hg]", "kPa", "", 16.0),
        (70.0, "kg", "[lb_av]", "", 154.32),
        (250.0, "10*3/uL", "10*9/L", "", 250.0),
        (1.0, "mg/dL", "umol/L", "", None),  # no analyte, no molar mass
        (1.0, "mg/dL", "mm[Hg]", "", None),
        (500.0, "ng/mL{FEU}", "ng/mL{DDU}", "", None),  # two ways of measuring, a factor of two apart
        (0.5, "ug/mL{FEU}", "ng/mL{FEU}", "", 500.0),
        (3.0, "{score}", "{ratio}", "", None),
    ],
)
def test_conversion(value: float, unit: str, to: str, code: str, expected: float | None) -> None:
    found = convert(value, unit=unit, to=to, code=code)
    assert found is None if expected is None else found == pytest.approx(expected, rel=2e-3)


@given(
    st.floats(0.01, 1e4), st.sampled_from([("mg/dL", "umol/L", "2160-0"), ("Cel", "[degF]", ""), ("g/L", "mg/dL", "")])
)
def test_there_and_back(value: float, units: tuple[str, str, str]) -> None:
    unit, to, code = units
    there = convert(value, unit=unit, to=to, code=code)
    assert there is not None
    assert convert(there, unit=to, to=unit, code=code) == pytest.approx(value, rel=1e-9, abs=1e-9)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_survived(unit: str, to: str) -> None:
    found = convert(1.0, unit=unit, to=to)
    assert found is None or found > -1e30
    assert spell_unit(spell_unit(unit)) == spell_unit(unit)


def test_the_range_moves_with_the_value() -> None:
    event = ClinicalEvent(
        kind="observation", name="Creatinine", code="2160-0", value=1.4, unit="mg/dL",
        reference=ReferenceRange(low=0.6, high=1.2),
    )  # fmt: skip
    moved = convert_event(event, to="umol/L")
    assert moved is not None
    assert moved.reference is not None
    assert moved.unit == "umol/L"
    assert moved.value == pytest.approx(123.76, rel=1e-3)
    assert moved.reference.high == pytest.approx(106.1, rel=1e-3)
    assert moved.abnormal == event.abnormal is True
    assert convert_event(event, to="mmHg") is None
