"""Who is asked: one small protocol for Osler's models and for those of others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from osler.evaluate.published import PLAIN, PUBLISHED, PromptStyle
from osler.study import Answer, ArrayPixels, Image, Slide, Study, Volume
from osler.study.slide import Series

if TYPE_CHECKING:
    from osler.engine.session import Session
    from osler.weights.skills import Skill

_TEXT_SKILLS: frozenset[Skill] = frozenset({"answers", "reports", "box_text", "change_text"})
_BATCH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A question about a study.

    Args:
        study: ``None`` for a question without images.
        record: Dated events and documents as text. system: An instruction before it.
    """

    study: Study | None
    question: str
    record: str = ""
    system: str = ""


@dataclass(slots=True, kw_only=True)
class Meter:
    """What answering cost so far: prompts and answers in tokens."""

    questions: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


class Responder(Protocol):
    """A model that is evaluated."""

    name: str
    """As asked for."""
    key: str
    """Changes whenever its answers may."""
    trained: frozenset[Skill]
    """What is asked of it."""
    asked_anyway: frozenset[Skill]
    """Those of `trained` that it was not trained for: asked all the same, as the user wished."""
    style: PromptStyle
    session: Session | None
    """Osler's tasks run on it; ``None`` for models of others, which are only asked."""
    meter: Meter
    note: str
    """What a reader must know of it."""

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        """Answers greedily, in order."""
        ...

    def score(self, inquiry: Inquiry, choices: Sequence[str]) -> list[float]:
        """Returns the log-probability of each choice as the answer."""
        ...


class OslerResponder:
    """A checkpoint that Osler loads.

    Args:
        session: From `osler.load`.
        untrained: ``"ask"`` treats text skills, and those of heads that the weights have, as if they were trained; a
            box head is then asked for any label in any picture or volume, where the decoder was not taught boxes.
    """

    def __init__(self, session: Session, *, untrained: Literal["list", "ask"] = "list") -> None:
        taught = session.checkpoint.trained
        if untrained == "ask":
            asked = taught | _TEXT_SKILLS | frozenset(session.heads)
            session.checkpoint = dataclasses.replace(session.checkpoint, trained=asked)
            if "boxes" in session.heads and not taught & {"box_text", "box_tokens"}:
                session.heads = {**session.heads, "boxes": session.heads["boxes"].everywhere()}
        self.session: Session | None = session
        self._session = session
        self.name = session.checkpoint.name
        self.key = f"{session.checkpoint.key} {session.runner.dtype}"
        self.trained = session.trained
        self.asked_anyway = session.trained - taught
        published = session.checkpoint.model.config.name != "osler-mini" and "reports" in session.trained
        self.style = PUBLISHED if published else PLAIN
        self.meter = Meter()
        self.note = ""
        self._blanked: dict[tuple[object, ...], str] = {}

    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        """Answers, alike ones together; equal questions about blanked studies once."""
        keys = [_blank_key(inquiry, max_tokens=max_tokens) for inquiry in inquiries]
        texts: list[str] = [""] * len(inquiries)
        waiting: list[int] = []
        for number, key in enumerate(keys):
            if key is not None and key in self._blanked:
                texts[number] = self._blanked[key]
            else:
                waiting.append(number)
        for number, text in zip(waiting, self._fresh([inquiries[n] for n in waiting], max_tokens), strict=True):
            texts[number] = text
            if (key := keys[number]) is not None:
                self._blanked[key] = text
        return texts

    def _fresh(self, inquiries: Sequence[Inquiry], max_tokens: int) -> list[str]:
        """Short prompts are answered together; long ones alone, each taking up what the last one read."""
        texts: dict[int, str] = {}
        short = [number for number, inquiry in enumerate(inquiries) if _is_short(inquiry)]
        if len(short) > 1:
            pairs = [(inquiries[number].study, inquiries[number].question) for number in short]
            system = inquiries[short[0]].system
            answers = self._session.ask_many(pairs, batch=_BATCH, system=system, max_tokens=max_tokens)
            for number, answer in zip(short, answers, strict=True):
                assert isinstance(answer, Answer)
                texts[number] = self._metered(answer)
        for number, inquiry in enumerate(inquiries):
            if number not in texts:
                answer = self._session.ask(
                    inquiry.study,
                    inquiry.question,
                    record=inquiry.record,
                    system=inquiry.system,
                    max_tokens=max_tokens,
                )
                texts[number] = self._metered(answer)
        return [texts[number] for number in range(len(inquiries))]

    def _metered(self, answer: Answer) -> str:
        tokens = answer.tokens or {}
        self.meter.questions += 1
        self.meter.prompt_tokens += tokens.get("prompt", 0)
        self.meter.answer_tokens += tokens.get("answer", 0)
        return answer.text

    def score(self, inquiry: Inquiry, choices: Sequence[str]) -> list[float]:
        """Returns the log-probability of each choice."""
        scoring = self._session.score(
            inquiry.study, inquiry.question, choices, record=inquiry.record, system=inquiry.system
        )
        self.meter.questions += 1
        return [entry.logprob for entry in scoring.scored]


_BLANK_SERIES = "blanked:"


def blank_study(study: Study) -> Study:
    """The same study with every pixel of one middle value: what a model answers without seeing anything."""
    points = tuple(
        dataclasses.replace(point, series=tuple(_blank(series) for series in point.series))
        for point in study.timepoints
    )
    return dataclasses.replace(study, timepoints=points)


def _blank(series: Series) -> Series:
    if isinstance(series, Slide):
        return series
    pixels = np.full(series.pixels.shape, _gray(series), dtype=np.uint8 if series.units == "RGB" else np.int16)
    name = series.series if series.series.startswith(_BLANK_SERIES) else _BLANK_SERIES + series.series
    return dataclasses.replace(series, series=name, pixels=ArrayPixels(pixels), window=None)


def _is_short(inquiry: Inquiry) -> bool:
    """Whether a prompt holds single images at most: a long one in a batch would pad all the others."""
    shown = list(inquiry.study.series()) if inquiry.study is not None else []
    return not inquiry.record and len(shown) <= 1 and all(isinstance(series, Image) for series in shown)


def _gray(series: Volume | Image) -> int:
    return 128 if series.units in ("RGB", "arbitrary") else 0


def _blank_key(inquiry: Inquiry, *, max_tokens: int) -> tuple[object, ...] | None:
    """Tells equal questions about studies that hold nothing but blanked series."""
    shown = list(inquiry.study.series()) if inquiry.study is not None else []
    if not shown or not all(series.series.startswith(_BLANK_SERIES) for series in shown):
        return None
    kinds = tuple(
        (type(series).__name__, series.modality, series.body_part, series.pixels.shape[:1] * isinstance(series, Volume))
        for series in shown
        if isinstance(series, Volume | Image)
    )
    return inquiry.question, inquiry.record, inquiry.system, max_tokens, kinds
