"""MS-CXR-T: whether findings improved, stayed or got worse between two films, as radiologists judged."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path

from osler.errors import FileFormatError
from osler.evaluate.imaging_prompts import IMAGING
from osler.evaluate.published import final_answer, letter_of
from osler.evaluate.responder import Inquiry, blank_study
from osler.evaluate.rows import Measure, Row
from osler.evaluate.sets import mimic
from osler.evaluate.sets.progression import SKILLS, change_values, changes_of
from osler.evaluate.sets.types import Case, Plan, Setting, commonest, missing_files, shuffled
from osler.evaluate.sets.xrays import EPOCH, open_xray, read_table, together
from osler.study import Study
from osler.tasks.heads import head_for

FINDINGS = ("consolidation", "edema", "pleural effusion", "pneumonia", "pneumothorax")
CHANGES = {"improving": "improved", "stable": "stable", "worsening": "worsened"}
_TABLE = "cxr/ms-cxr-t/MS_CXR_T_temporal_image_classification_v1.0.0.csv"
_WORDS = {
    "improved": r"improv(?:e|es|ed|ing|ement)",
    "stable": r"stable|unchanged",
    "worsened": r"worse|worsen(?:s|ed|ing)?",
}
_DENIED = re.compile(
    r"\b(?:not|no|nor|never|without|cannot|unlikely|lack|\w+n['’]t)\b(?:(?!\bbut\b)[^.,;:!?()])*"
    r"|\bneither\b(?:(?!\bbut\b)[^.;:!?()])*"
)
"""A denial and what it denies: the rest of its clause; of "neither", commas included."""
_LETTERS = {"A": "improved", "B": "stable", "C": "worsened"}
_HEAD_NAMES = {"edema": "pulmonary edema"}  # others have the same name in `osler.prepare.finding_names`
_OF_HEADS = {"new": "worsened", "resolved": "improved"}


class MsCxrT:
    """One question a finding, three answers."""

    name = "ms-cxr-t"
    title = "Change between two chest X-rays (MS-CXR-T)"
    skills = SKILLS
    measures = (
        Measure(name="macro accuracy", field="right", over="parts"),
        Measure(name="accuracy", field="right"),
        Measure(name="answered", field="answered"),
    )
    batch = 1

    def __init__(self) -> None:
        self._known: list[tuple[str, str, str]] = []  # patient, finding, change as the table has it

    def plan(self, setting: Setting) -> Plan:
        """Lists the pairs whose pictures are there."""
        if absent := missing_files(setting.root, _TABLE):
            return Plan(absent=absent)
        columns = [f"{finding.replace(' ', '_')}_progression" for finding in FINDINGS]
        named = ("dicom_id", "previous_dicom_id", "subject_id", *columns)
        self._known = []
        cases, missing = [], 0
        judged: list[bool] = []  # of each pair that is there
        for row in read_table(setting.root / _TABLE, columns=named):
            patient = row["subject_id"].removeprefix("p")
            cells = {name: row[column].strip() for name, column in zip(FINDINGS, columns, strict=True)}
            labels = {name: cell for name, cell in cells.items() if cell}
            self._known += [(patient, name, label) for name, label in labels.items()]
            paths = [mimic.picture(setting.root, row[name]) for name in ("previous_dicom_id", "dicom_id")]
            if not all(path.is_file() for path in paths):
                missing += 1
                continue
            judged.append(bool(labels))
            if labels and setting.keeps("mimic-cxr", patient=patient):
                name = f"{paths[0].stem}-{paths[1].stem}"
                cases.append(Case(name=name, patient=patient, content=(paths, labels)))
        notes = [
            "The report prints no prompt for this: the words are Osler's, the three answers the report's.",
            "Macro accuracy: the mean over findings of the mean over the three changes, as BioViL-T counts it.",
        ]
        if missing:
            notes.append(f"{missing} pairs that the table lists are not there, and are left out.")
        place = f"{mimic.FOLDER}/files"
        absent = f"no pair of {Path(_TABLE).name} lies in {place}"
        if any(judged):
            absent = f"none of the {sum(judged)} judged pairs in {place} is held out (--split all asks anyway)"
        elif judged:
            absent = f"none of the {len(judged)} pairs in {place} is judged in {Path(_TABLE).name}"
        return Plan(cases=shuffled(cases), absent="" if cases else absent, notes=tuple(notes))

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row for each finding of each pair."""
        rows = []
        for case in cases:
            paths, labels = case.content
            truths = {name: _change(label, finding=name, case=case.name) for name, label in labels.items()}
            study = together([open_xray(path, date=EPOCH + dt.timedelta(days=n)) for n, path in enumerate(paths)])
            said = _asked(setting, study, findings=list(truths))
            blind = _asked(setting, blank_study(study), findings=list(truths))
            for name, truth in truths.items():
                majority = self._majority(setting, name, asked=case.patient)
                answer, text = said[name]
                rows.append(
                    Row(
                        case=case.name,
                        patient=case.patient,
                        group=name,
                        part=f"{name}: {truth}",
                        values=change_values(truth, answer, blind[name][0], majority=majority),
                        asked=name,
                        said=text,
                        truth=truth,
                        picture={"file": str(paths[1]), "before": str(paths[0])},
                    )
                )
        return rows

    def _majority(self, setting: Setting, finding: str, *, asked: str) -> str:
        others = [
            CHANGES[label]
            for patient, name, label in self._known
            if name == finding and label in CHANGES and setting.learns("mimic-cxr", patient=patient, asked=asked)
        ]
        return commonest(others, otherwise="stable")


def _change(label: str, *, finding: str, case: str) -> str:
    if label not in CHANGES:
        raise FileFormatError(f"The change of {finding} is {label!r} in the row of {case}.", allowed=", ".join(CHANGES))
    return CHANGES[label]


def _asked(setting: Setting, study: Study, *, findings: Sequence[str]) -> dict[str, tuple[str | None, str]]:
    """Finding to the change and to what was said: by the progression head where there is one, else in words."""
    session = setting.responder.session
    if session is not None and head_for(session, "progression") is not None:
        names = {finding: _HEAD_NAMES.get(finding, finding) for finding in findings}
        told = changes_of(setting, study, findings=list(names.values()))
        changes = {finding: told.get(name) for finding, name in names.items()}
        return {name: (_OF_HEADS.get(one or "", one), one or "no answer") for name, one in changes.items()}
    prompts, style = IMAGING[setting.responder.style.name], setting.responder.style
    inquiries = [Inquiry(study=study, question=prompts.change.format(finding=name)) for name in findings]
    texts = setting.responder.ask(inquiries, max_tokens=style.vqa_tokens)
    return {name: (read_change(text), text) for name, text in zip(findings, texts, strict=True)}


def read_change(text: str) -> str | None:
    """The change that an answer names, by its letter, its word or both.

    Returns:
        ``None`` if it names none or several, or denies the one that it names.
    """
    said = final_answer(text)
    letter = letter_of(said, letters="".join(_LETTERS))
    low = said.lower()
    named = _changes_in(_DENIED.sub(".", low)) | ({_LETTERS[letter]} if letter else set())
    denied = _changes_in(" ".join(_DENIED.findall(low)))
    return named.pop() if len(named) == 1 and not named & denied else None


def _changes_in(text: str) -> set[str]:
    """The changes whose words stand in a text, as whole words."""
    return {change for change, words in _WORDS.items() if re.search(rf"(?<![\w-])(?:{words})\b", text)}
