"""The loss of the answers stage, on the debug network."""

from __future__ import annotations

import numpy as np
import torch

from osler.model.config import get_config
from osler.model.osler import Osler
from osler.train.answers_stage import answer_loss, fresh_projector
from osler.train.image_features import compute_features, project_pooled
from osler.train.samples import Batch, Sample, collate
from osler.weights.lora import LoraConfig, add_lora


def _model() -> tuple[Osler, list[torch.nn.Parameter]]:
    torch.manual_seed(0)
    config = get_config("debug")
    model = Osler(config).requires_grad_(False)
    state = fresh_projector(config, embeddings=model.decoder.embed_tokens.weight, seed=0)
    model.load_state_dict(state, strict=False)
    adapters = add_lora(model.language_model, config=LoraConfig(rank=2, alpha=4.0))
    with torch.no_grad():
        for parameter in adapters:
            parameter.normal_(std=0.05)
    assert model.projector is not None
    model.projector.requires_grad_(True)
    return model, [*adapters, *model.projector.parameters()]


def _sample(model: Osler, *, row: int, words: list[int], answer: list[int]) -> Sample:
    tokens = model.config.tokens
    image = [tokens.start_of_image, *[tokens.image] * model.config.image_tokens, tokens.end_of_image]
    ids = np.array([tokens.bos, *image, *words, *answer])
    mask = np.zeros(len(ids), dtype=bool)
    mask[len(ids) - len(answer) :] = True
    return Sample(token_ids=ids, answer_mask=mask, rows=(row,))


def _batch(model: Osler) -> Batch:
    samples = [
        _sample(model, row=1, words=[7, 8, 9], answer=[10, 11, 106]),
        _sample(model, row=0, words=[7], answer=[12, 106]),
    ]
    return collate(samples, pad=model.config.tokens.pad)


def _features() -> torch.Tensor:
    return torch.randn(2, 4, 48, generator=torch.Generator().manual_seed(1))


def test_every_trainable_parameter_gets_a_gradient() -> None:
    model, trainable = _model()
    loss, _ = answer_loss(model, _batch(model), features_NTV=_features())
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in trainable)
    assert all(p.grad is None for n, p in model.named_parameters() if not p.requires_grad)


def test_loss_is_that_of_each_sample_alone() -> None:
    model, _ = _model()
    batch = _batch(model)
    together, _ = answer_loss(model, batch, features_NTV=_features())
    first = collate([_sample(model, row=1, words=[7, 8, 9], answer=[10, 11, 106])], pad=0)
    second = collate([_sample(model, row=0, words=[7], answer=[12, 106])], pad=0)
    alone = [answer_loss(model, part, features_NTV=_features())[0] for part in (first, second)]
    torch.testing.assert_close(together, (3 * alone[0] + 2 * alone[1]) / 5, rtol=1e-4, atol=1e-5)


def test_only_the_answer_is_asked_for() -> None:
    model, _ = _model()
    batch = _batch(model)
    assert batch.wanted_BL.sum(1).tolist() == [3, 2]
    targets = batch.token_ids_BL.roll(-1, dims=1)[batch.wanted_BL]
    assert targets.tolist() == [10, 11, 106, 12, 106]


def test_pooled_features_project_as_the_network_does(tmp_path: object) -> None:
    model, _ = _model()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    assert model.vision is not None
    assert model.projector is not None
    pooled = compute_features(pixels, tower=model.vision, projector=model.projector, path=tmp_path / "f.safetensors")  # type: ignore[operator]
    normalized = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = model.encode_images(normalized)
    torch.testing.assert_close(
        project_pooled(pooled.float(), projector=model.projector), expected, rtol=0.05, atol=0.05
    )


def test_debug_network_learns_two_answers() -> None:
    model, trainable = _model()
    batch, features = _batch(model), _features()
    optimizer = torch.optim.AdamW(trainable, lr=1e-2)
    losses = []
    for _ in range(30):
        loss, _ = answer_loss(model, batch, features_NTV=features)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
