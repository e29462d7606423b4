"""From prompts to tokens: chunked prefill, then one token a step for each row.

Each prompt of a batch is read alone, so that its cuts and results are those of
a single prompt; the rows are then joined and decoded together. In float32 a
row's tokens are those it gives alone; in bfloat16 the products of one row and
of several round differently, and a near tie may fall the other way.

Legend: B rows, L tokens, N images, T soft tokens of an image, D width, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from osler.engine.chunks import chunk_ends, study_length
from osler.engine.constrained import Rule
from osler.engine.decode import Drafting, Generated, OnToken, Writing, decode
from osler.engine.kv_cache import KVCache
from osler.engine.memory_plan import require_context
from osler.engine.options import Decoding
from osler.engine.prefix import PrefixStore, PromptKey, image_digests
from osler.engine.runner import Runner
from osler.engine.speculation import Drafter, PromptLookup
from osler.model.adapter import AdapterMemory

if TYPE_CHECKING:
    from osler.jax.adapter import AdapterMemory as JaxMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt and the features of its images.

    Args:
        token_ids: (L,) ids; `TokenIds.image` where a soft token stands.
        features_NTD: From `Osler.encode_images`, or one token each from `Osler.project_slabs`;
            ``None`` without images.
        memory: From `Osler.image_memory`, for weights with an adapter.
    """

    token_ids: np.ndarray
    features_NTD: torch.Tensor | None = None
    memory: AdapterMemory | JaxMemory | None = None


def generate(
    runner: Runner,
    prompts: Sequence[Prompt],
    *,
    decoding: Decoding,
    on_token: OnToken | None = None,
    on_prefill: Callable[[int, int], None] | None = None,
    prefix: PrefixStore | None = None,
    rules: Sequence[Rule | None] = (),
    drafter: Drafter | None = None,
) -> list[Generated]:
    """Answers one or several prompts.

    Args:
        runner: The network.
        prompts: At least one.
        decoding: How to draw and when to end.
        on_token: Called with each new token as it comes.
        on_prefill: Called with the tokens read so far and the tokens to read.
        prefix: Reuses and keeps the cache; only with a single prompt.
        rules: What each answer must follow, one a prompt; empty for none.
        drafter: Guesses ahead for a single greedy answer; if not given, `Decoding.speculation` may ask for lookup.

    Returns:
        One result a prompt, in order.

    Raises:
        CapacityError: If a prompt and its answer exceed the context.
        RequestError: If a prompt is empty.
    """
    results = [Generated(prompt_tokens=len(prompt.token_ids)) for prompt in prompts]
    for prompt in prompts:
        require_context(runner.config.decoder, prompt_tokens=len(prompt.token_ids), max_tokens=decoding.max_tokens)
    caches, logits = [], []
    store = prefix if len(prompts) == 1 else None
    for prompt, result in zip(prompts, results, strict=True):
        started = time.perf_counter()
        cache, logits_1V = prefill(
            runner, prompt, result=result, decoding=decoding, on_prefill=on_prefill, prefix=store
        )
        result.prefill_seconds = time.perf_counter() - started
        caches.append(cache)
        logits.append(logits_1V)
    planned = max(len(prompt.token_ids) for prompt in prompts) + decoding.max_tokens
    cache = caches[0] if len(caches) == 1 else caches[0].stack(caches, planned=planned)
    started = time.perf_counter()
    writing = Writing(results, rules=rules or (None,) * len(results), decoding=decoding, on_token=on_token)
    drafting = _drafting(runner, prompts, decoding=decoding, drafter=drafter)
    decode(runner, torch.cat(logits), cache=cache, writing=writing, memory=_together(prompts), drafting=drafting)
    for result in results:
        result.decode_seconds = time.perf_counter() - started
    return results


def prefill(
    runner: Runner,
    prompt: Prompt,
    *,
    result: Generated,
    decoding: Decoding,
    on_prefill: Callable[[int, int], None] | None,
    prefix: PrefixStore | None,
) -> tuple[KVCache, torch.Tensor]:
    """Reads one prompt; returns its cache, with room for an answer, and the logits after it, (1, V)."""
    config = runner.config
    ids, image = prompt.token_ids, config.tokens.image
    ends = chunk_ends(ids, image_token=image, chunk=decoding.chunk)
    planned = len(ids) + decoding.max_tokens
    cache, marks = runner.new_cache(planned=planned), []
    key = None
    if prefix is not None:
        images = image_digests(prompt.features_NTD)
        key = PromptKey(
            token_ids=ids,
            images=images,
            memory="" if prompt.memory is None else "".join(images),
            image_token=image,
            image_tokens=1 if prompt.features_NTD is None else prompt.features_NTD.shape[1],
        )
        cache, marks = prefix.take(key, ends=ends, runner=runner, planned=planned)
    result.reused_tokens = cache.length
    to_mark = {study_length(ids, image_token=image), ends[-2] if len(ends) > 1 else 0}
    logits_1V = torch.empty(0)
    for end in (end for end in ends if end > result.reused_tokens):
        part = slice(cache.length, end)
        logits_1V = runner.read(
            torch.from_numpy(ids[part])[None],
            features_NTD=_features_of(prompt, part, image=image),
            cache=cache,
            memory=prompt.memory,
        )
        if prefix is not None and end in to_mark and end < len(ids):
            marks.append(cache.mark())
        if on_prefill is not None:
            on_prefill(end, len(ids))
    if prefix is not None and key is not None:
        prefix.put(key, cache=cache, marks=[mark for mark in marks if mark.length in to_mark])
    return cache, logits_1V


def _drafting(
    runner: Runner, prompts: Sequence[Prompt], *, decoding: Decoding, drafter: Drafter | None
) -> Drafting | None:
    """Speculation, where it can leave the answer what it is: one greedy row on the PyTorch backend."""
    if len(prompts) > 1 or decoding.sampling.temperature > 0 or runner.backend != "torch":
        return None
    if drafter is None and decoding.speculation != "lookup":
        return None
    return Drafting(
        drafter=drafter or PromptLookup(), prompt=prompts[0].token_ids.tolist(), tokens=runner.config.tokens
    )


def _together(prompts: Sequence[Prompt]) -> AdapterMemory | JaxMemory | None:
    """The memories of all rows as one."""
    some = next((prompt.memory for prompt in prompts if prompt.memory is not None), None)
    if some is None:
        return None
    return some.stack([some.nothing() if prompt.memory is None else prompt.memory for prompt in prompts])


def _features_of(prompt: Prompt, part: slice, *, image: int) -> torch.Tensor | None:
    """Features of the images (or tokens of slabs) inside a part of the prompt."""
    inside = int(np.count_nonzero(prompt.token_ids[part] == image))
    if not inside or prompt.features_NTD is None:
        return None
    per_image = prompt.features_NTD.shape[1]
    first = int(np.count_nonzero(prompt.token_ids[: part.start] == image)) // per_image
    return prompt.features_NTD[first : first + inside // per_image]
