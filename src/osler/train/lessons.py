"""What a batch of the answers stage is made of: pictures, volumes, text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from osler.train.answers import Exchange, ask_about
from osler.train.emphasis import Emphasis
from osler.train.pictures import Labels, split_of
from osler.train.samples import Sample, SampleMaker
from osler.train.text_questions import TextBook
from osler.train.volume_renders import Stack

Lesson = Literal["picture", "volume", "text"]
BLANK = Labels(modality="blank", region="none", plane="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonConfig:
    """Shares of the lessons, and their batches.

    Args:
        picture: Share of updates on pictures. volume: On volumes. text: On text only.
        picture_batch: Samples of an update. text_batch: The same for text.
        volume_batch: Samples of an update on volumes.
        blank: Chance that a picture or a volume without content is shown instead.
        second_question: Chance that a picture is asked about twice.
        radiology_questions: Chance that a VQA-RAD picture gets one of its own questions.
        longest: Most slices in a sample.
    """

    picture: float = 0.7
    volume: float = 0.12
    text: float = 0.18
    picture_batch: int = 12
    text_batch: int = 16
    volume_batch: int = 2
    blank: float = 0.06
    second_question: float = 0.3
    radiology_questions: float = 0.35
    longest: int = 40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LessonBook:
    """Draws samples.

    Args:
        maker: Turns questions and rows into samples.
        labels: Of the rendered pictures; row i of the feature table is picture i.
        names: (source, patient) of each picture.
        stacks: Rendered volumes; their rows start at ``stack_offset`` of the feature table.
        blank_rows: Rows of the feature table with pictures without content.
        text: Questions without a picture.
        radiology: VQA-RAD image name to its exchanges (training split).
        config: Shares of the lessons, and their batches.
        emphasis: How often kinds of pictures are taken.
        chances: Of each picture, which sum to 1; worked out from ``emphasis``.
    """

    maker: SampleMaker
    labels: Sequence[Labels]
    names: Sequence[tuple[str, str]]
    stacks: Sequence[Stack]
    stack_offset: int
    blank_rows: range
    text: TextBook
    radiology: dict[str, tuple[Exchange, ...]]
    config: LessonConfig
    emphasis: Emphasis = field(default_factory=Emphasis)
    chances: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Works out the chance of each picture once."""
        named = zip(self.labels, self.names, strict=True)
        shares = np.array([self.emphasis.of(labels, source=source) for labels, (source, _) in named])
        object.__setattr__(self, "chances", shares / shares.sum())

    def draw(self, rng: np.random.Generator) -> tuple[Lesson, list[Sample]]:
        """Draws one update's samples."""
        shares = np.array([self.config.picture, self.config.volume if self.stacks else 0.0, self.config.text])
        lesson: Lesson = ("picture", "volume", "text")[int(rng.choice(3, p=shares / shares.sum()))]
        if lesson == "picture":
            return lesson, [self.picture(rng) for _ in range(self.config.picture_batch)]
        if lesson == "volume":
            most = self._slices(rng)
            count = max(1, min(6, self.config.volume_batch * 12 // most))
            return lesson, [self.volume(rng, most=most) for _ in range(count)]
        return lesson, [self.maker.make([self.text.draw(rng)]) for _ in range(self.config.text_batch)]

    def picture(self, rng: np.random.Generator) -> Sample:
        """A picture with one or two questions."""
        if len(self.blank_rows) and rng.random() < self.config.blank:
            row = int(rng.choice(self.blank_rows))
            return self.maker.make([ask_about(BLANK, form="picture", rng=rng)], rows=(row,))
        row = int(rng.choice(len(self.labels), p=self.chances))
        labels, (source, patient) = self.labels[row], self.names[row]
        own = self.radiology.get(patient, ()) if source == "vqa-rad" else ()
        if own and rng.random() < self.config.radiology_questions:
            return self.maker.make([own[int(rng.integers(len(own)))]], rows=(row,))
        exchanges = [ask_about(labels, form="picture", rng=rng)]
        if rng.random() < self.config.second_question:
            exchanges.append(ask_about(labels, form="picture", rng=rng))
        return self.maker.make(exchanges, rows=(row,))

    def volume(self, rng: np.random.Generator, *, most: int) -> Sample:
        """Some slices of a rendered volume, in order, and a question."""
        if len(self.blank_rows) and rng.random() < self.config.blank:
            rows = (int(rng.choice(self.blank_rows)),) * most
            return self.maker.make([ask_about(BLANK, form="volume", rng=rng)], rows=rows, form="volume")
        stack = self.stacks[int(rng.integers(len(self.stacks)))]
        count = min(stack.count, most)
        if rng.random() < 0.5:
            start = int(rng.integers(stack.count - count + 1))
            picked = np.arange(start, start + count)
        else:
            picked = np.linspace(0, stack.count - 1, count).round().astype(int)
        if most > stack.count and most > 24:
            # A long prompt of a thin stack: slices are repeated, as in a finely cut volume.
            picked = np.linspace(0, stack.count - 1, most).round().astype(int)
        rows = tuple(int(self.stack_offset + stack.first + i) for i in picked)
        return self.maker.make([ask_about(stack.labels, form="volume", rng=rng)], rows=rows, form="volume")

    def _slices(self, rng: np.random.Generator) -> int:
        low, high = np.log(2), np.log(self.config.longest + 1)
        return int(np.exp(rng.uniform(low, high)))


_SIDES = re.compile(r"\b(left|right|bilateral|unilateral|side|sided|lateral)\b", re.IGNORECASE)


def radiology_questions(root: Path) -> dict[str, tuple[Exchange, ...]]:
    """VQA-RAD's questions on training images, without those that name a side.

    Sections are mirrored in training (see `augment`), so sides would be taught wrongly.
    """
    path = root / "vqa-rad" / "questions.json"
    if not path.is_file():
        return {}
    out: dict[str, list[Exchange]] = {}
    for row in json.loads(path.read_text(encoding="utf-8")):
        name, question, answer = row["image_name"], str(row["question"]).strip(), str(row["answer"]).strip()
        if split_of("vqa-rad", patient=name) != "train" or _SIDES.search(f"{question} {answer}"):
            continue
        if row["question_type"] in ("MODALITY", "PLANE", "ORGAN") or not answer:
            continue
        out.setdefault(name, []).append(Exchange(question=question, answer=_sentence(answer)))
    return {name: tuple(rows) for name, rows in out.items()}


def _sentence(answer: str) -> str:
    text = answer[0].upper() + answer[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
