"""A loaded model that answers questions about studies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from osler.engine.answer_text import AnswerText
from osler.engine.device import Choice, choose_device, choose_dtype
from osler.engine.features import FeatureStore, image_batch
from osler.engine.generate import Generated, Prompt, generate
from osler.engine.memory_plan import plan_request, plan_weights, require_context
from osler.engine.options import Decoding, Sampling
from osler.engine.packing import choose_packing
from osler.engine.prefix import PrefixStore
from osler.engine.runner import Runner
from osler.errors import RequestError, unknown_name
from osler.model.pack import pack
from osler.prepare import ModelInputs, PreparedImages, ShownImage, assemble, prepare_images
from osler.prepare.inputs import check_question
from osler.readers import open_study
from osler.readers.limits import available_memory
from osler.study import Answer, Evidence, ModelStamp, SliceOrigin, Study
from osler.weights import load_checkpoint

if TYPE_CHECKING:
    from osler.weights import Checkpoint

Progress = Callable[[str, int, int], None]
"""Takes a stage, what is done of it and what there is in all (0: unknown)."""

_BACKENDS = ("torch",)
_BITS = (16, 32)


def load(
    name: str = "osler-mini",
    *,
    bits: int = 16,
    backend: str = "torch",
    device: str = "auto",
    dtype: str = "auto",
    packing: str = "auto",
) -> Session:
    """Loads a model and returns a session that answers with it.

    Example:
        >>> import osler
        >>> session = osler.load("osler-mini")  # doctest: +SKIP
        >>> answer = session.ask(osler.open_study("scan.dcm"), "What does it show?")  # doctest: +SKIP

    Args:
        name: A name from `osler models`, a folder or a GGUF file.
        bits: Of the weights: 16, or 32 for float32.
        backend: ``"torch"``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        dtype: ``"auto"``, ``"bfloat16"`` or ``"float32"``; ``"auto"`` takes what is fast here.
        packing: ``"packed"`` rearranges a copy of the weights for faster decoding,
            ``"plain"`` runs them as they lie, ``"auto"`` packs where it pays.

    Raises:
        RequestError: If an option is unknown.
        CheckpointError: If the weights are missing or damaged.
        CapacityError: If they do not fit into memory.
    """
    _check_options(bits=bits, backend=backend)
    place = choose_device(device)
    if bits == 32:
        if dtype not in ("auto", "float32"):
            raise RequestError(f"32 bits and the precision {dtype!r} contradict each other.", allowed="float32.")
        dtype = "float32"
    precision = choose_dtype(dtype, device=place.value)
    plan_weights(str(name), itemsize=precision.value.itemsize).require(available_memory())
    checkpoint = load_checkpoint(name, dtype=str(precision.value).removeprefix("torch."))
    checkpoint.model.to(place.value)
    return Session(checkpoint, packing=packing, device=place.reason, dtype=precision.reason)


class Session:
    """Answers questions; remembers the features and the read prefix of the last study.

    Not for use from several threads at once.

    Args:
        checkpoint: The weights, the tokenizer and their preprocessing contract.
        packing: See `load`. A packed decoder cannot be trained or saved any more.
        device: Why they are where they are. dtype: Why they have their precision.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, packing: str = "plain", device: str = "given", dtype: str = "given"
    ) -> None:
        self.checkpoint = checkpoint
        self.model = checkpoint.model.eval()
        chosen = choose_packing(self.model.decoder, wish=packing, available=available_memory())
        if chosen.value == "packed":
            pack(self.model.decoder)
        self.runner = Runner(self.model)
        self.choices: Mapping[str, Choice] = {
            "device": Choice(self.runner.device, device),
            "dtype": Choice(self.runner.dtype, dtype),
            "packing": chosen,
        }
        self._features = FeatureStore(self.model)
        self._prefix = PrefixStore()
        self._prepared: tuple[Study, PreparedImages] | None = None

    def prepare(self, study: Study, *, on_progress: Progress | None = None) -> PreparedImages:
        """Prepares the images of a study; the last study's are kept, so asking again is free.

        Args:
            study: The study.
            on_progress: Called with the stage ``"prepare"``.
        """
        if self._prepared is None or self._prepared[0] is not study:
            self._prepared = None
            prepared = prepare_images(
                study, preprocess=self.checkpoint.preprocess, progress=_staged(on_progress, "prepare")
            )
            self._prepared = (study, prepared)
        return self._prepared[1]

    def ask(
        self,
        study: Study | str | Path | None,
        question: str,
        *,
        system: str = "",
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int | None = None,
        stop: Iterable[str] = (),
        on_text: Callable[[str], None] | None = None,
        on_progress: Progress | None = None,
    ) -> Answer:
        """Answers a question about a study.

        Args:
            study: A study, a path to one, or ``None`` for a question without images.
            question: The question.
            system: An instruction that goes before it.
            max_tokens: Tokens of the answer at most.
            temperature: 0 takes the likeliest token each time.
            top_k: See `Sampling`. top_p: See there. min_p: See there. seed: See there.
            stop: Texts that end the answer and are not part of it.
            on_text: Called with each piece of text as it becomes certain.
            on_progress: Called with ``"read"``, ``"prepare"``, ``"encode"``,
                ``"prefill"`` or ``"answer"``, what is done and what there is in all.

        Raises:
            RequestError: If the question or an option is at fault.
            DataError: If the study cannot be read.
            CapacityError: If the request does not fit the context or the memory.
        """
        check_question(question)
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=1.0 if top_p is None else top_p,
            min_p=0.0 if min_p is None else min_p,
            seed=seed,
        )
        decoding = Decoding(max_tokens=max_tokens, sampling=sampling)
        text = AnswerText(self.checkpoint.tokenizer, stop=stop)
        seconds: dict[str, float] = {}
        with _timed(seconds, "read"):
            opened = _opened(study, on_progress=on_progress)
        with _timed(seconds, "prepare"):
            inputs = self._inputs(opened, question, system=system, on_progress=on_progress)
            self._require_room(inputs, max_tokens=max_tokens)
        with _timed(seconds, "encode"):
            features_NTD = self._features.encode(inputs.pixels, on_progress=_staged(on_progress, "encode"))
        prompt = Prompt(token_ids=inputs.token_ids, features_NTD=features_NTD)
        result = self._generate(prompt, text=text, decoding=decoding, on_text=on_text, on_progress=on_progress)
        seconds |= {"prefill": result.prefill_seconds, "decode": result.decode_seconds}
        return Answer(
            text=text.text.strip(),
            model=self._stamp(seed=seed if temperature > 0 else None),
            preprocess=inputs.preprocess_hash,
            stopped=result.stopped,
            evidence=tuple(_evidence(image) for image in inputs.images),
            used=inputs.used,
            left_out=inputs.left_out,
            warnings=(*self.checkpoint.warnings, *inputs.warnings, *_warnings(text, result=result)),
            tokens=_tokens(inputs, text=text, result=result),
            timings=seconds,
        )

    def forget(self) -> None:
        """Frees what is remembered of the last study."""
        self._features.clear()
        self._prefix.clear()
        self._prepared = None

    def _inputs(self, study: Study | None, question: str, *, system: str, on_progress: Progress | None) -> ModelInputs:
        checkpoint = self.checkpoint
        return assemble(
            self.prepare(_NO_STUDY if study is None else study, on_progress=on_progress),
            question,
            study=study,
            preprocess=checkpoint.preprocess,
            tokenizer=checkpoint.tokenizer,
            tokens=self.model.config.tokens,
            system=system,
        )

    def _require_room(self, inputs: ModelInputs, *, max_tokens: int) -> None:
        prompt_tokens = len(inputs.token_ids)
        require_context(self.model.config.decoder, prompt_tokens=prompt_tokens, max_tokens=max_tokens)
        plan = plan_request(
            self.model.config,
            prompt_tokens=prompt_tokens,
            max_tokens=max_tokens,
            images=len(inputs.images),
            itemsize=self.runner.dtype.itemsize,
            image_batch=image_batch(self.model),
        )
        # The cache of the last prompt is reused or freed, so its memory counts as free.
        plan.require(available_memory() + self._prefix.bytes)

    def _generate(
        self,
        prompt: Prompt,
        *,
        text: AnswerText,
        decoding: Decoding,
        on_text: Callable[[str], None] | None,
        on_progress: Progress | None,
    ) -> Generated:
        count = 0

        def show(piece: str) -> None:
            if piece and on_text is not None:
                on_text(piece)

        def take(row: int, token: int) -> bool:
            nonlocal count
            count += 1
            show(text.push(token))
            if on_progress is not None:
                on_progress("answer", count, decoding.max_tokens)
            return text.stopped

        (result,) = generate(
            self.runner,
            [prompt],
            decoding=decoding,
            on_token=take,
            on_prefill=_staged(on_progress, "prefill"),
            prefix=self._prefix,
        )
        show(text.finish())
        if text.stopped:
            result.stopped = "stop_string"
        return result

    def _stamp(self, *, seed: int | None) -> ModelStamp:
        return ModelStamp(
            name=self.checkpoint.name,
            weights=" ".join(part for part in (self.checkpoint.source.name, _named(self.checkpoint.digest)) if part),
            bits=8 * self.runner.dtype.itemsize,
            backend="torch",
            device=self.runner.device.type,
            seed=seed,
        )


_NO_STUDY = Study(timepoints=())


def _check_options(*, bits: int, backend: str) -> None:
    if backend == "jax":
        raise RequestError(
            "The JAX backend is not part of this version.", allowed="Backends: torch.", next_step="Use backend='torch'."
        )
    if backend not in _BACKENDS:
        raise unknown_name("backend", name=backend, known=_BACKENDS)
    if bits in (4, 8):
        raise RequestError(
            f"Weights of {bits} bits are not part of this version.",
            allowed=f"Bits: {', '.join(map(str, _BITS))}.",
            next_step="Use bits=16.",
        )
    if bits not in _BITS:
        raise RequestError(
            f"Weights of {bits!r} bits do not exist here.", allowed=f"Bits: {', '.join(map(str, _BITS))}."
        )


def _opened(study: Study | str | Path | None, *, on_progress: Progress | None) -> Study | None:
    if not isinstance(study, str | Path):
        return study
    if on_progress is not None:
        on_progress("read", 0, 0)
    return open_study(study)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


def _staged(on_progress: Progress | None, stage: str) -> Callable[..., None] | None:
    """A callback of one stage; whatever stands before the two counts is left out."""
    if on_progress is None:
        return None
    return lambda *counts: on_progress(stage, counts[-2], counts[-1])


def _named(digest: str) -> str:
    return f"sha256:{digest}" if digest else ""


def _evidence(image: ShownImage) -> Evidence:
    kind = "image" if image.slice is None else "slice"
    origin = image.origin
    if origin is None:
        return Evidence(kind=kind, series=image.series, slice=image.slice)
    return Evidence(
        kind=kind,
        series=image.series,
        slice=image.slice,
        file=origin.file,
        sop_uid=origin.sop_uid,
        frame=origin.frame + 1 if origin.frames > 1 else None,
        note=_resampled(origin),
    )


def _resampled(origin: SliceOrigin) -> str:
    """Says how a slice differs from that of its file, where a reader has straightened or filled a stack."""
    notes = []
    if origin.share < 1:
        notes.append(f"interpolated between two slices, {origin.share:.0%} of it from this file")
    if any(abs(pixels) >= 0.05 for pixels in origin.shift):
        notes.append(f"shifted in its plane by {0 - origin.shift[0]:.1f} columns and {0 - origin.shift[1]:.1f} rows")
    return "; ".join(notes)


def _warnings(text: AnswerText, *, result: Generated) -> Iterator[str]:
    if text.thinking:
        yield (
            f"The model was still thinking after {len(result.token_ids)} tokens, so there is no answer: "
            "allow more tokens."
        )
    elif result.stopped == "max_tokens":
        yield f"The answer was cut off after {len(result.token_ids)} tokens: allow more tokens."
    elif not text.text.strip():
        yield "The model ended its answer without a word."


def _tokens(inputs: ModelInputs, *, text: AnswerText, result: Generated) -> dict[str, int]:
    counts = {
        "prompt": result.prompt_tokens,
        "images": sum(used.tokens for used in inputs.used),
        "reused": result.reused_tokens,
        "answer": len(result.token_ids) - text.thinking_tokens,
    }
    return counts | ({"thinking": text.thinking_tokens} if text.thinking_tokens else {})
