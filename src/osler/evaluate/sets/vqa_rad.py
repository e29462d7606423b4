"""VQA-RAD: closed questions by accuracy, open ones by token F1, as published; split by picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from osler.errors import FileFormatError
from osler.evaluate.metrics import token_f1
from osler.evaluate.published import final_answer, yes_or_no
from osler.evaluate.responder import Inquiry, blank_study
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import Case, Plan, Setting, commonest, missing_files, shuffled
from osler.readers import open_study
from osler.study import Study
from osler.weights.skills import Skill

_FILE = "vqa-rad/questions.json"


class VqaRad:
    """Questions on CT, MR and X-ray pictures."""

    name = "vqa-rad"
    title = "VQA-RAD"
    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (
        Measure(name="closed accuracy", field="closed"),
        Measure(name="token F1", field="f1"),
    )
    batch = 4

    def __init__(self) -> None:
        self._known: list[dict[str, Any]] = []

    def plan(self, setting: Setting) -> Plan:
        """Lists the pictures that are there, each with its questions."""
        if absent := missing_files(setting.root, _FILE, "vqa-rad/images"):
            return Plan(absent=absent)
        try:
            entries = json.loads((setting.root / _FILE).read_text(encoding="utf-8"))
            asked = [{**entry, "answer": str(entry["answer"]).strip()} for entry in entries]
            by_picture: dict[str, list[dict[str, Any]]] = {}
            for entry in asked:
                by_picture.setdefault(entry["image_name"], []).append(entry)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileFormatError(
                f"{_FILE} cannot be read: {type(error).__name__}: {error}.",
                allowed="A list of objects with 'image_name', 'question', 'answer' and 'answer_type'.",
            ) from error
        self._known = asked
        cases = []
        for name, entries in by_picture.items():
            path = setting.root / "vqa-rad" / "images" / name
            if setting.keeps("vqa-rad", patient=name) and path.is_file():
                cases.append(Case(name=name, patient=name, content=(path, entries)))
        notes = (
            "Split by picture: the official split shares pictures between its parts.",
            "Majority: the commonest answer to questions of the same type and kind on other pictures.",
        )
        return Plan(cases=shuffled(cases), absent="" if cases else "no held-out picture", notes=notes)

    def open(self, setting: Setting, case: Case) -> Study:
        """Reads the picture."""
        return open_study(case.content[0])

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Asks every question of each picture, seen and blanked."""
        style = setting.responder.style
        asked: list[tuple[Case, dict[str, Any]]] = []
        seen: list[Inquiry] = []
        blanked: list[Inquiry] = []
        for case in cases:
            _, entries = case.content
            study = case.opened or self.open(setting, case)
            blank = blank_study(study)
            for entry in entries:
                question = style.vqa.format(question=entry["question"].strip())
                asked.append((case, entry))
                seen.append(Inquiry(study=study, question=question))
                blanked.append(Inquiry(study=blank, question=question))
        texts = setting.responder.ask(seen, max_tokens=style.vqa_tokens)
        blind = setting.responder.ask(blanked, max_tokens=style.vqa_tokens)
        return [
            self._row(setting, case, entry, said=said, unseen=unseen)
            for (case, entry), said, unseen in zip(asked, texts, blind, strict=True)
        ]

    def _row(self, setting: Setting, case: Case, entry: dict[str, Any], *, said: str, unseen: str) -> Row:
        closed = _closed(entry)
        truth = entry["answer"]
        answers = {MODEL: said, "blanked": unseen, "majority": self._majority(setting, case, entry)}
        values = {"f1": {system: (token_f1(final_answer(text), truth), 1.0) for system, text in answers.items()}}
        if closed:
            values["closed"] = {
                system: (float(same_answer(final_answer(text), truth)), 1.0) for system, text in answers.items()
            }
        return Row(
            case=f"{case.name}#{entry.get('qid', '')}",
            patient=case.patient,
            group="closed" if closed else "open",
            values=values,
            asked=entry["question"],
            said=said,
            truth=truth,
            picture={"file": str(case.content[0])},
        )

    def _majority(self, setting: Setting, case: Case, entry: dict[str, Any]) -> str:
        others = [
            known["answer"].lower()
            for known in self._known
            if setting.learns("vqa-rad", patient=known["image_name"], asked=case.patient)
            and _closed(known) == _closed(entry)
            and known.get("question_type") == entry.get("question_type")
        ]
        return commonest(others, otherwise="no")


def same_answer(said: str, truth: str) -> bool:
    """Whether a closed answer is right: the same yes or no, or all words of the truth and no word of the opposite."""
    if wanted := yes_or_no(truth):
        return yes_or_no(said) == wanted
    return token_f1(said, truth) == 1.0 or f" {truth.lower()} " in f" {said.lower().strip('.')} "


def _closed(entry: dict[str, Any]) -> bool:
    return str(entry.get("answer_type", "")).strip().upper() == "CLOSED"
