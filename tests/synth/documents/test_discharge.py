"""Discharge letters state what the facts state, up to the day of the letter."""

from __future__ import annotations

import pytest

from osler.errors import RequestError
from osler.synth.documents.discharge import LetterStyle, discharge_letter_pdf
from osler.synth.documents.phrases import exam_sentence, finding_phrase
from osler.synth.facts import FindingFact
from osler.synth.ontology import load_ontology
from osler.synth.timeline import build_timeline, calendar_date
from tests.synth.documents.lab_text import pdf_text
from tests.synth.documents.people import make_patient

STYLES = ("prose", "form")


def flat(pdf: bytes) -> str:
    return " ".join(pdf_text(pdf).split())


@pytest.mark.parametrize("style", STYLES)
def test_a_letter_holds_diagnoses_drugs_imaging_and_labs(style: LetterStyle) -> None:
    patient = make_patient()
    text = flat(discharge_letter_pdf(patient, style=style))
    timeline = build_timeline(patient)
    last = patient.exams[-1].day
    codes = {entry.key: entry.icd10 for entry in load_ontology().conditions}
    known = [span for span in timeline.conditions if span.start <= last]
    assert known
    for span in known:
        assert span.name in text
        assert codes[span.key] in text
    for span in timeline.medications:
        assert span.name in text
    for exam in patient.exams:
        assert exam_sentence(exam) in text
        assert f"{calendar_date(exam.day):%b %Y}" in text
    for lab in patient.labs:
        if lab.flag != "normal":
            mark = "H" if lab.flag == "high" else "L"
            decimals = next(entry.decimals for entry in load_ontology().labs if entry.key == lab.key)
            assert f"{lab.value:.{decimals}f} {mark}" in text


@pytest.mark.parametrize("style", STYLES)
def test_an_earlier_letter_knows_nothing_of_later_days(style: LetterStyle) -> None:
    patient = make_patient()
    text = flat(discharge_letter_pdf(patient, exam=1, style=style))
    assert exam_sentence(patient.exams[1]) in text
    assert exam_sentence(patient.exams[2]) not in text
    later = [c for c in build_timeline(patient).conditions if c.start > patient.exams[1].day]
    assert not any(span.name in text for span in later)
    assert f"{calendar_date(patient.exams[2].day):%d.%m.%y}" not in text


def test_a_letter_is_the_same_bytes_every_time() -> None:
    assert discharge_letter_pdf(make_patient()) == discharge_letter_pdf(make_patient())


def test_an_exam_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match=r"Patient 12 has no exam 9\. Exams 0 to 3"):
        discharge_letter_pdf(make_patient(), exam=9)


@pytest.mark.parametrize(
    ("fact", "phrase"),
    [
        (FindingFact(key="pulmonary-nodule", lesion=0, certainty="absent"), "no pulmonary nodule"),
        (
            FindingFact(
                key="pulmonary-nodule",
                lesion=1,
                certainty="probable",
                side="left",
                site="left-lower-lobe",
                size_mm=9,
                change="smaller",
                change_percent=-25,
                prior_size_mm=12,
            ),
            "probable pulmonary nodule (left lower lobe), 9 mm, smaller (12 mm before, -25%)",
        ),
        (
            FindingFact(
                key="pleural-effusion", lesion=1, certainty="present", side="both", severity="mild", change="new"
            ),
            "mild bilateral pleural effusion, new",
        ),
        (
            FindingFact(key="pleural-effusion", lesion=1, certainty="present", side="right", change="resolved"),
            "right pleural effusion, no longer seen",
        ),
    ],
)
def test_a_phrase_says_every_part_of_a_finding(fact: FindingFact, phrase: str) -> None:
    assert finding_phrase(fact) == phrase
