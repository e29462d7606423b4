"""VQA-RAD and SLAKE: all questions by token F1, closed ones by accuracy too, as published; split by picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.errors import FileFormatError, OslerError
from osler.evaluate.metrics import token_f1
from osler.evaluate.published import final_answer, yes_or_no
from osler.evaluate.responder import Inquiry, blank_study
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.choice_files import inside
from osler.evaluate.sets.types import Case, Plan, Setting, commonest, missing_files, shuffled
from osler.readers import open_study
from osler.study import Study
from osler.weights.skills import Skill


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLayout:
    """Where the questions and pictures of a set lie, and how its publisher names things.

    Args:
        name: Of the set, and of the split of its pictures. title: For people.
        file: With the questions, below the folder of the data. images: Folder of the pictures.
        picture: Field with the picture of a question. kind: Field with the kind of question.
        language: Only questions in this one are asked; empty where there is only one.
        notes: What a reader must know.
    """

    name: str
    title: str
    file: str
    images: str
    picture: str
    kind: str
    language: str = ""
    notes: tuple[str, ...] = ()


VQA_RAD = PictureLayout(
    name="vqa-rad",
    title="VQA-RAD",
    file="vqa-rad/questions.json",
    images="vqa-rad/images",
    picture="image_name",
    kind="question_type",
    notes=("Split by picture: the official split shares pictures between its parts.",),
)
SLAKE = PictureLayout(
    name="slake",
    title="SLAKE, English questions",
    file="slake/test.json",
    images="slake/imgs",
    picture="img_name",
    kind="content_type",
    language="en",
    notes=(
        "The model card gives the accuracy of closed questions, the first report (arXiv 2507.05201) that of questions "
        "with yes or no as answer: both are measured.",
    ),
)


class PictureQuestions:
    """Questions on CT, MR and X-ray pictures.

    Args:
        layout: Of the set.
    """

    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (
        Measure(name="closed accuracy", field="closed"),
        Measure(name="token F1", field="f1"),
        Measure(name="yes/no accuracy", field="yes_no"),
    )
    batch = 4

    def __init__(self, layout: PictureLayout) -> None:
        self.name = layout.name
        self.title = layout.title
        self._layout = layout
        self._known: list[dict[str, Any]] = []

    def plan(self, setting: Setting) -> Plan:
        """Lists the pictures that are there, each with its questions; damaged questions fail in their turn."""
        layout = self._layout
        if absent := missing_files(setting.root, layout.file, layout.images):
            return Plan(absent=absent)
        self._known, damaged = _read(setting.root / layout.file, layout=layout)
        by_picture: dict[str, list[dict[str, Any]]] = {}
        for entry in self._known:
            by_picture.setdefault(entry[layout.picture], []).append(entry)
        kept = {
            name: setting.root / layout.images / name for name in by_picture if setting.keeps(self.name, patient=name)
        }
        here = {name: path for name, path in kept.items() if path.is_file()}
        cases = [Case(name=name, patient=name, content=(path, by_picture[name])) for name, path in here.items()]
        if cases:
            cases += [Case(name=name, patient=name, content=error) for name, error in damaged.items()]
        notes = (
            *layout.notes,
            "Majority: the commonest answer to questions of the same type and kind on other pictures.",
            *([f"{len(kept) - len(here)} of {len(kept)} pictures are not there."] if len(here) < len(kept) else []),
        )
        return Plan(cases=shuffled(cases), absent="" if cases else "no held-out picture", notes=notes)

    def open(self, setting: Setting, case: Case) -> Study:
        """Reads the picture."""
        if isinstance(case.content, OslerError):
            raise case.content
        return open_study(case.content[0])

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Asks every question of each picture, seen and blanked."""
        style = setting.responder.style
        asked: list[tuple[Case, dict[str, Any]]] = []
        seen: list[Inquiry] = []
        blanked: list[Inquiry] = []
        for case in cases:
            study = case.opened or self.open(setting, case)
            _, entries = case.content
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
            if yes_or_no(truth):
                values["yes_no"] = values["closed"]
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
        layout = self._layout
        others = [
            known["answer"].lower()
            for known in self._known
            if setting.learns(self.name, patient=known[layout.picture], asked=case.patient)
            and _closed(known) == _closed(entry)
            and known.get(layout.kind) == entry.get(layout.kind)
        ]
        return commonest(others, otherwise="no")


def _read(path: Path, *, layout: PictureLayout) -> tuple[list[dict[str, Any]], dict[str, OslerError]]:
    """The questions, and an error for each that lacks something.

    Raises:
        FileFormatError: If the file holds none.
    """
    allowed = f"A list of objects with {layout.picture!r}, 'question', 'answer' and 'answer_type'."
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(
            f"{path.name} cannot be read: {type(error).__name__}: {error}.", allowed=allowed
        ) from error
    found: list[dict[str, Any]] = []
    damaged: dict[str, OslerError] = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        try:
            if layout.language and entry["q_lang"] != layout.language:
                continue
            inside(path.parent, entry[layout.picture])
            texts = {name: str(entry[name]).strip() for name in (layout.picture, "question", "answer")}
            found.append({**entry, **texts})
        except (KeyError, TypeError, ValueError) as error:
            why = f"{path.name}, record {number}: {type(error).__name__}: {error}."
            damaged[f"record {number}"] = FileFormatError(why, allowed=allowed)
    if not found:
        raise FileFormatError(f"{path.name} cannot be read: it holds no question.", allowed=allowed)
    return found, damaged


def same_answer(said: str, truth: str) -> bool:
    """Whether a closed answer is right: the same yes or no, or all words of the truth and no word of the opposite."""
    if wanted := yes_or_no(truth):
        return yes_or_no(said) == wanted
    return token_f1(said, truth) == 1.0 or f" {truth.lower()} " in f" {said.lower().strip('.')} "


def _closed(entry: dict[str, Any]) -> bool:
    return str(entry.get("answer_type", "")).strip().upper() == "CLOSED"
