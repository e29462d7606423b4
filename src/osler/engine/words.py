"""All that is said in words when a study is asked about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from osler.prepare import PreparedImages, Preprocess
from osler.prepare.chat import Turn
from osler.prepare.inputs import before_record, first_turn

if TYPE_CHECKING:
    from osler.engine.session import Session
    from osler.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The question and what stands around it.

    Args:
        question: What is asked now.
        system: An instruction that goes before everything.
        record: Dated events and documents as text.
        history: Earlier questions and their answers, oldest first.
    """

    question: str
    system: str = ""
    record: str = ""
    history: tuple[tuple[str, str], ...] = ()

    def with_findings(self, session: Session, study: Study | None) -> Words:
        """Puts what the findings head reads before the record, for weights whose decoder was trained to be told it."""
        head = session.heads.get("findings")
        told = head.told(session, study) if head is not None and study is not None else ""
        return replace(self, record=before_record(told, self.record))

    def turns(self, prepared: PreparedImages, *, preprocess: Preprocess) -> tuple[Turn, ...]:
        """Returns the turns before the question; the images stand in the first."""
        if not self.history:
            return ()
        (question, answer), *later = self.history
        turns = [first_turn(prepared, question, preprocess=preprocess, record=self.record)]
        turns.append(Turn.of("assistant", answer))
        for question, answer in later:
            turns += [Turn.of("user", question), Turn.of("assistant", answer)]
        return tuple(turns)
