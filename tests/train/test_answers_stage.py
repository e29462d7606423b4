"""The loss of the answers stage, on the debug network."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.errors import CheckpointError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.prepare import preprocess_for
from osler.train.answers_stage import Lessons, answer_loss, hidden_states, teach
from osler.train.checkpoints import RunState, load_state, save_state
from osler.train.image_features import compute_features, project_pooled
from osler.train.lessons import LessonBook, LessonConfig
from osler.train.pictures import Labels
from osler.train.pupil import Pupil, fresh_projector
from osler.train.recall import RecallConfig
from osler.train.recipe import AnswersRecipe, OptimizerConfig
from osler.train.samples import Batch, Sample, SampleMaker, collate
from osler.train.text_questions import open_text_book
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


def test_pooled_features_project_as_the_network_does(tmp_path: Path) -> None:
    model, _ = _model()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    assert model.vision is not None
    assert model.projector is not None
    preprocess, path = preprocess_for(model.config), tmp_path / "f.safetensors"

    def features(shown: np.ndarray, *, key: str) -> torch.Tensor:
        return compute_features(
            shown,
            tower=model.vision,  # type: ignore[arg-type]
            projector=model.projector,  # type: ignore[arg-type]
            preprocess=preprocess,
            path=path,
            key=key,
        )

    pooled = features(pixels, key="a")
    assert torch.equal(features(pixels[::-1], key="a"), pooled)
    assert not torch.equal(features(pixels[::-1], key="b"), pooled)
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


def test_long_batches_give_the_same_gradients_in_less_memory() -> None:
    found = []
    for keep in (0, 10_000):
        model, trainable = _model()
        batch = _batch(model)
        x_BLD = model.embed(batch.token_ids_BL, project_pooled(_features()[batch.rows], projector=model.projector))  # type: ignore[arg-type]
        hidden = hidden_states(model.decoder, x_BLD, padding_BL=batch.padding_BL, image_blocks_BL=None, keep=keep)
        hidden[~batch.padding_BL].pow(2).sum().backward()
        found.append([p.grad for p in trainable])
    for kept, again in zip(*found, strict=True):
        assert kept is not None
        assert torch.equal(kept, again)


def _recipe(out: Path, *, steps: int = 6) -> AnswersRecipe:
    return AnswersRecipe(
        stage="answers",
        config="debug",
        data="",
        out=str(out),
        tower="",
        pictures="",
        precision="float32",
        save_every=2,
        optimizer=OptimizerConfig(steps=steps, batch=1, learning_rate=1e-2, warmup=2),
        lessons=LessonConfig(picture=0.8, volume=0.0, text=0.2, picture_batch=2, text_batch=2),
        recall=RecallConfig(weight=0.5, rows=2, positions=3),
    )


class _Letters:
    """A tokenizer of bytes; the debug network has no vocabulary of its own."""

    def encode(self, text: str, *, specials: str = "text") -> list[int]:
        return [150 + byte % 100 for byte in text.encode()[:12]]

    def decode(self, ids: object) -> str:
        return str(ids)


def _pupil_and_lessons() -> tuple[Pupil, Lessons]:
    model, _ = _model()
    base = Osler(model.config).requires_grad_(False)
    own = {name.replace(".base.", "."): t for name, t in model.state_dict().items() if ".lora_" not in name}
    base.load_state_dict(own)
    preprocess = preprocess_for(model.config)
    pupil = Pupil(
        model=model,
        base=base,
        tokenizer=_Letters(),  # type: ignore[arg-type]
        preprocess=preprocess,
        lora=LoraConfig(rank=2, alpha=4.0),
    )
    labels = Labels(modality="ct", region="chest", plane="axial")
    book = LessonBook(
        maker=SampleMaker(tokenizer=_Letters(), tokens=model.config.tokens, preprocess=preprocess),
        labels=(labels, labels),
        names=(("lidc", "a"), ("lidc", "b")),
        stacks=(),
        stack_offset=2,
        blank_rows=range(0),
        text=open_text_book(None),
        radiology={},
        config=_recipe(Path()).lessons,
    )
    texts = torch.randint(150, 250, (4, 9), generator=torch.Generator().manual_seed(5))
    return pupil, Lessons(book=book, features_NTV=_features(), texts=texts)


def _taught(out: Path, *, stop_at: int | None = None) -> dict[str, torch.Tensor]:
    class StopError(Exception):
        pass

    def listen(metrics: Mapping[str, float]) -> None:
        if metrics["step"] == stop_at:
            raise StopError

    pupil, lessons = _pupil_and_lessons()
    with pytest.raises(StopError) if stop_at is not None else nullcontext():
        teach(_recipe(out), pupil=pupil, lessons=lessons, listener=listen)
    return {name: p.detach().clone() for name, p in pupil.trainable().items()}


def test_interrupted_run_goes_on_to_the_very_same_weights(tmp_path: Path) -> None:
    whole = _taught(tmp_path / "a")
    _taught(tmp_path / "b", stop_at=4)
    resumed = _taught(tmp_path / "b")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    state = load_state(tmp_path / "b")
    assert state is not None
    assert state.step == 6


def test_state_of_another_rank_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, RunState(step=2, parts={"weights": {"a": torch.zeros(2)}, "optimizer": {}}, counts={}))
    with pytest.raises(CheckpointError, match="does not fit this recipe"):
        _taught(tmp_path)


def test_metrics_tell_the_recall_and_the_memory(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    pupil, lessons = _pupil_and_lessons()
    teach(_recipe(tmp_path, steps=2), pupil=pupil, lessons=lessons, listener=lambda m: rows.append(dict(m)))
    assert all(row["loss_recall"] > -1e-6 and 0 < row["gigabytes"] < 100 for row in rows)
