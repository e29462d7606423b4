"""Sections of reports, in the layout of MIMIC-CXR; the reports are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import FileFormatError
from osler.evaluate.sets.mimic_sections import read_sections, report_sections

REPORT = """\
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)
 
 INDICATION:  ___ year old with cough  // pneumonia?
 
 TECHNIQUE:  Chest PA and lateral
 
 COMPARISON:  ___.
 
 FINDINGS: 
 
 The lungs are clear.  There is no
 pleural effusion.  Note: the heart is normal.
 
 IMPRESSION: 
 
 1.  No acute process.
 
 RECOMMENDATION(S):  None.
"""  # noqa: W291, W293


def test_a_report_is_parted_at_its_headings() -> None:
    found = report_sections(REPORT)
    assert found["indication"] == "___ year old with cough // pneumonia?"
    assert found["findings"] == "The lungs are clear. There is no pleural effusion. Note: the heart is normal."
    assert found["impression"] == "1. No acute process."
    assert found["examination"] == "CHEST (PA AND LAT)"


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("REASON FOR EXAM", "indication"),
        ("CLINICAL INDICATION", "indication"),
        ("CONCLUSION", "impression"),
        ("FINDINGS AND IMPRESSION", "impression"),
        ("FINDINGS/IMPRESSION", "impression"),
        ("PORTABLE AP CHEST RADIOGRAPH", "findings"),
        ("CHEST, PA AND LATERAL", "findings"),
        ("CLINICAL HISTORY", "history"),
        ("COMPARISON CHEST RADIOGRAPH", "comparison"),
        ("WET READ", "wet read"),
    ],
)
def test_headings_have_one_name_each(heading: str, kind: str) -> None:
    assert report_sections(f" FINAL REPORT\n {heading}:  Words.\n") == {kind: "Words."}


def test_the_last_section_that_is_not_empty_counts() -> None:
    text = " CHEST, TWO VIEWS:\n \n INDICATION: Cough.\n FINDINGS: Old.\n FINDINGS: New.\n FINDINGS:\n IMPRESSION:\n"
    assert report_sections(text) == {"indication": "Cough.", "findings": "New."}


def test_a_report_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert read_sections(tmp_path / "s1.txt") == {}
    (tmp_path / "s1.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match=r"The report s1.txt cannot be read"):
        read_sections(tmp_path / "s1.txt")
