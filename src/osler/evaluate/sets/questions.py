"""MedQA, MedMCQA, medical MMLU and PubMedQA: multiple choice, by the published prompt and by likelihood.

*Generated* is the published metric: the letter behind "Final Answer:" of a greedy
answer. *Likeliest* takes the letter that the model finds likeliest; it needs no
instruction following, so base models can be compared by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.errors import FileFormatError
from osler.evaluate.published import final_answer, letter_of
from osler.evaluate.responder import Inquiry
from osler.evaluate.rows import MODEL, Measure, Row
from osler.evaluate.sets.types import Case, Plan, Setting, commonest, missing_files, right, shuffled
from osler.weights.skills import Skill

_CHOICES = re.compile(r"\(([A-Z])\)\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A question with lettered answers.

    Args:
        text: The question with its choices.
        letters: That may be chosen. truth: The right one.
        group: Subject.
    """

    text: str
    letters: str
    truth: str
    group: str = "all"


class MultipleChoice:
    """A file of questions.

    Args:
        name: Of the set. title: For people. file: Below the folder of the data.
    """

    skills: frozenset[Skill] = frozenset({"answers"})
    measures = (
        Measure(name="generated", field="generated"),
        Measure(name="likeliest", field="likeliest"),
        Measure(name="readable", field="readable"),
    )
    batch = 1

    def __init__(self, name: str, *, title: str, file: str) -> None:
        self.name = name
        self.title = title
        self._file = file
        self._letters: dict[str, str] = {}

    def plan(self, setting: Setting) -> Plan:
        """Reads the questions."""
        if absent := missing_files(setting.root, self._file):
            return Plan(absent=absent)
        found = read_choices(setting.root / self._file)
        for letters in {choice.letters for choice in found.values()}:
            same = [choice.truth for choice in found.values() if choice.letters == letters]
            self._letters[letters] = commonest(same, otherwise=letters[0])
        cases = shuffled(Case(name=name, patient=name, content=choice) for name, choice in found.items())
        note = "Old public questions: any pretrained model may have seen them."
        return Plan(cases=cases, notes=(note,))

    def rows(self, setting: Setting, cases: Sequence[Case]) -> list[Row]:
        """Asks each question once to be answered, and scores its letters."""
        responder, style = setting.responder, setting.responder.style
        inquiries = [
            Inquiry(study=None, question=style.text.format(question=case.content.text), system=style.thinking)
            for case in cases
        ]
        texts = responder.ask(inquiries, max_tokens=style.text_tokens)
        found = []
        for case, inquiry, text in zip(cases, inquiries, texts, strict=True):
            choice: Choice = case.content
            plain = Inquiry(study=None, question=choice.text)
            scores = responder.score(plain if inquiry.system else inquiry, [f"({one})" for one in choice.letters])
            chosen = letter_of(final_answer(text), letters=choice.letters)
            blind = {
                "chance": (1 / len(choice.letters), 1.0),
                "majority": right(choice.truth, self._letters[choice.letters]),
            }
            likeliest = choice.letters[scores.index(max(scores))]
            values = {
                "generated": {MODEL: right(choice.truth, chosen), **blind},
                "likeliest": {MODEL: right(choice.truth, likeliest), **blind},
                "readable": {MODEL: (float(chosen is not None), 1.0)},
            }
            found.append(
                Row(
                    case=case.name,
                    patient=case.patient,
                    group=choice.group,
                    values=values,
                    asked=choice.text,
                    said=text,
                    truth=choice.truth,
                )
            )
        return found


def read_choices(path: Path) -> dict[str, Choice]:
    """Reads a file of questions, ``.jsonl`` with lettered choices or PubMedQA's ``.json``.

    Raises:
        FileFormatError: If it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
            return {str(one.get("id", number)): _lettered(one) for number, one in enumerate(records)}
        return {name: _pubmed(one) for name, one in json.loads(text).items()}
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise FileFormatError(
            f"{path.name} holds no questions that can be read: {type(error).__name__}: {error}.",
            allowed="Lines of JSON with 'question' and 'label', or the JSON object of PubMedQA.",
        ) from error


def _lettered(record: dict[str, Any]) -> Choice:
    letters = "".join(dict.fromkeys(_CHOICES.findall(record["question"].rpartition("Answer Choices:")[2])))
    group = record.get("subject") or record.get("subject_name") or "all"
    return Choice(text=record["question"], letters=letters or "ABCD", truth=record["label"][0], group=group)


def _pubmed(record: dict[str, Any]) -> Choice:
    """The abstract without its conclusion, then the question; as choices, as MedGemma's report asks it."""
    context = "\n".join(record["CONTEXTS"])
    text = f"Context: {context}\n\nQuestion: {record['QUESTION']}\nAnswer Choices: (A) yes (B) no (C) maybe"
    truth = {"yes": "A", "no": "B", "maybe": "C"}[record["final_decision"]]
    return Choice(text=text, letters="ABC", truth=truth)


QUESTION_SETS = (
    MultipleChoice("medqa", title="MedQA (4 choices)", file="qa/medqa.jsonl"),
    MultipleChoice("medmcqa", title="MedMCQA", file="qa/medmcqa.jsonl"),
    MultipleChoice("mmlu-medical", title="MMLU, medical subjects", file="qa/mmlu_medical.jsonl"),
    MultipleChoice("pubmedqa", title="PubMedQA", file="qa/pubmedqa.json"),
)
