"""Chat: questions one after the other about studies that stay loaded.

The images are read once: a later question reads only what is new. What was
said before goes along as history, bounded by the context: the oldest turns are
dropped, and the reply says so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from osler.engine.options import check_speculation
from osler.errors import CapacityError, RequestError, unknown_name
from osler.prepare import PreparedImages
from osler.progress import Progress
from osler.readers.identity import Mixing
from osler.study import Answer, Evidence, Study
from osler.tasks.disagreement import disagreements
from osler.tasks.model_choice import SightChoice
from osler.tasks.opening import flat, merged, noticed, one_by_one, open_together
from osler.tasks.record_question import answer_from_record

if TYPE_CHECKING:
    from osler.engine.session import Session

COMMANDS = {
    "/open": "PATH: talk about another scan; the conversation starts anew",
    "/prior": "PATH: add an earlier study of the same patient",
    "/slice": "N or all: show only slice N of a volume to the model, or all slices again",
    "/evidence": "what the last answer rests on",
    "/save": "FILE: write the conversation, as Markdown (.md) or JSON (.json)",
    "/help": "these commands",
    "/quit": "end (so does Ctrl-D; Ctrl-C stops an answer)",
}
TRANSCRIPT_MARK = "Osler conversation"
"""Stands at the head of each transcript, so that Osler knows its own files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest(SightChoice):
    """What to talk about, and with which weights.

    Args:
        paths: Scans of one patient, that of today first; may be empty.
        records: FHIR bundles, laboratory reports, letters of the same patient.
        mixing: ``"allow"`` takes files of different patients together.
        max_tokens: Longest answer.
        speculation: ``"lookup"`` or ``"draft"`` guesses ahead, for greedy answers on PyTorch; see `Decoding`.
    """

    paths: tuple[str | Path, ...] = ()
    records: tuple[str | Path, ...] = ()
    mixing: Mixing = "refuse"
    max_tokens: int = 256
    speculation: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and what came of it.

    Args:
        question: As asked.
        answer: The answer.
        shown: What the model saw, such as ``"slice 12"``; empty for all.
    """

    question: str
    answer: Answer
    shown: str = ""


@dataclass(slots=True, kw_only=True)
class Chat:
    """A conversation; not for use from several threads at once.

    Args:
        session: From `osler.load`.
        paths: Scans of one patient, that of today first.
        records: The record of the patient.
        mixing: ``"allow"`` takes files of different patients together, also those that `open` and `add_prior` name.
        max_tokens: Longest answer.
        speculation: See `Session.ask`.
    """

    session: Session
    paths: tuple[str | Path, ...] = ()
    records: tuple[str | Path, ...] = ()
    mixing: Mixing = "refuse"
    max_tokens: int = 256
    speculation: str = "none"
    turns: list[Turn] = field(default_factory=list)
    study: Study | None = None
    dropped: int = 0
    _shown: tuple[int, PreparedImages, Session] | None = None

    def __post_init__(self) -> None:
        if self.paths and self.study is None:
            self.study = open_together(self.paths[0], priors=self.paths[1:], records=self.records, mixing=self.mixing)

    def notice(self, question: str) -> tuple[str, ...]:
        """Says where a question does not fit the study; for before the answer."""
        if self.study is None:
            return ()
        return flat(noticed(self.session, self.study, [question]))

    def ask(
        self,
        question: str,
        *,
        on_text: Callable[[str], None] | None = None,
        on_progress: Progress | None = None,
    ) -> tuple[Answer, str]:
        """Asks a question with all that was said before; what the record alone answers needs no model.

        Returns:
            The answer, and what was dropped of the conversation to make room; empty if nothing.

        Raises:
            RequestError: If the question is at fault.
            CapacityError: If it does not fit the context even without history.
        """
        session = self.session if self._shown is None else self._shown[2]
        study = self.study
        before = self.dropped
        exact = None if study is None else answer_from_record(study, question)
        if exact is not None:
            if on_text is not None:
                on_text(exact.text)
            self.turns.append(Turn(question=question, answer=exact))
            return exact, ""
        while True:
            kept = self.turns[self.dropped :]
            try:
                answer = session.ask(
                    study,
                    question,
                    record=self._record(question),
                    history=[(turn.question, turn.answer.text or "-") for turn in kept],
                    max_tokens=self.max_tokens,
                    speculation=self.speculation,
                    on_text=on_text,
                    on_progress=on_progress,
                )
            except CapacityError:
                if not kept:
                    raise
                self.dropped += 1
                continue
            break
        if study is not None and (against := tuple(disagreements(answer.text, study=study))):
            answer = dataclasses.replace(answer, warnings=merged((*answer.warnings, *against)))
        shown = "" if self._shown is None else f"slice {self._shown[0]}"
        self.turns.append(Turn(question=question, answer=answer, shown=shown))
        return answer, self._dropped_note(before)

    def open(self, path: str | Path) -> str:
        """Goes over to another scan; returns what to say."""
        study = open_together(path, priors=(), records=(), mixing=self.mixing)
        self.study, self.paths, self.records = study, (path,), ()
        self.turns, self.dropped, self._shown = [], 0, None
        self.session.forget()
        return f"{_counted(study)}. The conversation starts anew."

    def add_prior(self, path: str | Path) -> str:
        """Adds an earlier study of the same patient; returns what to say."""
        if not self.paths:
            raise RequestError("There is no scan yet.", next_step="/open one first.")
        paths = (*self.paths, path)
        self.study = open_together(paths[0], priors=paths[1:], records=self.records, mixing=self.mixing)
        self.paths, self._shown = paths, None
        return f"{_counted(self.study)}."

    def show_slice(self, wish: str) -> str:
        """Shows one slice alone, or all again; returns what to say.

        Args:
            wish: ``"all"``, or the number of a slice from 1 as viewers count.
        """
        if wish == "all":
            self._shown = None
            return "All slices are shown again."
        if self.study is None or not self.study.volumes():
            raise RequestError("There is no volume to take a slice of.", next_step="/open one first.")
        if not wish.isdecimal():
            raise RequestError(f"{wish!r} is no slice.", allowed="A number from 1, or all.")
        prepared = self.session.prepare(self.study)
        wanted = int(wish) - 1
        slices = {image.slice: number for number, image in enumerate(prepared.images) if image.slice is not None}
        nearest = min(slices, key=lambda index: abs(index - wanted))
        (one,) = one_by_one(prepared, [slices[nearest]])
        self._shown = (nearest + 1, one, self.session.showing(self.study, one))
        if nearest == wanted:
            return f"Only slice {wish} is shown."
        return f"Slice {wish} is not among those that the model sees; slice {nearest + 1}, the nearest, is shown alone."

    def evidence(self) -> tuple[Evidence, ...]:
        """Returns what the last answer rests on."""
        return self.turns[-1].answer.evidence if self.turns else ()

    def command(self, line: str) -> str:
        """Carries out a command that changes or tells something; returns what to say.

        ``/save``, ``/evidence`` and ``/quit`` are the caller's: they write, print and end.

        Raises:
            RequestError: If the command is unknown or lacks its argument.
            DataError: If a scan cannot be read.
        """
        name, _, argument = line.strip().partition(" ")
        argument = argument.strip()
        if name == "/help":
            return "\n".join(f"{command:<10} {text}" for command, text in COMMANDS.items())
        actions: dict[str, Callable[[str], str]] = {
            "/open": self.open,
            "/prior": self.add_prior,
            "/slice": self.show_slice,
        }
        if name not in actions:
            raise unknown_name("command", name=name, known=COMMANDS)
        if not argument:
            raise RequestError(f"{name} needs more: {COMMANDS[name]}.")
        return actions[name](argument)

    def _record(self, question: str) -> str:
        if self.study is None or not (self.study.events or self.study.documents):
            return ""
        from osler.prepare.record_text import record_text

        return record_text(self.study, question=question).text

    def _dropped_note(self, before: int) -> str:
        count = self.dropped - before
        if not count:
            return ""
        turns = "turn" if count == 1 else f"{count} turns"
        return f"The context is full: the oldest {turns} of the conversation {'was' if count == 1 else 'were'} dropped."


def open_chat(request: ChatRequest, *, on_progress: Progress | None = None) -> Chat:
    """Opens the files, then loads the weights: a wrong path is told at once.

    Args:
        request: What to talk about.
        on_progress: Called with the names of the stages.

    Raises:
        RequestError: If the model or the speculation is unknown, or could not take effect.
        DataError: If the files cannot be read, or are of different patients.
        ModelError: If the weights cannot be loaded.
    """
    report = on_progress or (lambda *stage: None)
    request.check()
    check_speculation(request.speculation, backend=request.backend)
    report("read", 0, 0)
    study = None
    if request.paths:
        now, *priors = request.paths
        study = open_together(now, priors=priors, records=request.records, mixing=request.mixing)
    elif request.records:
        first, *records = request.records
        study = open_together(first, priors=(), records=records, mixing=request.mixing)
    report("load", 0, 0)
    return Chat(
        session=request.load(),
        paths=request.paths,
        records=request.records,
        mixing=request.mixing,
        max_tokens=request.max_tokens,
        speculation=request.speculation,
        study=study,
    )


def transcript(chat: Chat, *, form: str) -> str:
    """Writes a conversation down.

    Args:
        chat: The conversation.
        form: ``"json"`` or ``"markdown"``.
    """
    if form == "json":
        turns = [
            {"question": turn.question, "shown": turn.shown or "all", "answer": turn.answer.to_dict()}
            for turn in chat.turns
        ]
        return json.dumps({"osler": TRANSCRIPT_MARK, "turns": turns}, indent=2, ensure_ascii=False)
    lines = [f"# {TRANSCRIPT_MARK}", ""]
    for turn in chat.turns:
        shown = f" ({turn.shown} alone)" if turn.shown else ""
        lines += [f"**Question{shown}:** {_one_line(turn.question)}", "", f"**Answer:** {turn.answer.text}", ""]
        lines += [f"> {warning}" for warning in turn.answer.warnings]
        lines += [_used(turn.answer), ""]
    lines.append("Research software, not a medical device: check every statement against the images.")
    return "\n".join(lines) + "\n"


def transcript_form(path: str | Path) -> str:
    """Returns the form that a file name asks for.

    Raises:
        RequestError: If it is neither Markdown nor JSON.
    """
    forms = {".md": "markdown", ".json": "json"}
    suffix = Path(path).suffix.lower()
    if suffix not in forms:
        raise RequestError(
            f"A conversation cannot be written to {Path(path).name!r}.", allowed="A name in .md or .json."
        )
    return forms[suffix]


def is_own_transcript(path: Path) -> bool:
    """Whether a file is a transcript of Osler's, and so may be overwritten."""
    try:
        with path.open(encoding="utf-8") as file:
            return TRANSCRIPT_MARK in file.read(200)
    except (OSError, UnicodeDecodeError):
        return False


def _used(answer: Answer) -> str:
    used = "; ".join(
        " ".join(part for part in (series.modality, series.description, f"[{series.series}]") if part)
        for series in answer.used
    )
    return f"*{answer.model.name}, {used or 'no image'}*"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _counted(study: Study) -> str:
    series = tuple(study.series())
    dates = len(study.timepoints)
    return f"{len(series)} series of {dates} {'study' if dates == 1 else 'studies'}"
