"""Reports of synthetic patients, read back by an independent reader: which facts are right."""

from __future__ import annotations

from collections.abc import Sequence

from osler.evaluate.responder import blank_study
from osler.evaluate.rows import MODEL, Measure, Pair, Row
from osler.evaluate.sets.types import Case, Plan, Setting, shuffled
from osler.prepare.finding_names import findings_for
from osler.synth.facts import Exam
from osler.synth.read_back import CORE, Factuality, ReadFact, ReadFacts, factuality, read_report
from osler.tasks.report import report
from osler.weights.skills import Skill

_CASES = 60
_MODALITIES = ("DX", "CT")


class ReportFacts:
    """F1 of findings, sides, sizes and denials that a report states, pooled over reports."""

    name = "report-facts"
    title = "Facts of written reports, synthetic"
    skills: frozenset[Skill] = frozenset({"reports"})
    measures = (
        Measure(name="F1 of core facts", field="core"),
        Measure(name="F1 of findings", field="finding"),
        Measure(name="F1 of denials", field="negation"),
    )
    batch = 1

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def plan(self, setting: Setting) -> Plan:
        """Takes chest X-rays and chest CT, each patient's first, as many of each."""
        from osler.evaluate.synthetic import held_out_patients
        from osler.synth.patient_set import draw_with_reports

        left = dict.fromkeys(_MODALITIES, _CASES // len(_MODALITIES))
        cases = []
        for patient in held_out_patients(most=20 * _CASES):
            for exam in patient.exams:
                if exam.region == "chest" and left.get(exam.modality, 0) and exam.findings:
                    left[exam.modality] -= 1
                    name = f"synthetic-{patient.number}-{exam.number}"
                    cases.append(Case(name=name, patient=str(patient.number), content=(patient, exam)))
                    _, texts = draw_with_reports(seed=patient.seed, number=patient.number)
                    self._texts[name] = texts[exam.number]
                    break
            if not any(left.values()):
                break
        notes = (
            "Synthetic patients of a seed kept for evaluation. Core facts: finding, denial, side, size, change.",
            "Another patient: a true report, but of another patient with the same modality.",
            "The reader alone: the true report read back; what it misses, no report can win.",
            "Everything denied: a report without an image, that nothing which such an exam may show is there.",
        )
        return Plan(cases=shuffled(cases), notes=notes)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a report."""
        from osler.evaluate.synthetic import study_of

        session = setting.responder.session
        assert session is not None
        rows = []
        for case in cases:
            patient, exam = case.content
            study = study_of(patient, [exam])
            written = report(session, study).text
            texts = {
                MODEL: written,
                "blanked": report(session, blank_study(study)).text,
                "another patient": self._other(case),
                "the reader alone": self._texts[case.name],
            }
            agreements = {system: factuality(read_report(text), exam.findings) for system, text in texts.items()}
            agreements["everything denied"] = factuality(all_denied(exam), exam.findings)
            values = {
                field: {system: _f1(agreement, kinds) for system, agreement in agreements.items()}
                for field, kinds in (("core", CORE), ("finding", ("finding",)), ("negation", ("negation",)))
            }
            rows.append(
                Row(
                    case=case.name,
                    patient=case.patient,
                    group=f"{exam.modality} {exam.region}",
                    values=values,
                    asked="report",
                    said=written,
                    truth=self._texts[case.name],
                )
            )
        return rows

    def _other(self, case: Case) -> str:
        """The report of the next case in order of names; wraps around."""
        names = sorted(self._texts)
        return self._texts[names[(names.index(case.name) + 1) % len(names)]]


def all_denied(exam: Exam) -> ReadFacts:
    """What a report says that denies every finding which exams of this kind may show."""
    known = findings_for(modalities=[exam.modality], regions=[exam.region])
    return ReadFacts(findings=tuple(ReadFact(key=name.key, certainty="absent") for name in known))


def _f1(agreement: Factuality, kinds: Sequence[str]) -> Pair:
    """Twice the right ones over those in the truth and those read: sums of these give the pooled F1."""
    scores = [agreement.score(kind) for kind in kinds]
    return (
        2.0 * sum(score.right for score in scores),
        float(sum(score.truth + score.read for score in scores)),
    )
