"""Laboratory reports: every layout's text layer holds the values of the facts."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.synth.documents.lab_pdf import LAYOUTS, Layout, lab_report_pdf
from osler.synth.documents.sheet import lab_sheets, printed_unit
from osler.synth.facts import PatientFacts
from osler.synth.ontology import load_ontology
from tests.synth.documents.lab_text import pdf_text, read_cumulative, read_letter, read_rows
from tests.synth.documents.people import DAYS, make_lab, make_patient


@st.composite
def patients(draw: st.DrawFn) -> PatientFacts:
    """Patients with some tests on some days, values from far below to far above the range."""
    labs = []
    for day in draw(st.lists(st.sampled_from(DAYS), min_size=1, unique=True)):
        entries = draw(st.lists(st.sampled_from(load_ontology().labs), min_size=1, unique_by=lambda entry: entry.key))
        labs += [make_lab(entry, day=day, place=draw(st.floats(-2, 9))) for entry in entries]
    return dataclasses.replace(make_patient(), labs=tuple(labs))


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "cumulative"])
@settings(max_examples=12, deadline=None)
@given(patient=patients(), variant=st.integers(0, 7))
def test_the_text_layer_agrees_with_the_facts(layout: Layout, patient: PatientFacts, variant: int) -> None:
    sheet = lab_sheets(patient)[-1]
    names = {result.key: result.name for result in sheet.results}
    text = pdf_text(lab_report_pdf(sheet, layout=layout, variant=variant))
    read = (read_letter if layout == "letter" else read_rows)(text, names=list(names.values()))
    day = max(lab.day for lab in patient.labs)
    labs = [lab for lab in patient.labs if lab.day == day]
    assert set(read) == {names[lab.key] for lab in labs}
    for lab in labs:
        found = read[names[lab.key]]
        assert found.value == lab.value
        assert found.unit == printed_unit(lab.unit)
        assert (found.low, found.high) == (lab.reference.low, lab.reference.high)
        assert found.flag in (lab.flag, "abnormal" if lab.flag != "normal" else "normal")


@settings(max_examples=12, deadline=None)
@given(patient=patients(), variant=st.integers(0, 7))
def test_the_cumulative_report_has_every_date(patient: PatientFacts, variant: int) -> None:
    sheets = lab_sheets(patient)
    names = {entry.key: entry.name[:1].upper() + entry.name[1:] for entry in load_ontology().labs}
    text = pdf_text(lab_report_pdf(sheets[-1], layout="cumulative", variant=variant))
    read = read_cumulative(text, names=list(names.values()))
    days = sorted({lab.day for lab in patient.labs})
    for key in {lab.key for lab in patient.labs}:
        values = {lab.day: lab.value for lab in patient.labs if lab.key == key}
        assert read[names[key]] == [values.get(day) for day in days]
    assert len(read) == len({lab.key for lab in patient.labs})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_report_is_the_same_bytes_every_time(layout: Layout) -> None:
    sheet = lab_sheets(make_patient())[-1]
    assert lab_report_pdf(sheet, layout=layout) == lab_report_pdf(sheet, layout=layout)
    assert lab_report_pdf(sheet, layout=layout) != lab_report_pdf(sheet, layout=layout, variant=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_long_report_goes_on_over_pages(layout: Layout) -> None:
    sheet = lab_sheets(make_patient())[0]
    rounds = -(-150 // len(sheet.results))
    copies = [
        dataclasses.replace(
            result, key=f"{result.key}-{number}", name=f"{result.name} {chr(97 + number // 26)}{chr(97 + number % 26)}"
        )
        for number in range(rounds)
        for result in sheet.results
    ]
    text = pdf_text(lab_report_pdf(dataclasses.replace(sheet, results=tuple(copies)), layout=layout))
    read = (read_letter if layout == "letter" else read_rows)(text, names=[copy.name for copy in copies])
    if layout == "cumulative":
        assert {copy.name: [copy.value] for copy in copies} == read_cumulative(text, names=[c.name for c in copies])
    else:
        assert {copy.name: copy.value for copy in copies} == {name: value.value for name, value in read.items()}
    assert re.search(r"page 2 of [2-9]|\b2/[2-9]\b", text.lower())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_report_names_the_synthetic_patient_and_says_what_it_is(layout: Layout) -> None:
    text = pdf_text(lab_report_pdf(lab_sheets(make_patient())[0], layout=layout))
    assert "OSLER-7-12" in text
    assert "synthetic document" in text.lower()


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(RequestError, match=r"Unknown layout 'tabel'.*Did you mean 'table'"):
        lab_report_pdf(lab_sheets(make_patient())[0], layout="tabel")  # type: ignore[arg-type]
