"""The mirror image of a patient: left and right swapped everywhere."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from osler.synth.anatomy import sites
from osler.synth.facts import Exam, FindingFact, PatientFacts, Side

_SIDES: dict[Side, Side] = {"left": "right", "right": "left"}
_PARTNERS = {"right-middle-lobe": "lingula", "lingula": "right-middle-lobe"}


@cache
def mirror_site(key: str) -> str:
    """The site on the other side; the key itself where there is none (a liver segment, a vertebra)."""
    known = {site.key for site in sites()}
    if key in _PARTNERS:
        return _PARTNERS[key]
    for here, there in (("left-", "right-"), ("right-", "left-")):
        if key.startswith(here) and there + key.removeprefix(here) in known:
            return there + key.removeprefix(here)
    return key


def mirror(patient: PatientFacts) -> PatientFacts:
    """Swaps left and right of sides, sites, positions (x) and the whole body; doing it twice changes nothing.

    A body of negative ``shape`` is the mirror image of that of the positive one: its liver lies on the left.
    """
    anatomy = replace(patient.anatomy, shape=-patient.anatomy.shape)
    return replace(patient, anatomy=anatomy, exams=tuple(_mirror_exam(exam) for exam in patient.exams))


def _mirror_exam(exam: Exam) -> Exam:
    findings = tuple(_mirror_finding(finding) for finding in exam.findings)
    return replace(exam, findings=findings, side=_SIDES.get(exam.side, exam.side))


def _mirror_finding(finding: FindingFact) -> FindingFact:
    center = finding.center_mm
    return replace(
        finding,
        side=_SIDES.get(finding.side, finding.side),
        site=mirror_site(finding.site),
        center_mm=None if center is None else (0.0 - center[0], center[1], center[2]),
    )
