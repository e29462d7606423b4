"""Decoding with an adapter: equal to whole passes, alone and together, and never with another study's memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from osler.engine.adapter_memory import MemoryStore
from osler.engine.generate import Prompt, generate
from osler.engine.options import Decoding
from osler.engine.prefix import PrefixStore
from osler.engine.runner import Runner
from osler.engine.session import Session
from osler.engine.slab_features import SlabStore
from osler.model.osler import Osler, image_blocks
from osler.study import Affine, ArrayPixels, Study, TimePoint, Volume
from osler.weights import Checkpoint
from tests.engine.films import film_study

DECODING = Decoding(max_tokens=8, chunk=16)


@pytest.fixture(scope="module")
def open_model(parts_model: Osler) -> Osler:
    import copy

    model = copy.deepcopy(parts_model)
    for layer in model.adapter.layers.values():  # type: ignore[union-attr]
        layer.gate.fill_(2.0)
    return model


def prompt(model: Osler, *, seed: int, images: int = 1) -> Prompt:
    tokens, generator = model.config.tokens, torch.Generator().manual_seed(seed)
    ids = [tokens.bos, 120, 121, 122]
    for _ in range(images):
        ids += [tokens.start_of_image, *[tokens.image] * model.config.image_tokens, tokens.end_of_image]
    ids += [130, 140, 150, 160, 170]
    if not images:
        return Prompt(token_ids=np.array(ids))
    pixels = torch.rand(images, 3, 32, 32, generator=generator) * 2 - 1
    with torch.inference_mode():
        return Prompt(
            token_ids=np.array(ids), features_NTD=model.encode_images(pixels), memory=model.image_memory(pixels)
        )


@torch.inference_mode()
def by_whole_passes(model: Osler, asked: Prompt, *, count: int) -> list[int]:
    tokens = model.config.tokens
    ids, out = torch.from_numpy(asked.token_ids)[None], []
    while len(out) < count:
        hidden = model.decoder(
            model.embed(ids, asked.features_NTD),
            positions_BL=torch.arange(ids.shape[1])[None],
            image_blocks_BL=image_blocks(ids, image_token=tokens.image),
            memory=asked.memory,
        )
        logits = model.logits(hidden[0, -1])
        logits[[tokens.pad, tokens.start_of_image, tokens.end_of_image, tokens.image]] = -torch.inf
        token = int(logits.argmax())
        if token in (tokens.eos, tokens.end_of_turn):
            break
        out.append(token)
        ids = torch.cat((ids, torch.tensor([[token]])), dim=1)
    return out


def test_tokens_are_those_of_whole_passes_alone_and_together(open_model: Osler) -> None:
    prompts = [prompt(open_model, seed=1), prompt(open_model, seed=2, images=3), prompt(open_model, seed=3, images=0)]
    expected = [by_whole_passes(open_model, one, count=8) for one in prompts]
    runner = Runner(open_model)
    assert [generate(runner, [one], decoding=DECODING)[0].token_ids for one in prompts] == expected
    assert [row.token_ids for row in generate(runner, prompts, decoding=DECODING)] == expected
    unread = dataclasses.replace(prompts[0], memory=None)
    assert by_whole_passes(open_model, unread, count=8) != expected[0]


def test_what_was_read_with_another_memory_is_not_used_again(open_model: Osler) -> None:
    """Text before the first image sees the memory too."""
    runner, store = Runner(open_model), PrefixStore()
    first, second = prompt(open_model, seed=1), prompt(open_model, seed=2)
    generate(runner, [first], decoding=DECODING, prefix=store)
    again = generate(runner, [first], decoding=DECODING, prefix=store)[0]
    assert again.reused_tokens > 0
    assert again.token_ids == by_whole_passes(open_model, first, count=8)
    other = generate(runner, [second], decoding=DECODING, prefix=store)[0]
    assert other.reused_tokens == 0
    assert other.token_ids == by_whole_passes(open_model, second, count=8)


def test_a_session_reads_the_memory_once(parts_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    session, study = Session(parts_checkpoint), film_study(None, None)
    counts = []
    make = session.model.memory_of
    monkeypatch.setattr(session.model, "memory_of", lambda x: counts.append(len(x)) or make(x))
    for question in ("What?", "Where?", "What?"):
        session.ask(study, question, max_tokens=3)
    assert counts == [2]
    session.forget()
    session.ask(study, "What?", max_tokens=3)
    assert counts == [2, 2]


def test_without_an_adapter_or_images_there_is_no_memory(model: Osler, parts_checkpoint: Checkpoint) -> None:
    session = Session(parts_checkpoint)
    prepared = session.prepare(film_study(None))
    assert MemoryStore(model, slabs=SlabStore(model)).of(prepared) is None
    assert MemoryStore(session.model, slabs=SlabStore(model)).of(session.prepare(film_study())) is None


def test_of_slabs_it_reads_their_cells_which_the_prompt_needs_anyway(
    parts_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(parts_checkpoint).seeing(6)
    affine = Affine.from_parts(spacing=(2, 2, 5))
    values = np.random.default_rng(0).integers(0, 900, (12, 24, 24)).astype(np.int16)
    volume = Volume(series="v", pixels=ArrayPixels(values), affine=affine, modality="MR", units="arbitrary")
    study = Study(timepoints=(TimePoint(series=(volume,)), *film_study(None).timepoints))
    encoded, seen = [], []
    model = session.model
    encode, features = model.encode_slabs, model.memory_features
    monkeypatch.setattr(model, "encode_slabs", lambda x: encoded.append(len(x)) or encode(x))
    monkeypatch.setattr(model, "memory_features", lambda x: seen.append(len(x)) or features(x))
    session.ask(study, "What?", max_tokens=2)
    session.ask(study, "Where?", max_tokens=2)
    prepared = session.prepare(study)
    ((first, plan),) = prepared.volumes.items()
    assert first == 0
    assert sum(encoded) == len(plan.slabs)  # once, for the prompt
    assert seen == [1]  # the film alone
    memory = session._memories.of(prepared)
    assert memory is not None
    vision = model.config.vision
    of_film = (vision.side // model.config.adapter.pool) ** 2  # type: ignore[union-attr]
    assert memory.length == of_film + len(plan.slabs) * model.config.image_tokens
