"""The values of a day as they are printed."""

from __future__ import annotations

import datetime as dt

import pytest

from osler.synth.documents.sheet import lab_sheets, printed_unit
from osler.synth.ontology import load_ontology
from tests.synth.documents.people import DAYS, make_patient


def test_each_day_has_a_sheet_that_knows_the_earlier_ones() -> None:
    sheets = lab_sheets(make_patient())
    assert [sheet.date for sheet in sheets] == [dt.date(2000, 1, 1) + dt.timedelta(days=day) for day in DAYS]
    assert [len(sheet.earlier) for sheet in sheets] == [0, 1, 2, 3]
    assert len({sheet.order for sheet in sheets}) == len(sheets)
    assert sheets[-1].age == 64


def test_values_are_printed_with_the_decimals_of_the_laboratory() -> None:
    decimals = {entry.key: entry.decimals for entry in load_ontology().labs}
    for sheet in lab_sheets(make_patient()):
        assert len(sheet.results) == len(decimals)
        for result in sheet.results:
            _, _, behind = result.text.partition(".")
            assert len(behind) == decimals[result.key]
            assert float(result.text) == result.value


def test_panels_keep_all_results() -> None:
    sheet = lab_sheets(make_patient())[0]
    panels = sheet.panels()
    assert sorted(one.key for _, results in panels for one in results) == sorted(one.key for one in sheet.results)
    assert len({name for name, _ in panels}) == len(panels)


@pytest.mark.parametrize(
    ("ucum", "printed"),
    [
        ("10*9/L", "10^9/L"),
        ("umol/L", "µmol/L"),
        ("ug/L", "µg/L"),
        ("10*6/uL", "10^6/µL"),
        ("m[IU]/L", "mIU/L"),
        ("{INR}", ""),
        ("mL/min/{1.73_m2}", "mL/min/1.73 m²"),
        ("mm/h", "mm/h"),
        ("U/L", "U/L"),
        ("mm[Hg]", "mmHg"),
    ],
)
def test_units_are_printed_for_people(ucum: str, printed: str) -> None:
    assert printed_unit(ucum) == printed
