"""Words of questions and records."""

from __future__ import annotations

import pytest

from osler.prepare.clinical_terms import content_words, load_terms, named_observations, stem, usual, without_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Has the HbA1c fallen?", ["hba1c"]),
        ("hemoglobin A1c", ["hemoglobin a1c"]),
        ("hemoglobin", ["hemoglobin"]),
        ("LDL and HDL", ["ldl", "hdl"]),
        ("systolic blood pressure", ["systolic blood pressure"]),
        ("white blood cell counts", ["white blood cell count"]),
        ("naproxen", []),
    ],
)
def test_the_longest_name_wins(text: str, names: list[str]) -> None:
    assert [name for name, _codes in named_observations(text)] == names


def test_words() -> None:
    assert usual("Flu shot for hepatitis A") == "influenza shot for hep-a"
    assert content_words("Does the patient have allergies?") == {"allergy"}
    assert (stem("sinusitis"), stem("pulses"), stem("illness")) == ("sinusitis", "pulse", "illness")
    assert without_names("last white blood cell count value") == "last value"


def test_no_name_means_two_things() -> None:
    names = list(load_terms().observations)
    assert len(names) == len(set(names))
    assert all(codes for codes in load_terms().observations.values())
