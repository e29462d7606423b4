"""Multiple choice, in words or on pictures: by the prompt of the benchmark, and by likelihood.

*Generated* is the published metric: the letter that a greedy answer ends with.
*Likeliest* takes the letter that the model finds likeliest; it needs no instruction
following, so base models can be compared by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from osler.errors import OslerError
from osler.evaluate.published import final_answer, letter_of
from osler.evaluate.responder import Inquiry, blank_study
from osler.evaluate.rows import MODEL, Measure, Pair, Row
from osler.evaluate.sets.choice_files import Choice, Entries, read_choices
from osler.evaluate.sets.types import Case, Plan, Setting, right, shuffled
from osler.readers import open_study
from osler.study import Image, Series, Study, TimePoint
from osler.weights.skills import Skill

GENERATED = Measure(name="generated", field="generated")
LIKELIEST = Measure(name="likeliest", field="likeliest")
READABLE = Measure(name="readable", field="readable")
_OLD = "Old public questions: any pretrained model may have seen them."


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A set of questions: where it lies and how it is asked.

    Args:
        name: Of the set. title: For people.
        files: Patterns below the folder of the data, each of which must find something.
        read: Gives the questions that lie below that folder, and notes about them.
        prompt: Published words around a question; empty for those that several benchmarks share. A small model
            gets the question alone. picture_prompt: Around a question on pictures.
        captions: Whether the published prompt writes "Figure A" before the first picture, and so on.
        argues: Whether answers about pictures are long, as those in words are.
        marker: Words before the letter in an answer, as a pattern.
        thinking: Whether the published figures were taken with thinking; never on pictures.
        measures: Metrics, the published one first.
        batch: Questions that are asked together: 1 where words and pictures, or long notes, are mixed.
        notes: What a reader must know.
    """

    name: str
    title: str
    files: tuple[str, ...]
    read: Callable[[Path], tuple[Entries, tuple[str, ...]]]
    prompt: str = ""
    picture_prompt: str = ""
    captions: bool = False
    argues: bool = False
    marker: str = "final answer"
    thinking: bool = True
    measures: tuple[Measure, ...] = (GENERATED, LIKELIEST, READABLE)
    batch: int = 1
    notes: tuple[str, ...] = (_OLD,)


class MultipleChoice:
    """Asks the questions of a benchmark.

    Args:
        benchmark: Which, and how.
    """

    skills: frozenset[Skill] = frozenset({"answers"})

    def __init__(self, benchmark: Benchmark) -> None:
        self.name = benchmark.name
        self.title = benchmark.title
        self.measures = benchmark.measures
        self.batch = benchmark.batch
        self._benchmark = benchmark
        self._truths: dict[str, Counter[str]] = {}
        self._of_patients: dict[tuple[str, str], Counter[str]] = {}

    def plan(self, setting: Setting) -> Plan:
        """Reads the questions; one that is damaged stays a case, and fails in its turn."""
        if absent := missing_patterns(setting.root, self._benchmark.files):
            return Plan(absent=absent)
        found, notes = self._benchmark.read(setting.root)
        self._count(found)
        cases = [
            Case(name=name, patient=(entry.patient if isinstance(entry, Choice) else "") or name, content=entry)
            for name, entry in found.items()
        ]
        absent = "" if cases else " ".join(notes)
        return Plan(cases=shuffled(cases), absent=absent, notes=(*self._benchmark.notes, *notes))

    def open(self, setting: Setting, case: Case) -> Study | None:
        """Reads the pictures of a question; ``None`` where it has none."""
        named = self._benchmark.captions and setting.responder.style.name == "published"
        return shown_together(_readable(case).pictures, named=named)

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Asks each question once to be answered, once on blank pictures, and scores its letters."""
        choices = [_readable(case) for case in cases]
        studies = [case.opened or self.open(setting, case) for case in cases]
        texts = self._ask(setting, choices, studies)
        pictured = [number for number, study in enumerate(studies) if study is not None]
        blanks = [blank_study(study) for study in studies if study is not None]
        unseen = self._ask(setting, [choices[number] for number in pictured], blanks)
        blind = dict(zip(pictured, unseen, strict=True))
        return [
            self._row(setting, case, study, said=text, unseen=blind.get(number))
            for number, (case, study, text) in enumerate(zip(cases, studies, texts, strict=True))
        ]

    def _ask(self, setting: Setting, choices: Sequence[Choice], studies: Sequence[Study | None]) -> list[str]:
        if not choices:
            return []
        style, benchmark = setting.responder.style, self._benchmark
        inquiries = []
        for choice, study in zip(choices, studies, strict=True):
            shared, own = (style.text, benchmark.prompt) if study is None else (style.vqa, benchmark.picture_prompt)
            prompt = own if own and style.name == "published" else shared
            system = style.thinking if benchmark.thinking and study is None else ""
            inquiries.append(Inquiry(study=study, question=prompt.format(question=choice.text), system=system))
        short = not benchmark.argues and any(study is not None for study in studies)
        return setting.responder.ask(inquiries, max_tokens=style.vqa_tokens if short else style.text_tokens)

    def _row(self, setting: Setting, case: Case, study: Study | None, *, said: str, unseen: str | None) -> Row:
        choice: Choice = case.content
        plain = Inquiry(study=study, question=choice.text)
        scores = setting.responder.score(plain, [f"({one})" for one in choice.letters])
        chosen = self._letter(said, choice)
        blind: dict[str, Pair] = {
            "chance": (1 / len(choice.letters), 1.0),
            "majority": right(choice.truth, self._majority(choice)),
        }
        seen: dict[str, Pair] = {MODEL: right(choice.truth, chosen)}
        if unseen is not None:
            seen["blanked"] = right(choice.truth, self._letter(unseen, choice))
        likeliest = choice.letters[scores.index(max(scores))]
        values = {
            **{field: {**seen, **blind} for field in choice.counts},
            "likeliest": {MODEL: right(choice.truth, likeliest), **blind},
            "readable": {MODEL: (float(chosen is not None), 1.0)},
        }
        return Row(
            case=case.name,
            patient=case.patient,
            group=choice.group,
            values=values,
            asked=choice.brief or choice.text,
            said=said,
            truth=choice.truth,
            picture={"file": str(choice.pictures[0])} if choice.pictures else {},
        )

    def _letter(self, text: str, choice: Choice) -> str | None:
        return letter_of(final_answer(text, marker=self._benchmark.marker), letters=choice.letters)

    def _count(self, found: Mapping[str, Choice | OslerError]) -> None:
        self._truths, self._of_patients = {}, {}
        for entry in found.values():
            if isinstance(entry, Choice):
                self._truths.setdefault(entry.letters, Counter())[entry.truth] += 1
                if entry.patient:
                    own = self._of_patients.setdefault((entry.letters, entry.patient), Counter())
                    own[entry.truth] += 1

    def _majority(self, choice: Choice) -> str:
        """The commonest letter among as many choices; of other patients only, where there are patients."""
        others = self._truths[choice.letters] - self._of_patients.get((choice.letters, choice.patient), Counter())
        return max(sorted(others), key=lambda letter: others[letter], default=choice.letters[0])


def _readable(case: Case) -> Choice:
    if isinstance(case.content, OslerError):
        raise case.content
    return case.content


def missing_patterns(root: Path, patterns: Sequence[str]) -> str:
    """Says which patterns find nothing below a folder; empty if each finds something."""
    gone = [pattern for pattern in patterns if not any(root.glob(pattern))]
    return f"not found: {', '.join(gone)}" if gone else ""


def shown_together(pictures: Sequence[Path], *, named: bool = False) -> Study | None:
    """Opens pictures as one study of one day, in their order; ``None`` for none.

    Args:
        pictures: Files.
        named: Whether they are called "Figure A", "Figure B" in the prompt.

    Raises:
        DataError: If one cannot be read.
    """
    series: list[Series] = []
    for number, path in enumerate(pictures):
        caption = f"Figure {chr(ord('A') + number)}" if named else ""
        for one in open_study(path, pictures="image").series():
            series.append(replace(one, caption=caption) if isinstance(one, Image) else one)
    if not series:
        return None
    return Study(timepoints=(TimePoint(series=tuple(series)),))


def _file(name: str) -> Callable[[Path], tuple[Entries, tuple[str, ...]]]:
    return lambda root: (read_choices(root / name), ())


QUESTION_SETS = tuple(
    MultipleChoice(Benchmark(name=name, title=title, files=(file,), read=_file(file)))
    for name, title, file in (
        ("medqa", "MedQA (4 choices)", "qa/medqa.jsonl"),
        ("medmcqa", "MedMCQA", "qa/medmcqa.jsonl"),
        ("mmlu-medical", "MMLU, medical subjects", "qa/mmlu_medical.jsonl"),
        ("pubmedqa", "PubMedQA", "qa/pubmedqa.json"),
    )
)
