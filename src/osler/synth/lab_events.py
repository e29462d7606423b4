"""Laboratory values of synthetic patients as entries of a record."""

from __future__ import annotations

from osler.study import ClinicalEvent
from osler.synth.facts import Lab, PatientFacts
from osler.synth.ontology import load_ontology
from osler.synth.timeline import calendar_date, sentence_case

_FLAGS = {"low": "L", "normal": "N", "high": "H"}


def lab_events(patient: PatientFacts) -> tuple[ClinicalEvent, ...]:
    """The laboratory values as entries of a record, oldest first."""
    tests = {entry.key: entry for entry in load_ontology().labs}
    return tuple(
        _lab_event(lab, name=sentence_case(tests[lab.key].name), code=tests[lab.key].loinc)
        for lab in sorted(patient.labs, key=lambda lab: (lab.day, lab.key))
    )


def _lab_event(lab: Lab, *, name: str, code: str) -> ClinicalEvent:
    return ClinicalEvent(
        kind="observation",
        name=name,
        date=calendar_date(lab.day),
        code=code,
        system="LOINC" if code else "",
        value=lab.value,
        unit=lab.unit,
        reference=lab.reference,
        flag=_FLAGS[lab.flag],
    )
