"""Tests of the ontology: its references resolve, its codes carry right check digits."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from importlib.resources import files

import pytest
from pydicom.sr._concepts_dict import concepts

from osler.errors import ModelError
from osler.synth.ontology import load_ontology, problems
from osler.synth.ontology.load import _entries, _finding
from tests.shared_data import SHARED_DATA, needs_shared_data

# Dihedral group tables of the Verhoeff scheme, SNOMED CT Release File Specifications, 5.5 (check digit).
_TIMES = [
    [
        (a + b) % 5 if a < 5 and b < 5 else 5 + (a + b) % 5 if a < 5 else 5 + (a - 5 - b) % 5 if b < 5 else (a - b) % 5
        for b in range(10)
    ]
    for a in range(10)
]
_PERMUTED = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]


def verhoeff_is_right(code: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(code)):
        value = int(digit)
        for _ in range(place % 8):
            value = _PERMUTED[value]
        check = _TIMES[check][value]
    return check == 0


def luhn_is_right(code: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(code.replace("-", ""))):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def test_check_digit_schemes_know_right_from_wrong():
    assert verhoeff_is_right("73211009")
    assert not verhoeff_is_right("73211008")
    assert luhn_is_right("2160-0")
    assert not luhn_is_right("2160-1")


def test_all_references_resolve():
    assert problems(load_ontology()) == []


def test_ontology_is_as_large_as_promised():
    ontology = load_ontology()
    assert len(ontology.findings) >= 120
    assert len(ontology.protocols) >= 14
    assert len(ontology.labs) >= 35
    groups = {group for finding in ontology.findings for group in finding.prevalence}
    assert groups == {protocol.group for protocol in ontology.protocols}


@pytest.mark.parametrize("kind", ["findings", "conditions"])
def test_snomed_codes_carry_their_check_digit(kind):
    codes = [entry.snomed for entry in getattr(load_ontology(), kind) if entry.snomed]
    assert codes
    assert [code for code in codes if not verhoeff_is_right(code)] == []


def test_loinc_codes_carry_their_check_digit():
    codes = [lab.loinc for lab in load_ontology().labs] + [p.loinc for p in load_ontology().protocols if p.loinc]
    assert [code for code in codes if not luhn_is_right(code)] == []


def test_other_codes_have_their_form():
    ontology = load_ontology()
    assert all(re.fullmatch(r"(RID\d+)?", finding.radlex) for finding in ontology.findings)
    assert all(re.fullmatch(r"[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?", condition.icd10) for condition in ontology.conditions)
    assert all(re.fullmatch(r"[A-Z]\d\d[A-Z]{2}\d\d", drug.atc) for drug in ontology.medications)
    assert all(re.fullmatch(r"\d*", drug.rxnorm) for drug in ontology.medications)


def every_code() -> set[tuple[str, str, str]]:
    """System, code and key of all codes."""
    o = load_ontology()
    return {
        *(("icd10cm", condition.icd10, condition.key) for condition in o.conditions),
        *(("snomed", entry.snomed, entry.key) for entry in (*o.findings, *o.conditions) if entry.snomed),
        *(("radlex", finding.radlex, finding.key) for finding in o.findings if finding.radlex),
        *(("loinc", entry.loinc, entry.key) for entry in (*o.labs, *o.protocols) if entry.loinc),
        *(("rxnorm", drug.rxnorm, drug.key) for drug in o.medications if drug.rxnorm),
        *(("atc", drug.atc, drug.key) for drug in o.medications),
    }


def checked_codes() -> list[dict[str, str]]:
    text = (files("osler.synth.ontology") / "codes.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def test_every_code_says_what_it_was_checked_against():
    rows = checked_codes()
    assert {(row["system"], row["code"], row["used_for"]) for row in rows} == every_code()
    assert len(rows) == len(every_code())
    known = {"icd-10-cm-2026", "pydicom", "synthea", "cpic", "labunits", "public-lists", "none"}
    assert {row["checked_against"] for row in rows} <= known
    assert all(bool(row["meaning"]) == (row["checked_against"] != "none") for row in rows)
    unchecked = {row["used_for"] for row in rows if row["checked_against"] == "none"}
    assert unchecked == {"synovitis"}


def test_snomed_codes_mean_in_pydicom_what_they_are_used_for():
    meanings: dict[str, set[str]] = {}
    for codes in concepts["SCT"].values():
        for code, (meaning, _) in codes.items():
            meanings.setdefault(code, set()).add(meaning)
    rows = [row for row in checked_codes() if row["checked_against"] == "pydicom"]
    assert len(rows) > 20
    assert [row["code"] for row in rows if row["meaning"] not in meanings[row["code"]]] == []


@needs_shared_data
def test_loinc_codes_of_synthea_records_have_the_same_units():
    units: dict[str, set[str]] = {}
    for path in sorted((SHARED_DATA / "fhir").glob("*.json"))[:6]:
        for entry in json.loads(path.read_text())["entry"]:
            quantity = entry["resource"].get("valueQuantity")
            if quantity:
                units.setdefault(entry["resource"]["code"]["coding"][0]["code"], set()).add(quantity.get("code"))
    both = [lab for lab in load_ontology().labs if lab.loinc in units]
    assert len(both) >= 8
    assert [lab.key for lab in both if units[lab.loinc] != {lab.unit}] == []


def test_codes_are_not_given_twice():
    ontology = load_ontology()
    for codes in (
        [lab.loinc for lab in ontology.labs],
        [drug.rxnorm for drug in ontology.medications if drug.rxnorm],
        [finding.snomed for finding in ontology.findings if finding.snomed],
    ):
        assert sorted(codes) == sorted(set(codes))


def test_every_group_has_an_indication_for_anyone_on_any_exam():
    ontology = load_ontology()
    for group in {protocol.group for protocol in ontology.protocols}:
        assert any(group in i.groups and not i.condition and i.when == "any" for i in ontology.indications), group


def test_every_prevalence_names_a_paper_or_says_assumed():
    for finding in load_ontology().findings:
        for entry in finding.prevalence.values():
            assert entry.source == "assumed" or re.search(r"(19|20)\d\d", entry.source)
            assert entry.basis or entry.source != "assumed", f"{finding.key}: say what was looked for"
            assert "not looked for" not in entry.basis
            assert len(entry.percent) == 4
            assert all(0 <= value < 100 for value in entry.percent)


def test_every_prevalence_of_a_condition_names_a_paper():
    drawn = [condition for condition in load_ontology().conditions if any(condition.percent)]
    assert len(drawn) > 30
    assert [condition.key for condition in drawn if not re.search(r"(19|20)\d\d", condition.source)] == []


def test_reference_limits_rise():
    for lab in load_ontology().labs:
        for low, high in (lab.female, lab.male):
            assert low is not None or high is not None
            assert low is None or high is None or low < high


def test_a_name_that_resolves_nowhere_is_told():
    ontology = load_ontology()
    finding = replace(ontology.findings[0], diagnosis="no-such-condition")
    found = problems(replace(ontology, findings=(finding, *ontology.findings[1:])))
    assert found == [f"{finding.key} names 'no-such-condition', which does not exist"]


def test_a_damaged_entry_is_told(tmp_path, monkeypatch):
    (tmp_path / "broken.toml").write_text('[nodule]\nprevalence = {}\nsties = ["liver-segment-1"]\n')
    monkeypatch.setattr("osler.synth.ontology.load.files", lambda package: tmp_path)
    with pytest.raises(ModelError, match=r"broken\.toml, entry 'nodule': unknown field 'sties'"):
        list(_entries("broken", build=_finding, every_site=()))
