"""Whether files are of one patient: by numbers of one issuer, by birth date, and only by those."""

from __future__ import annotations

import pytest

from osler.readers.identity import birth_key, compare, dicom_identity, fhir_identity, groups, hashed
from tests.readers.make_fhir import patient

ROE = fhir_identity(patient("P-1"))


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (fhir_identity(patient("P-1", birth="1999-01-01")), "same"),
        (fhir_identity(patient("P-2")), "different"),
        (fhir_identity(patient("P-2", system="urn:other")), "cannot tell"),
        (fhir_identity(patient("P-1", system="urn:other")), "cannot tell"),
        (fhir_identity(patient("P-2", system="urn:other", birth="1971-01-01")), "different"),
        (fhir_identity(patient("P-2", system="urn:other", birth="1960")), "cannot tell"),
        (dicom_identity(hashed("P-1", "")), "same"),
        (dicom_identity(hashed("P-1", "urn:test:mrn")), "same"),
        (dicom_identity(hashed("Roe^Jane", "19600502")), "same"),
        (dicom_identity(hashed("P-9", "")), "cannot tell"),
        (dicom_identity(hashed("P-9", ""), birth=birth_key("19710101")), "different"),
        (dicom_identity(""), "cannot tell"),
        (fhir_identity({}), "cannot tell"),
    ],
)
def test_verdicts(other: object, verdict: str) -> None:
    assert compare(ROE, other) == compare(other, ROE) == verdict  # type: ignore[arg-type]


def test_two_dicom_numbers_are_two_patients() -> None:
    assert compare(dicom_identity("a"), dicom_identity("b")) == "different"
    assert len(groups([dicom_identity("a"), dicom_identity("b"), dicom_identity("a")])) == 2


def test_nothing_readable_is_kept() -> None:
    shown = repr((ROE, ROE.key))
    assert not any(word in shown for word in ("P-1", "Roe", "Jane", "1960", "urn:test"))
    assert ROE.key == fhir_identity(patient("P-1")).key


@pytest.mark.parametrize("text", ["", "1960", "1960-05", "unknown", "196005", "1960-05-0x"])
def test_part_of_a_birth_date_is_no_birth_date(text: str) -> None:
    assert birth_key(text) == ""
