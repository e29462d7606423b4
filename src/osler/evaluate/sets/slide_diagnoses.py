"""Slides with the final diagnosis of their pathology report: ROUGE-L of what a model writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from osler.errors import FileFormatError
from osler.evaluate.imaging_prompts import IMAGING
from osler.evaluate.metrics import rouge_l
from osler.evaluate.published import final_answer
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.choice_files import inside
from osler.evaluate.sets.types import Case, Plan, Setting, commonest, missing_files, shuffled
from osler.evaluate.sets.xrays import read_table
from osler.readers import open_study
from osler.study import Study
from osler.weights.skills import Skill

_TABLE = "slides/diagnoses.csv"


class SlideDiagnoses:
    """One slide, one text."""

    name = "slide-diagnoses"
    title = "Diagnoses of whole slides (a table of your own)"
    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (Measure(name="ROUGE-L", field="rouge"),)
    batch = 1

    def __init__(self) -> None:
        self._known: list[dict[str, str]] = []

    def plan(self, setting: Setting) -> Plan:
        """Lists the slides that are there."""
        if absent := missing_files(setting.root, _TABLE):
            return Plan(absent=absent)
        rows = read_table(setting.root / _TABLE, columns=("slide", "patient", "specimen", "diagnosis"))
        self._known = [row for row in rows if row["diagnosis"].strip()]
        named = [(row["slide"].strip() or f"record {number}", row) for number, row in enumerate(rows, start=1)]
        there = [(name, row) for name, row in named if _is_there(setting.root, row)]
        cases = [
            Case(name=name, patient=row["patient"], content=row)
            for name, row in there
            if setting.keeps("slide-diagnoses", patient=row["patient"])
        ]
        notes = ["The report's slides are not public: its figure holds for them."]
        if gone := len(rows) - len(there):
            notes.append(f"{gone} slides that the table lists are not there, and are left out.")
        absent = "no held-out patient" if there else "the table is there, but no slide that it lists"
        return Plan(cases=shuffled(cases), absent="" if cases else absent, notes=tuple(notes))

    def open(self, setting: Setting, case: Case) -> Study:
        """Opens the slide."""
        return open_study(_path(setting.root, case.content))

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row a slide."""
        prompts, rows = IMAGING[setting.responder.style.name], []
        for case in cases:
            row: dict[str, str] = case.content
            truth = row["diagnosis"].strip()
            if not truth:
                raise FileFormatError(f"{case.name} has no diagnosis in {Path(_TABLE).name}.")
            study = case.opened or self.open(setting, case)
            specimen, asked = row["specimen"].strip(), row.get("question", "").strip()
            question = prompts.slide.format(specimen=specimen, question=asked).strip()
            inquiry = Inquiry(study=study, question=question)
            (said,) = setting.responder.ask([inquiry], max_tokens=prompts.argument_tokens)
            answers = {MODEL: final_answer(said), "majority": self._majority(setting, row)}
            rows.append(
                Row(
                    case=case.name,
                    patient=case.patient,
                    values={"rouge": {system: (rouge_l(text, truth), 1.0) for system, text in answers.items()}},
                    asked=question,
                    said=said,
                    truth=truth,
                )
            )
        return rows

    def _majority(self, setting: Setting, asked: dict[str, str]) -> str:
        """The commonest diagnosis of other patients' specimens of the same name, or of all."""
        others = [
            row
            for row in self._known
            if setting.learns("slide-diagnoses", patient=row["patient"], asked=asked["patient"])
        ]
        alike = [row for row in others if row["specimen"].strip().lower() == asked["specimen"].strip().lower()]
        return commonest([row["diagnosis"].strip() for row in alike or others], otherwise="")


def _path(root: Path, row: dict[str, str]) -> Path:
    try:
        return inside((root / _TABLE).parent, row["slide"].strip())
    except ValueError as error:
        raise FileFormatError(
            f"{Path(_TABLE).name}: {error}.", allowed="A slide in the folder of the table."
        ) from error


def _is_there(root: Path, row: dict[str, str]) -> bool:
    """Whether a slide can be asked about; one whose place is refused is, and fails alone."""
    try:
        return _path(root, row).exists()
    except FileFormatError:
        return True
