"""Patients made by hand from the ontology's own entries, for tests that need every kind of fact at once."""

from __future__ import annotations

from osler.study import ReferenceRange
from osler.synth.facts import (
    Acquisition,
    Anatomy,
    Condition,
    Exam,
    FindingFact,
    Flag,
    Lab,
    Medication,
    PatientFacts,
)
from osler.synth.ontology import LabEntry, load_ontology

ANATOMY = Anatomy(
    height_cm=168,
    weight_kg=71.5,
    half_width_mm=172,
    half_depth_mm=118,
    trunk_mm=560,
    head_mm=(68, 86, 66),
    knee_mm=78,
    shape=99,
)
DAYS = (0, 45, 210, 400)


def make_lab(entry: LabEntry, *, day: int, place: float) -> Lab:
    """A value ``place`` reference widths above the lower limit: outside the range below 0 and above 1."""
    low, high = entry.female
    start = low or 0.0
    width = (high if high is not None else 2 * start) - start or 1.0
    value = round(max(start + place * width, 0.0), entry.decimals)
    flag: Flag = "normal"
    if low is not None and value < low:
        flag = "low"
    if high is not None and value > high:
        flag = "high"
    return Lab(
        key=entry.key, day=day, value=value, unit=entry.unit, reference=ReferenceRange(low=low, high=high), flag=flag
    )


def make_exam(number: int, *, day: int, size: int) -> Exam:
    """A CT of the chest with a nodule of a given size, and one finding denied."""
    finding = next(entry for entry in load_ontology().findings if entry.key == "pulmonary-nodule")
    other = next(entry for entry in load_ontology().findings if entry.key != "pulmonary-nodule")
    prior = size - 4 if number else None
    nodule = FindingFact(
        key=finding.key,
        lesion=1,
        certainty="present",
        side="right",
        site=finding.sites[0],
        size_mm=size,
        axes_mm=(size, size, size),
        center_mm=(-80.0, 0.0, 90.0),
        change="first" if prior is None else "larger",
        change_percent=None if prior is None else round(100 * 4 / prior),
        prior_size_mm=prior,
    )
    acquisition = Acquisition(
        device="CT-64",
        rows=64,
        columns=64,
        slices=12,
        pixel_mm=5.0,
        slice_mm=5.0,
        spacing_mm=5.0,
        kvp=120,
        mas=180,
        kernel="soft",
        contrast="none",
        study_uid=f"2.25.1000{number}",
        series_uid=f"2.25.2000{number}",
    )
    return Exam(
        number=number,
        day=day,
        protocol="ct-chest-plain",
        modality="CT",
        region="chest",
        indication=load_ontology().indications[0].key,
        acquisition=acquisition,
        findings=(nodule, FindingFact(key=other.key, lesion=0, certainty="absent")),
        compared=number - 1 if number else None,
    )


def make_patient(*, seed: int = 7, number: int = 12) -> PatientFacts:
    """A patient with every test of the ontology on four days, every diagnosis and every drug."""
    ontology = load_ontology()
    labs = [
        make_lab(entry, day=day, place=(-0.4, 0.3, 0.8, 1.7)[(place + visit) % 4])
        for visit, day in enumerate(DAYS)
        for place, entry in enumerate(ontology.labs)
    ]
    return PatientFacts(
        seed=seed,
        number=number,
        sex="female",
        age=63,
        anatomy=ANATOMY,
        conditions=tuple(
            Condition(key=entry.key, onset=300 * place - 900) for place, entry in enumerate(ontology.conditions[:4])
        ),
        exams=tuple(make_exam(visit, day=day, size=8 + 4 * visit) for visit, day in enumerate(DAYS)),
        labs=tuple(labs),
        medications=tuple(
            Medication(key=entry.key, start=40 * place - 20, stop=None if place % 2 else 40 * place + 30)
            for place, entry in enumerate(ontology.medications[:6])
        ),
    )
