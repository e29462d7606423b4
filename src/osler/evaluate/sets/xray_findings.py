"""NIH ChestX-ray14: a probability for each finding, by macro AUROC and calibration error."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from osler.evaluate.responder import blank_study
from osler.evaluate.rows import MODEL, Measure, Pair, Row
from osler.evaluate.sets.types import Case, Plan, Setting, missing_files, shuffled
from osler.evaluate.sets.xrays import NIH_FINDINGS, nih_picture, open_xray, read_table
from osler.study import Study
from osler.tasks.findings import findings
from osler.weights.skills import Skill

_TABLE = "cxr/nih/labels.csv"
_UNSURE = 0.5


class NihFindings:
    """Probabilities through `osler.findings`; findings that a head was not trained on do not count."""

    name = "nih-findings"
    title = "Findings on chest X-rays (NIH)"
    skills: frozenset[Skill] = frozenset({"findings"})
    measures = (
        Measure(name="macro AUROC", field="probability", kind="auroc", over="parts"),
        Measure(name="ECE", field="told", kind="calibration_error", better="lower"),
        Measure(name="answered", field="answered"),
    )
    batch = 1

    def __init__(self) -> None:
        self._table: dict[str, tuple[str, frozenset[str]]] = {}

    def plan(self, setting: Setting) -> Plan:
        """Lists the held-out X-rays that are there."""
        if absent := missing_files(setting.root, _TABLE, "cxr/nih/images"):
            return Plan(absent=absent)
        rows = read_table(setting.root / _TABLE, columns=("Image Index", "Finding Labels", "Patient ID"))
        self._table = {row["Image Index"]: (row["Patient ID"], _labels(row["Finding Labels"])) for row in rows}
        cases = [
            Case(name=name, patient=patient, content=labels)
            for name, (patient, labels) in self._table.items()
            if setting.keeps("nih", patient=patient) and nih_picture(setting.root, name).is_file()
        ]
        notes = (
            "Labels were mined from reports by a program; about one in ten is wrong.",
            '"Cannot tell" counts as a probability of 0.5 for the AUROC, and not for the ECE.',
            "Prevalence: each finding's share among the patients that a baseline may be fitted on.",
        )
        return Plan(cases=shuffled(cases), absent="" if cases else "no held-out X-ray", notes=notes)

    def open(self, setting: Setting, case: Case) -> Study:
        """Reads the picture."""
        return open_xray(nih_picture(setting.root, case.name))

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row for each X-ray and finding."""
        found = []
        for case in cases:
            path = nih_picture(setting.root, case.name)
            study = case.opened or self.open(setting, case)
            told = probabilities(setting, study)
            blind = probabilities(setting, blank_study(study))
            for label, name in NIH_FINDINGS.items():
                truth = float(label in case.content)
                prevalence = (self._prevalence(setting, label, asked=case.patient), truth)
                values: dict[str, dict[str, Pair]] = {
                    "answered": {MODEL: (float(told[name] is not None), 1.0)},
                    "probability": {
                        MODEL: (_UNSURE if told[name] is None else told[name], truth),
                        "blanked": (_UNSURE if blind[name] is None else blind[name], truth),
                        "prevalence": prevalence,
                    },
                }
                if told[name] is not None:
                    values["told"] = {MODEL: (told[name], truth), "prevalence": prevalence}
                found.append(
                    Row(
                        case=case.name,
                        patient=case.patient,
                        part=name,
                        values=values,
                        asked=name,
                        said="" if told[name] is None else f"{told[name]:.2f}",
                        truth="present" if truth else "not mentioned",
                        picture={"file": str(path)},
                    )
                )
        return found

    def settle(self, rows: Sequence[Row]) -> list[Row]:
        """Leaves out the findings that the model never answers: it does not know them."""
        known = {row.part for row in rows if row.values["answered"][MODEL][0]}
        return [
            row if row.part in known else dataclasses.replace(row, values={"answered": row.values["answered"]})
            for row in rows
        ]

    def _prevalence(self, setting: Setting, label: str, *, asked: str) -> float:
        known = [
            label in labels
            for patient, labels in self._table.values()
            if setting.learns("nih", patient=patient, asked=asked)
        ]
        return sum(known) / len(known) if known else 0.5


def probabilities(setting: Setting, study: Study) -> dict[str, float | None]:
    """What `osler.findings` says of each NIH finding, or a model of others by yes against no."""
    responder = setting.responder
    if responder.session is not None:
        source = "head" if "findings" in responder.trained else "answers"
        answer = findings(responder.session, study, names=list(NIH_FINDINGS.values()), source=source)
        return {entry.name: entry.probability for entry in answer.findings}
    from osler.evaluate.sets.yes_no import yes_share

    return {
        name: yes_share(responder, study, responder.style.finding.format(finding=name))
        for name in NIH_FINDINGS.values()
    }


def _labels(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split("|"))
