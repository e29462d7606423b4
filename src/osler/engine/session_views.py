"""Further ways to look at a study with a loaded model: scores of given answers, no answer at all, one image alone."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from osler.engine.features import image_batch
from osler.engine.memory_plan import MemoryPlan, plan_request
from osler.engine.options import Decoding
from osler.engine.prefix import PrefixStore
from osler.engine.scoring import Scored, Scoring, score_continuations
from osler.engine.waiting import evidence_of
from osler.engine.words import Words
from osler.errors import RequestError
from osler.prepare import PreparedImages, SlabbedVolume, VisualTokens, with_visual_tokens
from osler.progress import Progress
from osler.study import Answer, ModelStamp, Study

if TYPE_CHECKING:
    from osler.engine.runner import Runner
    from osler.engine.waiting import Waiting
    from osler.model.osler import Osler
    from osler.weights import Checkpoint


class SessionViews:
    """The part of `osler.engine.session.Session` that tasks other than asking need."""

    checkpoint: Checkpoint
    runner: Runner
    model: Osler
    _prefix: PrefixStore
    _prepared: tuple[Study, PreparedImages] | None
    _views: dict[str, Self]

    if TYPE_CHECKING:

        def prepare(self, study: Study, *, on_progress: Progress | None = None) -> PreparedImages: ...

        def _wait(self, study: Any, words: Words, **options: Any) -> Waiting: ...

    def stamp(self, *, seed: int | None = None) -> ModelStamp:
        """Says which weights answer, and how."""
        digest = self.checkpoint.digest
        return ModelStamp(
            name=self.checkpoint.name,
            weights=" ".join(part for part in (self.checkpoint.source.name, digest and f"sha256:{digest}") if part),
            bits=self.checkpoint.bits or 8 * self.runner.dtype.itemsize,
            backend=self.runner.backend,
            device=self.runner.place,
            seed=seed,
        )

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
            warnings=(*self.checkpoint.warnings, *self._volume_notes(prepared.volumes), *prepared.warnings),
        )

    def _volume_notes(self, volumes: Mapping[int, SlabbedVolume]) -> tuple[str, ...]:
        """Says where volumes are read in a way that the weights have no trained parts for."""
        if not volumes or self.model.config.volume is not None:
            return ()
        return (
            f"{self.checkpoint.name} was not trained to read volumes as slabs: it sees means of neighboring slices.",
        )

    def _plan(self, *, longest: int, images: int, rows: int, decoding: Decoding) -> MemoryPlan:
        return plan_request(
            self.model.config,
            prompt_tokens=longest,
            max_tokens=decoding.max_tokens,
            images=images,
            itemsize=self.runner.dtype.itemsize,
            image_batch=image_batch(self.encoder),
            rows=rows,
        )

    def _images_worth(self, soft_tokens: int) -> int:
        """Images that take as many tokens, rounded up."""
        return -(-soft_tokens // max(1, self.model.config.image_tokens))

    def seeing(self, visual_tokens: VisualTokens) -> Self:
        """Returns a session on the same weights and features that reads volumes another way.

        Args:
            visual_tokens: Most tokens of all volumes of a prompt together, which are then read as slabs;
                ``"slices"`` to read them slice by slice; ``None`` for what the weights say.

        Raises:
            RequestError: If the budget is not a whole number from 1.
        """
        own = self.checkpoint.preprocess
        contract = with_visual_tokens(own, visual_tokens)
        if contract == own:
            return self
        if contract.hash not in self._views:
            twin = copy.copy(self)
            twin.checkpoint = dataclasses.replace(self.checkpoint, preprocess=contract)
            twin._prefix, twin._prepared, twin._views = self._prefix.fresh(), None, {}
            self._views.clear()  # a view holds the pixels of a study
            self._views[contract.hash] = twin
        return self._views[contract.hash]

    def showing(self, study: Study, prepared: PreparedImages) -> Self:
        """Returns a session on the same weights and features that sees a study as it was prepared.

        For tasks that show less than the whole study, or pad its images: the contract of the answers is
        then that of ``prepared``.
        """
        twin = copy.copy(self)
        twin.checkpoint = dataclasses.replace(self.checkpoint, preprocess=prepared.pixels.preprocess)
        twin._prefix, twin._views = PrefixStore(), {}
        twin._prepared = (study, prepared)
        return twin
