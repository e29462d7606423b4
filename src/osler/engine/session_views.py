"""Further ways to look at a study with a loaded model: scores of given answers, no answer at all, one image alone."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from osler.engine.options import Decoding
from osler.engine.prefix import PrefixStore
from osler.engine.scoring import Scored, Scoring, score_continuations
from osler.engine.waiting import evidence_of
from osler.engine.words import Words
from osler.errors import RequestError
from osler.prepare import PreparedImages
from osler.progress import Progress
from osler.study import Answer, Study

if TYPE_CHECKING:
    from osler.engine.runner import Runner
    from osler.engine.waiting import Waiting
    from osler.study import ModelStamp
    from osler.weights import Checkpoint


class SessionViews:
    """The part of `osler.engine.session.Session` that tasks other than asking need."""

    checkpoint: Checkpoint
    runner: Runner
    _prefix: PrefixStore
    _prepared: tuple[Study, PreparedImages] | None

    if TYPE_CHECKING:

        def prepare(self, study: Study, *, on_progress: Progress | None = None) -> PreparedImages: ...

        def _wait(self, study: Any, words: Words, **options: Any) -> Waiting: ...

        def stamp(self, *, seed: int | None = None) -> ModelStamp: ...

    def score(
        self,
        study: Study | str | Path | None,
        question: str,
        continuations: Sequence[str],
        *,
        system: str = "",
        record: str = "",
        history: Sequence[tuple[str, str]] = (),
        on_progress: Progress | None = None,
    ) -> Scoring:
        """Computes how likely the model finds given answers; the prompt is read once for all of them.

        Args:
            study: See `ask`. question: See there. system: See there. record: See there. history: See there.
            continuations: Answers, one at least.
            on_progress: See `ask`.

        Raises:
            RequestError: If the question is at fault, or an answer is empty.
            DataError: If the study cannot be read.
            CapacityError: If the request does not fit the context or the memory.
        """
        token_ids = [self.checkpoint.tokenizer.encode(text) for text in continuations]
        if not token_ids or not all(token_ids):
            raise RequestError("There is no answer to score, or an empty one.", allowed="Texts with a word at least.")
        decoding = Decoding(max_tokens=max(map(len, token_ids)))
        words = Words(question=question, system=system, record=record, history=tuple(history))
        waiting = self._wait(study, words, decoding=decoding, stop=(), on_progress=on_progress)
        logprobs = score_continuations(self.runner, waiting.prompt, token_ids, decoding=decoding, prefix=self._prefix)
        rows = zip(continuations, token_ids, logprobs, strict=True)
        scored = tuple(Scored(text=text, token_ids=tuple(ids), logprobs=found) for text, ids, found in rows)
        return Scoring(scored=scored, answer=waiting.answer)

    def blank(self, study: Study, *, on_progress: Progress | None = None) -> Answer:
        """Returns an answer without text: which weights, and what they would see of a study."""
        prepared = self.prepare(study, on_progress=on_progress)
        return Answer(
            text="",
            model=self.stamp(),
            preprocess=prepared.pixels.preprocess.hash,
            evidence=tuple(evidence_of(image) for image in prepared.images),
            used=prepared.used,
            left_out=prepared.left_out,
            warnings=(*self.checkpoint.warnings, *prepared.warnings),
        )

    def showing(self, study: Study, prepared: PreparedImages) -> Self:
        """Returns a session on the same weights and features that sees a study as it was prepared.

        For tasks that show less than the whole study, or pad its images: the contract of the answers is
        then that of ``prepared``.
        """
        twin = copy.copy(self)
        twin.checkpoint = dataclasses.replace(self.checkpoint, preprocess=prepared.pixels.preprocess)
        twin._prefix = PrefixStore()
        twin._prepared = (study, prepared)
        return twin
