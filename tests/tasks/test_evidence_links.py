"""What a sentence rests on, by names and numbers; what contradicts the study is said and rests on nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from osler.prepare import Preprocess, prepare_images
from osler.study import Box3D, ClinicalEvent, FoundBox, Study, TimePoint, Volume
from osler.tasks.evidence_links import Linked, link
from tests.tasks.volumes import straight

_CONTRACT = Preprocess(image_size=32, image_tokens=4, sampling="equidistant")
_CRP = ClinicalEvent(
    kind="observation", name="C reactive protein", code="1988-5", system="LOINC", value=80.4, unit="mg/L",
    date=dt.date(2020, 3, 2), source="bundle.json#7",
)  # fmt: skip


def chest() -> Volume:
    return dataclasses.replace(straight(), body_part="CHEST")


def linked(sentence: str, *, study: Study | None = None, boxes: tuple[FoundBox, ...] = ()) -> Linked:
    study = study or Study(timepoints=(TimePoint(series=(chest(),)),), events=(_CRP,))
    return link(sentence, study=study, prepared=prepare_images(study, preprocess=_CONTRACT), boxes=boxes)


def test_a_named_slice_is_the_slice_of_the_prompt() -> None:
    found = linked("There is a nodule on slice 4.")
    (slice_four,) = [entry for entry in found.evidence if entry.kind == "slice"]
    assert (slice_four.slice, slice_four.file, slice_four.sop_uid) == (3, "3.dcm", "1.2.3.3")
    assert linked("A nodule on slice 11.").contradictions == ("It names slice 11, but 10 slices were shown.",)


def test_modality_plane_and_region_are_those_of_the_series() -> None:
    for sentence in ("This CT is of good quality.", "Axial images show nothing.", "The lungs are clear."):
        assert linked(sentence).evidence, sentence
    assert linked("This chest X-ray is normal.").contradictions == ("It speaks of X-ray, but the study is CT.",)
    assert "coronal plane" in linked("Coronal slices show it.").contradictions[0]
    assert linked("The menisci are intact.").contradictions == (
        "It speaks of the knee, but the files say that they show the chest.",
    )


def test_a_contradicted_sentence_rests_on_nothing() -> None:
    assert linked("The axial CT shows a torn meniscus.").evidence == ()


@pytest.mark.parametrize("sentence", ["CRP is 80 mg/L.", "C-reactive protein of 80.4.", "A CRP of 12, then 82 mg/L."])
def test_a_laboratory_value_is_found_within_its_tolerance(sentence: str) -> None:
    (event,) = [entry for entry in linked(sentence).evidence if entry.kind == "event"]
    assert (event.code, event.value, event.unit, event.date) == ("1988-5", 80.4, "mg/L", dt.date(2020, 3, 2))
    assert event.file == "bundle.json#7"


def test_another_value_contradicts_the_record() -> None:
    assert linked("CRP is 12 mg/L.").contradictions == (
        "It gives 12 for C reactive protein, but the record has 80.4 mg/L.",
    )
    assert linked("CRP is raised.").contradictions == ()  # no number, nothing to check
    assert linked("LDH is 12.").evidence == ()


def dated(*dates: dt.date | None) -> Study:
    points = tuple(
        TimePoint(series=(dataclasses.replace(chest(), series=f"1.2.{n}"),), date=date) for n, date in enumerate(dates)
    )
    return Study(timepoints=points)


def test_a_prior_is_evidence_only_if_there_is_a_dated_one() -> None:
    sentence = "Unchanged compared with the prior."
    two = dated(dt.date(2019, 1, 1), dt.date(2020, 1, 1))
    (prior,) = [entry for entry in linked(sentence, study=two).evidence if entry.kind == "prior"]
    assert (prior.date, prior.series) == (dt.date(2019, 1, 1), "1.2.0")
    assert linked(sentence).contradictions == ("It speaks of an earlier study, but none was given.",)
    assert "have no dates" in linked(sentence, study=dated(None, None)).contradictions[0]
    assert linked("No prior study is available for comparison.").contradictions == ()


def test_a_named_date_must_be_one_of_the_studies() -> None:
    two = dated(dt.date(2019, 1, 1), dt.date(2020, 1, 1))
    assert linked("Smaller than the previous study of 2019-01-01.", study=two).contradictions == ()
    wrong = linked("Smaller than the previous study of 2018-05-05.", study=two)
    assert wrong.contradictions == ("It speaks of a study of 2018-05-05, but there is none of that day.",)


def test_a_box_is_evidence_and_its_size_is_checked() -> None:
    box = FoundBox(label="nodule", series="1.2.3", score=0.9, patient=Box3D(low=(0, 0, 0), high=(10, 12, 8)))
    (evidence,) = [entry for entry in linked("A nodule of 11 mm.", boxes=(box,)).evidence if entry.kind == "box"]
    assert evidence.patient == box.patient
    assert linked("A nodule of 3 cm.", boxes=(box,)).contradictions == ("It gives 30 mm, but the box spans 12 mm.",)
    assert "the images span" in linked("A mass of 900 mm.").contradictions[0]


def test_a_sentence_about_nothing_in_the_study_has_no_evidence() -> None:
    assert linked("Clinical correlation is advised.") == Linked()
