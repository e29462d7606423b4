"""A loaded model that answers questions about studies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from osler.engine.adapter_memory import MemoryStore
from osler.engine.ahead import Ready, draw_ahead, read_ahead, when_to_encode
from osler.engine.answer_text import AnswerText
from osler.engine.constrained import Constraint, Grammars
from osler.engine.device import Choice
from osler.engine.draft_network import DraftNetwork
from osler.engine.features import FeatureStore, ImageEncoder
from osler.engine.fingerprint import fingerprint
from osler.engine.generate import Prompt, generate
from osler.engine.heads import offered_heads
from osler.engine.memory_plan import require_context
from osler.engine.options import Decoding, check_stop, decoding_of
from osler.engine.packing import choose_packing
from osler.engine.prefix import PrefixStore
from osler.engine.runner import Runner
from osler.engine.session_views import SessionViews
from osler.engine.slab_features import SlabStore
from osler.engine.stages import staged, timed
from osler.engine.study_cache import open_study_cache
from osler.engine.timeline_features import TimelineStore
from osler.engine.waiting import Waiting, evidence_of
from osler.engine.words import Words
from osler.errors import OslerError, RequestError
from osler.model.pack import pack
from osler.prepare import ModelInputs, PreparedImages, VisualTokens, assemble, prepare_images
from osler.prepare.inputs import check_question
from osler.progress import Progress
from osler.readers import open_study
from osler.readers.limits import available_memory
from osler.study import Answer, Study

if TYPE_CHECKING:
    import torch

    from osler.engine.backend import AnyNetwork, AnyRunner
    from osler.jax.runner import JaxRunner
    from osler.weights import Checkpoint
    from osler.weights.skills import Skill


class Session(SessionViews):
    """Answers questions; remembers the features and the read prefix of the last study.

    Not for use from several threads at once.

    Args:
        checkpoint: The weights, the tokenizer and their preprocessing contract.
        packing: See `load`; a choice stands for weights that are packed already. Those cannot be trained or saved.
        device: Why they are where they are. dtype: Why they have their precision.
        studies: ``"disk"`` keeps encoded studies for later sessions (`open_study_cache`).
        runner: Computes, with its network, instead of the checkpoint's own, which then may have no storage.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        packing: str | Choice[str] = "plain",
        device: str = "given",
        dtype: str = "given",
        studies: Literal["disk", "memory"] = "memory",
        runner: JaxRunner | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.model = checkpoint.model.eval()
        chosen = packing
        if runner is not None and not isinstance(chosen, Choice):
            chosen = Choice("plain", "JAX reads the weights as they lie")
        if not isinstance(chosen, Choice):
            chosen = choose_packing(self.model.decoder, wish=chosen, available=available_memory())
        if chosen.value == "packed":
            pack(self.model.decoder)
        self.runner: AnyRunner = runner or Runner(self.model)
        self.choices: Mapping[str, Choice] = {
            "device": Choice(self.runner.device, device),
            "dtype": Choice(self.runner.dtype, dtype),
            "packing": chosen,
        }
        self.network: AnyNetwork = self.model if runner is None else runner.network
        self.heads: Mapping[Skill, Any] = offered_heads(self.network)
        self._disk = None
        if studies == "disk" and checkpoint.identity:
            self._disk = open_study_cache(fingerprint=fingerprint(checkpoint, runner=self.runner, packing=chosen.value))
        self.encoder: ImageEncoder = self.network
        self._features = FeatureStore(self.encoder, disk=self._disk)
        self._slabs = SlabStore(self.network, disk=self._disk)
        self._memories = MemoryStore(self.network, slabs=self._slabs)
        self._timelines = TimelineStore(self.network)
        self._prefix = PrefixStore(disk=self._disk)
        self._draft = DraftNetwork(checkpoint)
        self._prepared: tuple[Study, PreparedImages] | None = None
        self._views: dict[str, Session] = {}
        config = self.model.config
        self._grammars = Grammars(
            checkpoint.tokenizer,
            vocab=config.decoder.vocab,
            ends=(config.tokens.end_of_turn, config.tokens.eos),
        )

    @property
    def trained(self) -> frozenset[Skill]:
        """What the weights were trained to do."""
        return self.checkpoint.trained

    def encode(self, prepared: PreparedImages, *, on_progress: Progress | None = None) -> torch.Tensor | None:
        """Returns the features of prepared images, (N, T, D), or ``None`` where there are none.

        Args:
            prepared: From `prepare`.
            on_progress: Called with the stage ``"encode"``.
        """
        return self._features.encode(prepared.pixels, on_progress=staged(on_progress, "encode"))

    def prepare(self, study: Study, *, on_progress: Progress | None = None) -> PreparedImages:
        """Prepares the images of a study; the last study's are kept, so asking again is free.

        Args:
            study: The study.
            on_progress: Called with the stage ``"prepare"``.
        """
        if self._prepared is None or self._prepared[0] is not study:
            self._prepared = None
            prepared = prepare_images(
                study, preprocess=self.checkpoint.preprocess, progress=staged(on_progress, "prepare")
            )
            self._prepared = (study, prepared)
        return self._prepared[1]

    def ask(
        self,
        study: Study | str | Path | None,
        question: str,
        *,
        system: str = "",
        record: str = "",
        history: Sequence[tuple[str, str]] = (),
        visual_tokens: VisualTokens = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int | None = None,
        stop: Iterable[str] = (),
        speculation: str = "none",
        constraint: Constraint | None = None,
        on_text: Callable[[str], None] | None = None,
        on_progress: Progress | None = None,
    ) -> Answer:
        """Answers a question about a study.

        Args:
            study: A study, a path to one, or ``None`` for a question without images.
            question: The question.
            system: An instruction that goes before it.
            record: Dated events and documents as text, shown between the images and the question as data.
            history: Questions asked before about the same study and their answers, oldest first.
            visual_tokens: See `seeing`.
            max_tokens: Tokens of the answer at most.
            temperature: 0 takes the likeliest token each time.
            top_k: See `Sampling`. top_p: See there. min_p: See there. seed: See there.
            stop: Texts that end the answer and are not part of it.
            speculation: ``"lookup"`` or ``"draft"`` guesses ahead, for one greedy answer on PyTorch; see `Decoding`.
            constraint: A `JsonSchema`, `Regex` or `Lark` that the answer must follow. An answer that
                `max_tokens` cuts off is not whole, and a warning says so.
            on_text: Called with each piece of text as it becomes certain.
            on_progress: Called with ``"read"``, ``"prepare"``, ``"encode"``,
                ``"prefill"`` or ``"answer"``, what is done and what there is in all.

        Raises:
            RequestError: If the question or an option is at fault.
            DataError: If the study cannot be read.
            CapacityError: If the request does not fit the context or the memory.
        """
        decoding = decoding_of(
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
            speculation=speculation,
            backend=self.runner.backend,
        )
        self._draft.open(decoding)
        words = Words(question=question, system=system, record=record, history=tuple(history))
        texts = check_stop(stop)
        rule = None if constraint is None else self._grammars.start(constraint, stop=texts)
        view = self.seeing(visual_tokens)
        waiting = view._wait(study, words, decoding=decoding, stop=texts, on_progress=on_progress)
        waiting = replace(waiting, rule=rule)
        (answer,) = view._answers([waiting], decoding=decoding, on_text=on_text, on_progress=on_progress)
        return answer

    def ask_many(
        self,
        requests: Iterable[tuple[Study | str | Path | None, str]],
        *,
        batch: int = 8,
        system: str = "",
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int | None = None,
        stop: Iterable[str] = (),
        failures: Literal["raise", "yield"] = "raise",
        on_progress: Progress | None = None,
    ) -> Iterator[Answer | OslerError]:
        """Answers many questions, several at a time, each as `ask` would.

        In float32 the tokens are those of `ask`; in bfloat16 a near tie may fall the other way.
        Questions on one study that follow each other prepare and encode it once. The next study is
        read and prepared while the present ones are answered, and up to a batch of them is encoded
        where cores are free for it (`when_to_encode`).

        Example:
            >>> pairs = [(path, "Which plane is this?") for path in paths]  # doctest: +SKIP
            >>> for answer in session.ask_many(pairs):  # doctest: +SKIP
            ...     print(answer.text)

        Args:
            requests: Pairs of a study (or a path, or ``None``) and a question, taken as they are needed.
            batch: Questions that are answered together at most; fewer where memory is short.
            system: See `ask`. max_tokens: See there. temperature: See there. top_k: See there.
            top_p: See there. min_p: See there. seed: See there. stop: See there.
            failures: ``"raise"`` ends at the first request that fails, ``"yield"`` gives its error
                in place of an answer and goes on.
            on_progress: See `ask`; what is done before its turn is not told.

        Yields:
            Answers in the order of the requests. Their ``decode`` seconds are those of the batch.

        Raises:
            RequestError: If an option, or the question that is reached, is at fault.
            DataError: If the study that is reached cannot be read.
            CapacityError: If a request does not fit the context or the memory by itself.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise RequestError(f"A batch of {batch!r} questions.", allowed="A whole number from 1.")
        decoding = decoding_of(
            max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed
        )
        ready = read_ahead(requests, preprocess=self.checkpoint.preprocess)
        words = Words(question="", system=system)
        ahead = self.runner.backend == "torch" and when_to_encode(self.runner.device).value == "ahead"
        # What is prepared before its turn must not take the place of what the session answers meanwhile.
        rows = copy.copy(self)._pending(
            ready, words, decoding=decoding, stop=check_stop(stop), on_progress=None if ahead else on_progress
        )
        if ahead:
            rows = draw_ahead(rows, ahead=batch)
        return self._in_batches(rows, batch=batch, failures=failures, decoding=decoding, on_progress=on_progress)

    def forget(self) -> None:
        """Frees what is remembered of the last study."""
        self._features.clear()
        self._slabs.clear()
        self._memories.clear()
        self._timelines.clear()
        self._prefix.clear()
        self._prepared = None
        self._views.clear()

    def _inputs(self, study: Study | None, words: Words, *, on_progress: Progress | None) -> ModelInputs:
        checkpoint, words = self.checkpoint, words.with_findings(self, study)
        prepared = self.prepare(_NO_STUDY if study is None else study, on_progress=on_progress)
        return assemble(
            prepared,
            words.question,
            study=study,
            preprocess=checkpoint.preprocess,
            tokenizer=checkpoint.tokenizer,
            tokens=self.model.config.tokens,
            system=words.system,
            record=words.record,
            history=words.turns(prepared, preprocess=checkpoint.preprocess),
        )

    def _wait(
        self,
        study: Study | str | Path | None,
        words: Words,
        *,
        decoding: Decoding,
        stop: tuple[str, ...],
        on_progress: Progress | None,
    ) -> Waiting:
        """Does everything that comes before the first token."""
        check_question(words.question)
        seconds: dict[str, float] = {}
        with timed(seconds, "read"):
            opened = _opened(study, on_progress=on_progress)
        with timed(seconds, "prepare"):
            inputs = self._inputs(opened, words, on_progress=on_progress)
            count, images = len(inputs.token_ids), self._images_worth(inputs.soft_tokens)
            require_context(self.model.config.decoder, prompt_tokens=count, max_tokens=decoding.max_tokens)
            # The cache of the last prompt is reused or freed, so its memory counts as free.
            plan = self._plan(longest=count, images=images, rows=1, decoding=decoding)
            plan.require(available_memory() + self._prefix.bytes)
        with timed(seconds, "encode"):
            features_NTD = self._slabs.encode_shown(
                inputs, images=self._features, on_progress=staged(on_progress, "encode")
            )
            features_NTD = self._timelines.joined(
                features_NTD, session=self, study=opened, prepared=self.prepare(opened or _NO_STUDY)
            )
            memory = self._memories.of(inputs)
        answer = Answer(
            text="",
            model=self.stamp(seed=decoding.sampling.seed if decoding.sampling.temperature > 0 else None),
            preprocess=inputs.preprocess_hash,
            evidence=tuple(evidence_of(image) for image in inputs.images),
            used=inputs.used,
            left_out=inputs.left_out,
            warnings=(*self.checkpoint.warnings, *self._volume_notes(inputs.volumes), *inputs.warnings),
            timings=seconds,
        )
        return Waiting(
            prompt=Prompt(token_ids=inputs.token_ids, features_NTD=features_NTD, memory=memory),
            text=AnswerText(self.checkpoint.tokenizer, stop=stop),
            answer=answer,
        )

    def _pending(
        self,
        requests: Generator[Ready | OslerError, None, None],
        words: Words,
        *,
        decoding: Decoding,
        stop: tuple[str, ...],
        on_progress: Progress | None,
    ) -> Generator[Waiting | OslerError, None, None]:
        """Does everything that comes before the first token, or says what went wrong, request by request."""
        with closing(requests):
            for ready in requests:
                try:
                    if isinstance(ready, OslerError):
                        raise ready
                    if ready.study is not None and ready.prepared is not None:
                        self._prepared = (ready.study, ready.prepared)
                    asked = replace(words, question=ready.question)
                    waiting = self._wait(ready.study, asked, decoding=decoding, stop=stop, on_progress=on_progress)
                    yield waiting.after(ready.seconds)
                except OslerError as error:
                    yield error

    def _in_batches(
        self,
        rows: Generator[Waiting | OslerError, None, None],
        *,
        batch: int,
        failures: Literal["raise", "yield"],
        decoding: Decoding,
        on_progress: Progress | None,
    ) -> Iterator[Answer | OslerError]:
        waiting: list[Waiting] = []
        with closing(rows):
            for row in rows:
                failed = isinstance(row, OslerError)
                if waiting and (failed or not self._fit([*waiting, row], decoding=decoding)):
                    yield from self._answers(waiting, decoding=decoding, on_progress=on_progress)
                    waiting = []
                if not failed:
                    waiting.append(row)
                elif failures == "raise":
                    raise row
                else:
                    yield row
                if len(waiting) == batch:
                    yield from self._answers(waiting, decoding=decoding, on_progress=on_progress)
                    waiting = []
            if waiting:
                yield from self._answers(waiting, decoding=decoding, on_progress=on_progress)

    def _fit(self, waiting: Sequence[Waiting], *, decoding: Decoding) -> bool:
        """Whether requests fit into memory together."""
        plan = self._plan(
            longest=max(len(row.prompt.token_ids) for row in waiting),
            images=self._images_worth(sum(row.soft_tokens for row in waiting)),
            rows=len(waiting),
            decoding=decoding,
        )
        return plan.fits(available_memory() + self._prefix.bytes)

    def _answers(
        self,
        waiting: Sequence[Waiting],
        *,
        decoding: Decoding,
        on_text: Callable[[str], None] | None = None,
        on_progress: Progress | None = None,
    ) -> list[Answer]:
        show = on_text or (lambda piece: None)
        count = 0

        def take(row: int, token: int) -> bool:
            nonlocal count
            count += 1
            text = waiting[row].text
            if piece := text.push(token):
                show(piece)
            if on_progress is not None:
                on_progress("answer", count, decoding.max_tokens * len(waiting))
            return text.stopped

        if len(waiting) > 1:
            self._prefix.clear()  # its memory was counted as free
        results = generate(
            self.runner,
            [row.prompt for row in waiting],
            decoding=decoding,
            on_token=take,
            on_prefill=staged(on_progress, "prefill"),
            prefix=self._prefix,
            rules=[row.rule for row in waiting],
            drafter=self._draft.drafter([row.prompt for row in waiting], decoding=decoding),
        )
        for row in waiting:
            if piece := row.text.finish():
                show(piece)
        self._prefix.persist()
        notes = self._disk.take_notes() if self._disk is not None else ()
        return [row.answered(result, notes=notes) for row, result in zip(waiting, results, strict=True)]


_NO_STUDY = Study(timepoints=())


def _opened(study: Study | str | Path | None, *, on_progress: Progress | None) -> Study | None:
    if not isinstance(study, str | Path):
        return study
    if on_progress is not None:
        on_progress("read", 0, 0)
    return open_study(study)
