from __future__ import annotations

import pytest

from osler.readers.document_items import has_check_digit, known_test
from osler.readers.document_names import codes_of_tests, lab_tests
from osler.readers.document_units import ucum_of
from osler.synth.ontology import load_ontology


def test_every_code_has_a_right_check_digit() -> None:
    assert [code for code in codes_of_tests() if not has_check_digit(code)] == []


def test_the_tests_of_the_generator_are_known_by_name_and_unit() -> None:
    for lab in load_ontology().labs:
        test = known_test(lab.name, reading="text layer")
        assert test is not None, lab.name
        assert test.loinc("" if lab.unit.startswith("{") else lab.unit) == lab.loinc


@pytest.mark.parametrize(
    ("name", "code"),
    [("Hämoglobin", "718-7"), ("HGB", "718-7"), ("GOT (AST)", "1920-8"), ("S-Natrium", "2951-2"), ("CA 125", "10334-1"),
     ("Kreatinin i.S.", "2160-0"), ("gamma-GT", "2324-2"), ("Vitamin B12", "2132-9")],
)  # fmt: skip
def test_synonyms(name: str, code: str) -> None:
    test = known_test(name, reading="text layer")
    assert test is not None
    assert test.mass == code


@pytest.mark.parametrize("name", ["Urine creatinine", "Hemoglobln", "", "5", "Bilirubin delta"])
def test_other_names_have_no_code(name: str) -> None:
    assert known_test(name, reading="text layer") is None


def test_only_recognized_text_is_corrected_and_no_short_name() -> None:
    assert known_test("Hemoglobln", reading="OCR") is lab_tests()["hemoglobin"]
    assert known_test("Na2", reading="OCR") is None
    assert known_test("Hemoglobin A2", reading="OCR") is None


def test_units_choose_the_code() -> None:
    glucose = lab_tests()["glucose"]
    assert (glucose.loinc("mg/dL"), glucose.loinc("mmol/L")) == ("2345-7", "14749-6")
    assert lab_tests()["neutrophils"].loinc("%") == "770-8"
    assert lab_tests()["leukocytes"].loinc("%") == ""


@pytest.mark.parametrize(
    ("printed", "ucum"),
    [("10^3/µL", "10*3/uL"), ("10³/μl", "10*3/uL"), ("x10E9/L", "10*9/L"), ("µmol/l", "umol/L"), ("mval/l", "meq/L"),
     ("ml/min/1,73m²", "mL/min/{1.73_m2}"), ("mIU/L", "m[IU]/L"), ("mm/1h", "mm/h"), ("%", "%"), ("/nl", "10*3/uL"),
     ("%.", "%"), ("mg/dL.", "mg/dL"), ("mmolL", "mmol/L"), ("mgdL", "mg/dL")],
)  # fmt: skip
def test_units(printed: str, ucum: str) -> None:
    assert ucum_of(printed) == ucum


@pytest.mark.parametrize("text", ["H", "L", "high", "4.2", "and/or", "", ".", "H."])
def test_what_is_no_unit(text: str) -> None:
    assert ucum_of(text) is None
