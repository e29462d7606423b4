"""A session whose words come from a test.

No weights that draw boxes or write reports can be had here, so a test writes
what they would say; everything else (images, features, scores, grammars) is
the real session on the `debug` network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from osler.engine.session import Session
from osler.study import Answer, Study
from osler.weights import Checkpoint
from osler.weights.skills import Skill

Writer = Callable[[Session, Study, str], str]


class SilentHead:
    """What findings heads of tests have in common: they read the whole study and tell the decoder nothing."""

    calibrated: bool = True

    def looked_at(self, study: Study) -> Study:
        return study

    def told(self, session: Session, study: Study) -> str:
        return ""


class Scripted(Session):
    """Says what ``writer`` returns, but for answers under a grammar, which the network gives."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        writer: Writer = lambda session, study, question: "",
        trained: Iterable[Skill] = (),
        heads: Mapping[Skill, Any] | None = None,
    ) -> None:
        super().__init__(dataclasses.replace(checkpoint, trained=frozenset(trained)))
        self.writer = writer
        self.heads = dict(heads or {})
        self.asked: list[str] = []

    def ask(self, study: Any, question: str, **options: Any) -> Answer:
        if options.get("constraint") is not None:
            return super().ask(study, question, **{**options, "max_tokens": 60})
        self.asked.append(question)
        return dataclasses.replace(self.blank(study), text=self.writer(self, study, question))
