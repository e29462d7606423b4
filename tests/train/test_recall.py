"""The retention term: texts come from the base, and its weight reaches the gradient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.model.config import get_config
from osler.model.osler import Osler
from osler.train.answers_stage import recall_gradients
from osler.train.pupil import Pupil
from osler.train.recall import (
    RecallBatch,
    RecallConfig,
    draw_recall,
    openings,
    recall_loss,
    recall_texts,
    sample_side_by_side,
)
from osler.train.recipe import AnswersRecipe, OptimizerConfig
from osler.weights.lora import LoraConfig, add_lora, without_adapters

RECIPE = AnswersRecipe(
    stage="answers",
    config="debug",
    data="",
    out="",
    tower="",
    pictures="",
    precision="float32",
    optimizer=OptimizerConfig(steps=1, batch=1, learning_rate=1e-3),
)


class _Letters:
    """A tokenizer of letters; the debug network has no vocabulary of its own."""

    def encode(self, text: str, *, specials: str = "text") -> list[int]:
        return [150 + ord(letter) % 50 for letter in text[:6]]

    def decode(self, ids: object) -> str:
        return str(ids)


def _pair(*, drift: float) -> tuple[Osler, Osler, list[torch.nn.Parameter]]:
    """An adapted network and its base, with the same weights but for the adapters."""
    torch.manual_seed(0)
    config = get_config("debug")
    base = Osler(config).requires_grad_(False).eval()
    # Fresh embeddings are so small that all next tokens are alike.
    base.decoder.embed_tokens.weight.normal_(std=0.3)
    model = Osler(config).requires_grad_(False).eval()
    model.load_state_dict(base.state_dict())
    adapters = add_lora(model.language_model, config=LoraConfig(rank=2, alpha=4.0))
    with torch.no_grad():
        for parameter in adapters:
            parameter.add_(drift * torch.randn(parameter.shape))
    return model, base, adapters


def _batch() -> RecallBatch:
    ids = torch.randint(120, 200, (2, 9), generator=torch.Generator().manual_seed(3))
    return RecallBatch(token_ids_BL=ids, places_P=torch.tensor([1, 4, 7, 10, 16]))


def test_no_divergence_without_a_change_and_some_with_one() -> None:
    same, base, _ = _pair(drift=0.0)
    assert abs(float(recall_loss(same, _batch(), base=base).detach())) < 1e-6
    other, base, _ = _pair(drift=0.2)
    assert float(recall_loss(other, _batch(), base=base).detach()) > 1e-4


def test_divergence_is_that_of_the_definition() -> None:
    model, base, _ = _pair(drift=0.2)
    batch = _batch()
    positions = torch.arange(9).expand(2, -1)
    both = [net.logits(net.decoder(net.embed(batch.token_ids_BL), positions_BL=positions)) for net in (base, model)]
    known, adapted = (x.flatten(0, 1)[batch.places_P].double().log_softmax(-1) for x in both)
    expected = (known.exp() * (known - adapted)).sum(-1).mean()
    torch.testing.assert_close(recall_loss(model, batch, base=base).double(), expected, rtol=1e-4, atol=1e-7)


def test_without_its_adapters_a_model_is_its_own_base() -> None:
    model, base, adapters = _pair(drift=0.2)
    beside, alone = recall_loss(model, _batch(), base=base), recall_loss(model, _batch())
    torch.testing.assert_close(alone, beside)
    assert float(alone.detach()) > 1e-4
    alone.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in adapters)


def test_adapters_are_back_after_an_error() -> None:
    model, _, _ = _pair(drift=0.2)
    before = recall_loss(model, _batch()).detach()
    with pytest.raises(ZeroDivisionError), without_adapters(model):
        raise ZeroDivisionError
    torch.testing.assert_close(recall_loss(model, _batch()).detach(), before)


def test_weight_changes_the_gradient() -> None:
    gradients = []
    for weight in (1.0, 3.0):
        model, base, adapters = _pair(drift=0.2)
        recipe = replace(RECIPE, recall=RecallConfig(weight=weight))
        pupil = Pupil(model=model, base=base, tokenizer=None, preprocess=None, lora=LoraConfig(rank=2, alpha=4.0))  # type: ignore[arg-type]
        recall_gradients(recipe, pupil=pupil, batch=_batch())
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in adapters)
        assert all(p.grad is None for p in base.parameters())
        gradients.append(torch.cat([p.grad.flatten() for p in adapters if p.grad is not None]))
    torch.testing.assert_close(3 * gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


def test_texts_are_sampled_once_and_again_for_other_settings(tmp_path: Path) -> None:
    _, base, _ = _pair(drift=0.0)
    config = RecallConfig(texts=5, length=16, at_once=3)
    path = tmp_path / "recall.safetensors"
    first = recall_texts(base, tokenizer=_Letters(), config=config, seed=1, path=path)
    assert first.shape == (5, 16)
    stamp = path.stat().st_mtime_ns
    torch.testing.assert_close(first, recall_texts(base, tokenizer=_Letters(), config=config, seed=1, path=path))
    assert path.stat().st_mtime_ns == stamp
    other = recall_texts(base, tokenizer=_Letters(), config=config, seed=2, path=path)
    assert not torch.equal(first, other)


def test_side_by_side_draws_follow_the_distribution() -> None:
    _, base, _ = _pair(drift=0.0)
    start = np.array([base.config.tokens.bos, 130, 140])
    generator = torch.Generator().manual_seed(0)
    drawn = sample_side_by_side(base, [start] * 600, length=4, generator=generator)[:, 3]
    positions = torch.arange(3)[None]
    logits = base.logits(base.decoder(base.embed(torch.from_numpy(start)[None]), positions_BL=positions))[0, -1]
    chance = logits.float().softmax(-1)
    found = torch.bincount(drawn, minlength=len(chance)) / 600
    never = chance.topk(1).indices
    assert abs(float(found[never] - chance[never])) < 4 * float((chance[never] / 600).sqrt()) + 0.01
    assert (drawn != base.config.tokens.image).all()


def test_drawn_places_stand_on_text() -> None:
    texts = torch.full((3, 8), 0)
    texts[:, :4] = 150
    batch = draw_recall(texts, config=RecallConfig(rows=2, positions=3), pad=0, rng=np.random.default_rng(0))
    assert batch.token_ids_BL.shape == (2, 4)
    assert len(batch.places_P) == 6
    assert (batch.token_ids_BL.flatten()[batch.places_P] == 150).all()


def test_openings_are_many_and_differ() -> None:
    assert len(set(openings())) == len(openings()) >= 60
