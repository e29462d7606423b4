"""Questions that need an image and a laboratory value: both are shown, or one of them alone.

The image shows a finding or not, the value is above its range or not; the answer
is yes only if both are so. Half of the answers are yes: of the others one half
lacks the finding and one half the value, so that neither alone tells enough.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from osler.evaluate.published import yes_or_no
from osler.evaluate.responder import Inquiry, blank_study
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import Case, Plan, Setting, right, shuffled
from osler.evaluate.sets.yes_no import yes_share
from osler.prepare.record_text import record_text
from osler.study import ClinicalEvent, Study
from osler.synth.facts import Exam, PatientFacts
from osler.weights.skills import Skill

QUESTION = "Does the X-ray show {finding}, and is the {lab} of the record above its reference range? Answer yes or no."
FINDINGS = ("pleural-effusion", "cardiomegaly")
"""Common enough to be there and not, so that the name alone tells nothing."""

LABS = ("c-reactive-protein", "white-cells", "creatinine", "nt-probnp")
CASES = 96
_LOOKED_AT = 3000
_TOKENS = 16
_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Both:
    """A film, a value of the record, and whether the finding is seen and the value high."""

    patient: PatientFacts
    exam: Exam
    finding: str
    event: ClinicalEvent
    seen: bool
    high: bool


class EhrImaging:
    """Yes or no, generated and by likelihood: image and record together, and each alone."""

    name = "ehr-imaging"
    title = "Questions that need an image and a laboratory value, synthetic"
    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (
        Measure(name="generated", field="generated"),
        Measure(name="likeliest", field="likeliest"),
        Measure(name="AUROC of yes", field="probability", kind="auroc"),
    )
    batch = 1

    def plan(self, setting: Setting) -> Plan:
        """Draws patients with a film and a laboratory value of the same week."""
        found = balanced_cases(CASES)
        cases = [
            Case(name=f"synthetic-{one.patient.number}-{one.exam.number}", patient=str(one.patient.number), content=one)
            for one in found
        ]
        notes = (
            "Synthetic patients of a seed kept for evaluation; half of the answers are yes.",
            "Image alone: no record is shown. Record alone: the image is blanked.",
        )
        return Plan(cases=shuffled(cases), absent="" if cases else "no patient with both", notes=notes)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a patient."""
        from osler.evaluate.synthetic import study_of
        from osler.prepare.finding_names import finding_names

        names = {entry.key: entry.name for entry in finding_names()}
        rows = []
        for case in cases:
            one: Both = case.content
            study = study_of(one.patient, [one.exam], events=(one.event,))
            question = QUESTION.format(finding=names[one.finding], lab=one.event.name)
            record = record_text(study, question=question).text
            bare = dataclasses.replace(study, events=())
            shown: dict[str, tuple[Study, str]] = {
                MODEL: (study, record),
                "image alone": (bare, ""),
                "record alone": (blank_study(study), record),
            }
            truth = one.seen and one.high
            word = "yes" if truth else "no"
            values: dict[str, dict[str, tuple[float, float]]] = {"generated": {}, "likeliest": {}, "probability": {}}
            said = ""
            for system, (view, told) in shown.items():
                inquiry = Inquiry(study=view, question=question, record=told)
                (text,) = setting.responder.ask([inquiry], max_tokens=_TOKENS)
                share = yes_share(setting.responder, view, question, record=told)
                said = text if system == MODEL else said
                values["generated"][system] = right(word, yes_or_no(text))
                values["likeliest"][system] = right(truth, share > 0.5)
                values["probability"][system] = (share, float(truth))
            values["generated"]["majority"] = values["likeliest"]["majority"] = (0.5, 1.0)
            rows.append(
                Row(
                    case=case.name,
                    patient=case.patient,
                    part=word,
                    values=values,
                    asked=question,
                    said=said,
                    truth=f"{word} (finding {one.seen}, value high {one.high})",
                )
            )
        return rows


def balanced_cases(count: int) -> list[Both]:
    """Draws cases of three kinds, one a patient: half with both, a quarter with each alone; fewer if some are rare."""
    found: dict[tuple[bool, bool], list[Both]] = {(True, True): [], (True, False): [], (False, True): []}
    wanted = {(True, True): count // 2, (True, False): count // 4, (False, True): count // 4}
    for kinds in _candidates():
        open_kinds = [kind for kind in kinds if len(found.get(kind, ())) < wanted.get(kind, 0)]
        if open_kinds:
            kind = max(open_kinds, key=lambda kind: wanted[kind] - len(found[kind]))
            found[kind].append(kinds[kind])
        if all(len(found[kind]) == number for kind, number in wanted.items()):
            break
    whole = min(len(found[True, True]) // 2, len(found[True, False]), len(found[False, True]))
    return [*found[True, True][: 2 * whole], *found[True, False][:whole], *found[False, True][:whole]]


def _candidates() -> Iterator[dict[tuple[bool, bool], Both]]:
    """What can be asked of each patient's first film, by whether the finding is seen and the value high."""
    from osler.evaluate.synthetic import held_out_patients

    for patient in held_out_patients(most=_LOOKED_AT):
        for exam in patient.exams:
            if exam.modality == "DX" and exam.region == "chest" and exam.acquisition.view in ("PA", "AP"):
                yield _askable(patient, exam)
                break


def _askable(patient: PatientFacts, exam: Exam) -> dict[tuple[bool, bool], Both]:
    from osler.synth.lab_events import lab_events
    from osler.synth.timeline import calendar_date

    day = calendar_date(exam.day)
    labs = sorted(patient.labs, key=lambda lab: (lab.day, lab.key))
    near = [
        event
        for event, lab in zip(lab_events(patient), labs, strict=True)
        if lab.key in LABS and event.date is not None and abs((event.date - day).days) <= _DAYS
    ]
    found: dict[tuple[bool, bool], Both] = {}
    turned = FINDINGS[patient.number % len(FINDINGS) :] + FINDINGS[: patient.number % len(FINDINGS)]
    for finding in turned:
        facts = [fact for fact in exam.findings if fact.key == finding]
        if any(fact.certainty == "possible" for fact in facts):
            continue
        seen = any(fact.visible for fact in facts)
        for event in near:
            one = Both(patient=patient, exam=exam, finding=finding, event=event, seen=seen, high=event.flag == "H")
            found.setdefault((seen, one.high), one)
    return found
