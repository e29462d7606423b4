"""Yes/no questions on a picture or a volume, one for each finding, answered in words: macro F1 or macro accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osler.errors import FileFormatError
from osler.evaluate.imaging_prompts import IMAGING, ImagingPrompts
from osler.evaluate.published import final_answer, yes_or_no
from osler.evaluate.responder import Inquiry, blank_study
from osler.evaluate.rows import MODEL, Measure, Pair, Row
from osler.evaluate.sets.other_patients import OtherPatients
from osler.evaluate.sets.types import Case, Plan, Setting, right, shuffled
from osler.study import Study
from osler.weights.skills import Skill

_F1 = Measure(name="macro F1", field="f1", over="parts")
_ACCURACY = Measure(name="macro accuracy", field="right", over="parts")
_READABLE = Measure(name="readable", field="readable")
F1_FIRST = (_F1, _ACCURACY, _READABLE)
ACCURACY_FIRST = (_ACCURACY, _F1, _READABLE)
_WORDS = {"yes": True, "1": True, "no": False, "0": False}
_NOTES = (
    'An answer that says neither yes nor no is wrong for the accuracy and counts as "no" for the F1.',
    "Always yes: what F1 a model has that looks at nothing and says yes to everything.",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exam:
    """A picture or a volume, and what is known of it.

    Args:
        name: Unique within the set.
        patient: Whose it is.
        path: File or folder.
        cells: Finding to its label as the table has it.
        history: Finding to the indication and history that are told with it.
        problem: What is wrong with its place; it fails by itself.
    """

    name: str
    patient: str
    path: Path
    cells: Mapping[str, str]
    history: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exams:
    """What a table lists.

    Args:
        found: Exams whose files are there.
        missing: How many have no file.
        absent: Why there are none, such as a table that is missing.
        notes: What a reader must know of this data.
    """

    found: tuple[Exam, ...] = ()
    missing: int = 0
    absent: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark of yes/no questions.

    Args:
        name: Of the set. title: For people.
        source: Whose patients they are, for the split (`osler.train.pictures.split_of`).
        find: Lists the exams below the folder of the data.
        read: What a label says: true, false, or ``None`` where it is not asked about; a `ValueError` for others.
        allowed: Labels there are, for an error's text.
        open: Reads an exam.
        ask: The question for a finding, in the words of a style.
        argues: Whether an answer may argue first.
        measures: The published one first.
        blind: Whether blanked images are asked about, too: twice the work where images are many.
        batch: Exams that are asked about together.
        notes: What a reader must know.
    """

    name: str
    title: str
    source: str
    find: Callable[[Path], Exams]
    read: Callable[[str], bool | None]
    allowed: str
    open: Callable[[Exam], Study]
    ask: Callable[[ImagingPrompts, Exam, str], str]
    argues: bool = False
    measures: tuple[Measure, ...] = F1_FIRST
    blind: bool = True
    batch: int = 4
    notes: tuple[str, ...] = ()


class YesNoQuestions:
    """Asks for every finding of every exam by itself, thinking off.

    Args:
        benchmark: What is asked about.
    """

    skills: frozenset[Skill] = frozenset({"answers"})

    def __init__(self, benchmark: Benchmark) -> None:
        self.name = benchmark.name
        self.title = benchmark.title
        self.measures = benchmark.measures
        self.batch = benchmark.batch
        self._benchmark = benchmark
        self._others: OtherPatients | None = None

    def plan(self, setting: Setting) -> Plan:
        """Lists the exams of patients that may be asked about."""
        one = self._benchmark
        exams = one.find(setting.root)
        if exams.absent:
            return Plan(absent=exams.absent)
        self._others = OtherPatients(setting)
        for exam in exams.found:
            for finding, cell in exam.cells.items():
                if (truth := self._maybe(cell)) is not None:
                    self._others.add(finding, float(truth), source=one.source, patient=exam.patient)
        cases = [
            Case(name=exam.name, patient=exam.patient, content=exam)
            for exam in exams.found
            if setting.keeps(one.source, patient=exam.patient)
        ]
        absent = "no held-out patient"
        if not exams.found:
            absent = "the table is there, but no file that it lists"
        gone = (f"{exams.missing} that the table lists are not there, and are left out.",) if exams.missing else ()
        notes = (*one.notes, *exams.notes, *gone, *_NOTES)
        return Plan(cases=shuffled(cases), absent="" if cases else absent, notes=notes)

    def open(self, setting: Setting, case: Case) -> Study:
        """Reads the picture or volume."""
        if case.content.problem:
            raise FileFormatError(case.content.problem)
        return self._benchmark.open(case.content)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """One row for each exam and finding."""
        prompts = IMAGING[setting.responder.style.name]
        asked: list[tuple[Case, str, bool]] = []
        seen: list[Inquiry] = []
        blanked: list[Inquiry] = []
        for case in cases:
            truths = self._truths(case.content)
            study = case.opened or self.open(setting, case)
            blank = blank_study(study) if self._benchmark.blind else study
            for finding, truth in truths.items():
                question = self._benchmark.ask(prompts, case.content, finding)
                asked.append((case, finding, truth))
                seen.append(Inquiry(study=study, question=question))
                blanked.append(Inquiry(study=blank, question=question))
        tokens = prompts.argument_tokens if self._benchmark.argues else setting.responder.style.vqa_tokens
        texts = setting.responder.ask(seen, max_tokens=tokens)
        blind = setting.responder.ask(blanked, max_tokens=tokens) if self._benchmark.blind else [None] * len(texts)
        return [
            self._row(case, finding, truth, question=inquiry.question, said=said, unseen=unseen)
            for (case, finding, truth), inquiry, said, unseen in zip(asked, seen, texts, blind, strict=True)
        ]

    def _row(self, case: Case, finding: str, truth: bool, *, question: str, said: str, unseen: str | None) -> Row:
        answers = {MODEL: yes_or_no(final_answer(said))}
        if unseen is not None:
            answers["blanked"] = yes_or_no(final_answer(unseen))
        answers |= {"majority": self._majority(case, finding), "always yes": "yes"}
        wanted = "yes" if truth else "no"
        values: dict[str, dict[str, Pair]] = {
            "f1": {system: f1_pair(truth, answer == "yes") for system, answer in answers.items()},
            "right": {system: right(wanted, answer) for system, answer in answers.items()},
            "readable": {MODEL: (float(answers[MODEL] is not None), 1.0)},
        }
        return Row(
            case=case.name,
            patient=case.patient,
            part=finding,
            values=values,
            asked=question,
            said=said,
            truth=wanted,
            picture={"file": str(case.content.path)},
        )

    def _majority(self, case: Case, finding: str) -> str:
        assert self._others is not None
        share = self._others.mean(finding, source=self._benchmark.source, patient=case.patient)
        return "yes" if share is not None and share[0] > 0.5 else "no"

    def _maybe(self, cell: str) -> bool | None:
        try:
            return self._benchmark.read(cell)
        except ValueError:
            return None

    def _truths(self, exam: Exam) -> dict[str, bool]:
        """Findings that are asked about.

        Raises:
            FileFormatError: If a label is none that there is.
        """
        truths = {}
        for finding, cell in exam.cells.items():
            try:
                truth = self._benchmark.read(cell)
            except ValueError as error:
                raise FileFormatError(
                    f"The label of {finding} is {cell!r} in the row of {exam.name}.", allowed=self._benchmark.allowed
                ) from error
            if truth is not None:
                truths[finding] = truth
        return truths


def f1_pair(truth: bool, said: bool) -> Pair:
    """Numerator and denominator whose sums over rows divide to the F1 of "yes"."""
    return 2.0 * (truth and said), float(truth) + float(said)


def yes_no_word(cell: str) -> bool:
    """Reads yes or 1, no or 0, in any case.

    Raises:
        ValueError: If it is neither.
    """
    word = cell.strip().lower()
    if word not in _WORDS:
        raise ValueError(cell)
    return _WORDS[word]
