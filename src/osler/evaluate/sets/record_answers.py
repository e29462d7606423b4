"""EHRQA: questions on a patient's whole record as text; choices, yes or no, or a few words.

The set behind the published figure is internal (Synthea records). This reads the same kind of
questions in Osler's layout: ``ehrqa/questions.jsonl``, one line a question with ``question``,
``answer`` and ``record`` (the record as text) or ``record_file`` (below ``ehrqa/records``), and,
where they apply, ``choices`` (a list), ``category``, ``patient`` and ``id``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.errors import FileFormatError, OslerError
from osler.evaluate.published import final_answer, letter_of, yes_or_no
from osler.evaluate.published_questions import CHOICES_BEHIND_RECORD, RECORD
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, Measure, Pair, Row
from osler.evaluate.sets.choice_files import by_letter, inside, read_lines, truth_among
from osler.evaluate.sets.types import Case, Plan, Setting, missing_files, shuffled
from osler.weights.skills import Skill

_FILE = "ehrqa/questions.jsonl"
_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuestion:
    """A question on a record.

    Args:
        question: Without its choices. answer: The right one; a letter where there are choices.
        options: Choices by letter, may be none.
        record: Text of the record. record_file: Where it is; read when the question is asked.
        category: Kind of question. patient: Whose record it is.
    """

    question: str
    answer: str
    options: Mapping[str, str]
    record: str
    record_file: Path | None
    category: str
    patient: str

    @property
    def yes_no(self) -> str | None:
        """``"yes"`` or ``"no"`` where that is the whole answer; "No known allergies" is an answer in words."""
        word = self.answer.strip(" .").lower()
        return word if word in ("yes", "no") else None

    @property
    def choices(self) -> str:
        """The choices as they are listed; empty where there are none."""
        return " ".join(f"({letter}) {option}" for letter, option in self.options.items())

    def is_right(self, said: str) -> bool:
        """Whether an answer is right: its letter or the words of that choice, its yes or no, or all words in order."""
        if not self.options:
            if self.yes_no:
                return yes_or_no(said) == self.yes_no
            return f" {_words(self.answer)} " in f" {_words(said)} "
        chosen = letter_of(said, letters="".join(self.options))
        same = [letter for letter, option in self.options.items() if option.casefold() == said.casefold()]
        return (same[0] if len(same) == 1 else chosen) == self.answer


class RecordAnswers:
    """Accuracy as the mean over categories of questions."""

    name = "ehrqa"
    title = "EHRQA (questions on a whole record)"
    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (Measure(name="accuracy", field="right", over="parts"),)
    batch = 1

    def __init__(self) -> None:
        self._answers: dict[tuple[object, ...], Counter[str]] = {}
        self._of_patients: dict[tuple[object, ...], Counter[str]] = {}

    def plan(self, setting: Setting) -> Plan:
        """Reads the questions; records are read when they are asked about."""
        if absent := missing_files(setting.root, _FILE):
            return Plan(absent=absent)
        folder = (setting.root / _FILE).parent

        def one(record: Mapping[str, Any]) -> RecordQuestion:
            return _question(record, folder=folder)

        allowed = "Lines of JSON with 'question', 'answer', and 'record' or 'record_file'."
        found = read_lines(setting.root / _FILE, one, allowed=allowed)
        self._answers, self._of_patients = {}, {}
        cases = []
        for name, entry in found.items():
            patient = name
            if isinstance(entry, RecordQuestion):
                patient = entry.patient or name
                self._answers.setdefault(_kind(entry), Counter())[entry.answer.casefold()] += 1
                own = self._of_patients.setdefault((*_kind(entry), patient), Counter())
                own[entry.answer.casefold()] += 1
            cases.append(Case(name=name, patient=patient, content=entry))
        notes = (
            "The published questions are internal, and the patterns that score answers are not printed: here the "
            "letter or the words of a choice, the same yes or no, or all words of the answer in order.",
            "Without record: the question alone. Majority: the commonest answer to questions of the same category "
            "on other patients.",
        )
        return Plan(cases=shuffled(cases), notes=notes)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Asks each question with its record and without it."""
        rows = []
        for case in cases:
            if isinstance(case.content, OslerError):
                raise case.content
            asked: RecordQuestion = case.content
            style = setting.responder.style
            tokens = min(_TOKENS, style.text_tokens)
            with_record = self._inquiry(asked, record=_record(asked), published=style.name == "published")
            (said,) = setting.responder.ask([with_record], max_tokens=tokens)
            alone = self._inquiry(asked, record="", published=style.name == "published")
            (blind,) = setting.responder.ask([alone], max_tokens=tokens)
            rows.append(self._row(case, asked, said=said, blind=blind))
        return rows

    def _inquiry(self, asked: RecordQuestion, *, record: str, published: bool) -> Inquiry:
        choices = CHOICES_BEHIND_RECORD.format(choices=asked.choices) if asked.options else ""
        if published:
            return Inquiry(study=None, question=RECORD.format(record=record, question=asked.question) + choices)
        return Inquiry(study=None, question=asked.question + choices, record=record)

    def _row(self, case: Case, asked: RecordQuestion, *, said: str, blind: str) -> Row:
        others = self._answers[_kind(asked)] - self._of_patients[(*_kind(asked), case.patient)]
        majority = max(sorted(others), key=lambda answer: others[answer], default="no")
        values: dict[str, Pair] = {
            MODEL: (float(asked.is_right(final_answer(said))), 1.0),
            "without record": (float(asked.is_right(final_answer(blind))), 1.0),
            "majority": (float(majority == asked.answer.casefold()), 1.0),
        }
        if count := len(asked.options) or (2 if asked.yes_no else 0):
            values["chance"] = (1 / count, 1.0)
        return Row(
            case=case.name,
            patient=case.patient,
            part=asked.category,
            values={"right": values},
            asked=asked.question + (f" {asked.choices}" if asked.options else ""),
            said=said,
            truth=asked.answer,
        )


def _question(record: Mapping[str, Any], *, folder: Path) -> RecordQuestion:
    options = by_letter(record["choices"]) if record.get("choices") else {}
    answer = str(record["answer"]).strip()
    if not answer or not str(record["question"]).strip():
        raise ValueError("an empty question or answer")
    stored = inside(folder / "records", record["record_file"]) if "record_file" in record else None
    return RecordQuestion(
        question=record["question"].strip(),
        answer=truth_among(answer, options) if options else answer,
        options=options,
        record="" if stored else str(record["record"]),
        record_file=stored,
        category=str(record.get("category") or "all"),
        patient=str(record.get("patient") or ""),
    )


def _record(asked: RecordQuestion) -> str:
    if asked.record_file is None:
        return asked.record
    try:
        return asked.record_file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise FileFormatError(
            f"{asked.record_file.name} cannot be read: {type(error).__name__}: {error}.", allowed="A record as text."
        ) from error


def _words(text: str) -> str:
    """Words and numbers alone, in small letters; a date or a decimal number is one word."""
    return " ".join(re.findall(r"[^\W_]+(?:[-.,:/][^\W_]+)*", text.lower()))


def _kind(asked: RecordQuestion) -> tuple[object, ...]:
    return asked.category, len(asked.options), asked.yes_no is not None
