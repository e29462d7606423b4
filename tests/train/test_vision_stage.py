"""The vision stage learns, resumes exactly, and reaches every parameter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from osler.errors import RequestError
from osler.model.config import get_config
from osler.model.vision import VisionTower
from osler.train import run_recipe
from osler.train.checkpoints import load_tensors, save_tensors
from osler.train.pictures import Labels
from osler.train.recipe import VisionLosses, VisionRecipe, load_recipes
from osler.train.vision_labels import targets_of, vision_loss
from osler.train.vision_stage import VisionTrainee, init_tower, train_vision

DEBUG = Path(__file__).resolve().parents[2] / "recipes" / "debug.toml"
EVERY_LABEL = (
    Labels(modality="xray", region="chest", plane="frontal", view="pa", findings=("Mass",)),
    Labels(modality="mr", region="head", plane="axial", sequence="t1", detail="hippocampus"),
    Labels(modality="ct", region="abdomen", plane="coronal"),
)


def _recipe(out: Path, *, steps: int = 40) -> VisionRecipe:
    (recipe,) = load_recipes(DEBUG)
    assert isinstance(recipe, VisionRecipe)
    return replace(recipe, out=str(out), optimizer=replace(recipe.optimizer, steps=steps))


def test_debug_recipe_learns_from_drawn_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    losses: list[float] = []
    (made,) = run_recipe(DEBUG, listener=lambda metrics: losses.append(metrics["loss"]))
    assert made.is_file()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = load_tensors(train_vision(replace(_recipe(tmp_path / "a", steps=6), save_every=3), listener=_ignore))

    class StopError(Exception):
        pass

    def stop(metrics: object) -> None:
        if metrics["step"] == 4:  # type: ignore[index]
            raise StopError

    recipe = replace(_recipe(tmp_path / "b", steps=6), save_every=3)
    with pytest.raises(StopError):
        train_vision(recipe, listener=stop)
    resumed = load_tensors(train_vision(recipe, listener=_ignore))
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def _ignore(metrics: object) -> None:
    del metrics


def _trainee() -> VisionTrainee:
    config = get_config("debug").vision
    assert config is not None
    trainee = VisionTrainee(VisionTower(config))
    init_tower(trainee.vision_tower, seed=0)
    return trainee


def test_every_parameter_gets_a_gradient() -> None:
    trainee = _trainee()
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss, _ = vision_loss(trainee(pixels), targets_of(EVERY_LABEL), weights=VisionLosses())
    loss.backward()
    # A shift of all keys changes no attention weight, so their bias never matters.
    without = [n for n, p in trainee.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert [name for name in without if not name.endswith("k_proj.bias")] == []


@pytest.mark.parametrize("part", ["modality", "region", "plane", "view", "sequence", "detail", "findings"])
def test_each_weight_changes_the_loss(part: str) -> None:
    trainee = _trainee()
    scores = trainee(torch.zeros(3, 3, 32, 32))
    targets = targets_of(EVERY_LABEL)
    base, _ = vision_loss(scores, targets, weights=VisionLosses())
    more, parts = vision_loss(scores, targets, weights=replace(VisionLosses(), **{part: 10.0}))
    assert parts[part] > 0
    assert float(more.detach()) > float(base.detach())


def test_kept_patches_of_all_is_the_whole_image() -> None:
    trainee = _trainee()
    pixels = torch.randn(2, 3, 32, 32)
    every = torch.arange(64).expand(2, -1)
    whole, kept = trainee(pixels), trainee(pixels, keep_BK=every)
    for name in whole:
        torch.testing.assert_close(whole[name], kept[name])


def test_a_kill_between_state_and_tower_is_mended(tmp_path: Path) -> None:
    recipe = replace(_recipe(tmp_path, steps=4), save_every=2)
    tower = train_vision(recipe, listener=_ignore)
    whole = load_tensors(tower)
    # As if the kill had come before the tower was written.
    save_tensors(tower, {name: torch.zeros_like(tensor) for name, tensor in whole.items()})
    mended = load_tensors(train_vision(recipe, listener=_ignore))
    assert all(torch.equal(tensor, mended[name]) for name, tensor in whole.items())


def test_a_network_without_a_tower_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no image tower"):
        train_vision(replace(_recipe(tmp_path), config="gemma-2-2b"), listener=_ignore)
