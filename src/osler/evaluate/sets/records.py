"""Questions over FHIR records with answers known from the raw JSON."""

from __future__ import annotations

from collections.abc import Sequence

from osler.errors import FileFormatError
from osler.evaluate.record_questions import questions
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import Case, Plan, Setting, shuffled
from osler.readers import open_study
from osler.study import Study
from osler.tasks.ehr import answer_from_events
from osler.weights.skills import Skill

_LEFT = "(left to the model)"


class RecordQuestions:
    """What `osler ehr` answers from the events themselves; the weights have no part in it."""

    name = "ehr-questions"
    title = "Questions over FHIR records"
    skills: frozenset[Skill] = frozenset()
    measures = (
        Measure(name="accuracy", field="right"),
        Measure(name="mean over kinds", field="right", over="parts"),
    )
    batch = 1

    def plan(self, setting: Setting) -> Plan:
        """Takes the patients that the planner of answers was not written on, or all of them."""
        files = sorted((setting.root / "fhir").glob("*.json"))
        # Every other record was looked at when the planner was written.
        kept = files if setting.split == "all" else files[1::2]
        cases = [Case(name=path.name, patient=path.name, content=path) for path in kept]
        notes = (
            "Answers are computed from the raw JSON by code that shares nothing with Osler's reader.",
            "Majority: always the refusal, the commonest single right answer.",
        )
        return Plan(cases=shuffled(cases), absent="" if cases else "not found: fhir/*.json", notes=notes)

    def open(self, setting: Setting, case: Case) -> Study:
        """Reads the record."""
        return open_study(case.content)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a question."""
        rows = []
        for case in cases:
            study = case.opened or self.open(setting, case)
            try:
                asked = questions(case.content)
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise FileFormatError(
                    f"{case.name}: no questions can be made of it ({type(error).__name__}: {error}).",
                    allowed="A Synthea R4 bundle of one patient.",
                ) from error
            for number, one in enumerate(asked):
                answer = answer_from_events(study, one.text)
                said = _LEFT if answer is None else answer.text
                refusal = one.right("The record does not say.")
                rows.append(
                    Row(
                        case=f"{case.name}#{number}",
                        patient=case.patient,
                        group="wording held out" if one.held_out else "wording known",
                        part=one.kind,
                        values={"right": {MODEL: (float(one.right(said)), 1.0), "majority": (float(refusal), 1.0)}},
                        asked=one.text,
                        said=said,
                        truth=one.kind,
                    )
                )
        return rows
