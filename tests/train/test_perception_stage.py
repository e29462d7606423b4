"""The perception stage learns, resumes exactly, leaves the base alone, and every loss reaches what it should."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.errors import RequestError, TrainingError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.prepare.contract import preprocess_for
from osler.train import perception_stage
from osler.train.checkpoints import STATE_FILE, load_state, load_tensors, save_json
from osler.train.heads_recipe import FilmShares
from osler.train.labeled_volumes import LabeledVolume
from osler.train.labeled_xrays import LabeledXray, XraySeries
from osler.train.losses import TaskWeights, total_loss
from osler.train.perception_bank import fill_bank
from osler.train.perception_data import PerceptionData
from osler.train.perception_lesson import draw_lesson
from osler.train.perception_losses import lesson_losses
from osler.train.perception_parts import settle_states
from osler.train.perception_stage import PerceptionTrainee, new_config, train_perception
from osler.train.recipe import OptimizerConfig, PerceptionRecipe
from osler.weights.config_json import config_from_dict, config_to_dict

FINDINGS = ("pleural-effusion", "pneumothorax", "infiltration")
CONFIG = get_config("debug")


@pytest.fixture(scope="module")
def base() -> Osler:
    torch.manual_seed(0)
    model = Osler(CONFIG)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def _film(*, bright: bool, day: float, rng: np.random.Generator, changes: dict[str, str]) -> LabeledXray:
    """A film whose lower left is bright where an effusion is."""
    pixels = rng.integers(0, 60, (40, 36)).astype(np.uint8)
    boxes = {"right lung": (3.0, 5.0, 16.0, 35.0), "left lung": (20.0, 5.0, 33.0, 35.0)}
    if bright:
        pixels[24:36, 4:16] = 230
        boxes["pleural-effusion"] = (4.0, 24.0, 16.0, 36.0)
    return LabeledXray(
        pixels=pixels,
        boxes=boxes,
        findings={"pleural-effusion": float(bright), "pneumothorax": 0.0},
        source="synthetic",
        patient="1",
        day=day,
        changes=changes,
    )


def _data(base: Osler, folder: Path) -> PerceptionData:
    width = CONFIG.decoder.width
    rng = np.random.default_rng(0)
    series = []
    for number in range(8):
        first, second = bool(number % 2), bool(number // 2 % 2)
        change = {(False, True): "new", (True, False): "resolved", (True, True): "stable"}.get(
            (first, second), "absent"
        )
        films = (
            _film(bright=first, day=0.0, rng=rng, changes={}),
            _film(bright=second, day=10.0 + number, rng=rng, changes={"pleural-effusion": change}),
        )
        series.append(
            XraySeries(films=films, labs=(("CRP mg/l", 2.0 * second, 9), ("CRP mg/l", 0.1, 2), ("CRP mg/l", 9.0, 400)))
        )
    real = [
        replace(_film(bright=bool(n % 2), day=float("nan"), rng=rng, changes={}), source="nih", patient=str(n))
        for n in range(6)
    ]
    real += [replace(film, boxes=None, findings={"infiltration": 1.0}) for film in real[:3]]
    volume = LabeledVolume(
        slices=rng.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8),
        depth=np.array([0.1, 0.4, 0.6, 0.9], dtype=np.float32),
        boxes={"hippocampus": (0.2, 0.3, 0.1, 0.7, 0.8, 0.9)},
        source="hippocampus",
        patient="1",
    )
    generator = torch.Generator().manual_seed(1)
    texts = {
        name: torch.randn(width, generator=generator) for name in (*FINDINGS, "right lung", "left lung", "hippocampus")
    }
    films = [film for item in series for film in item.films]
    assert base.vision is not None
    bank = partial(
        fill_bank,
        views=2,
        tower=base.vision,
        layers=1,
        preprocess=preprocess_for(CONFIG),
        slices=3,
        key="drawn",
        seed=0,
        workers=1,
    )
    return PerceptionData(
        findings=FINDINGS,
        series=tuple(series),
        first_film=tuple(range(0, len(films), 2)),
        films=bank(folder / "films", items=films),
        xrays=tuple(real),
        xray_bank=bank(folder / "xrays", items=real),
        kept=tuple(real[:4]),
        kept_bank=bank(folder / "kept", items=real[:4]),
        volumes=(bank(folder / "volumes", items=[volume]),),
        label_states=texts,
        lab_states={"CRP mg/l": torch.randn(width, generator=generator)},
        report_states=torch.randn(len(series), width, generator=generator),
        preprocess=preprocess_for(CONFIG),
    )


@pytest.fixture(scope="module")
def data(base: Osler, tmp_path_factory: pytest.TempPathFactory) -> PerceptionData:
    return _data(base, tmp_path_factory.mktemp("banks"))


def _recipe(out: Path, *, steps: int = 4) -> PerceptionRecipe:
    return PerceptionRecipe(
        stage="perception",
        data="unused",
        out=str(out),
        films="unused",
        banks="unused",
        trunk=1,
        save_every=2,
        precision="float32",
        shares=FilmShares(series=4, xrays=5, volumes=2),
        optimizer=OptimizerConfig(steps=steps, batch=1, learning_rate=3e-3, warmup=2, average=0.9),
    )


@pytest.fixture
def offline(base: Osler, data: PerceptionData, monkeypatch: pytest.MonkeyPatch) -> Osler:
    """The stage reads the debug network and the drawn data."""

    class _Loaded:
        model = base
        preprocess = preprocess_for(CONFIG)
        digest = "of the base"

    monkeypatch.setattr(perception_stage, "load_checkpoint", lambda name, dtype: _Loaded())
    monkeypatch.setattr(perception_stage, "open_perception_data", lambda recipe, checkpoint, on_report: data)
    return base


def _trainee(base: Osler) -> PerceptionTrainee:
    torch.manual_seed(0)
    return PerceptionTrainee(base, config=new_config(CONFIG, findings=FINDINGS, trunk=1))


def _ignore(metrics: object) -> None:
    del metrics


def test_losses_fall(offline: Osler, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    train_perception(_recipe(tmp_path, steps=30), listener=lambda metrics: seen.append(dict(metrics)))
    for name in ("boxes", "findings", "progression"):
        start, end = (np.mean([metrics[name] for metrics in part]) for part in (seen[:5], seen[-5:]))
        assert end < 0.8 * start, name


@pytest.mark.parametrize("states", ["layer", "batch"])
def test_interrupted_run_goes_on_to_the_same_weights(offline: Osler, tmp_path: Path, states: str) -> None:
    def recipe(run: str) -> PerceptionRecipe:
        return replace(_recipe(tmp_path / run, steps=6), states=states)  # type: ignore[arg-type]

    train_perception(recipe("a"), listener=_ignore)

    class StopError(Exception):
        pass

    def stop(metrics: object) -> None:
        if metrics["step"] == 4:  # type: ignore[index]
            raise StopError

    with pytest.raises(StopError):
        train_perception(recipe("b"), listener=stop)
    train_perception(recipe("b"), listener=_ignore)
    whole, resumed = (load_tensors(tmp_path / run / STATE_FILE) for run in ("a", "b"))
    assert whole.keys() == resumed.keys()
    # As bytes: what is not calibrated is NaN.
    assert [n for n in whole if whole[n].numpy().tobytes() != resumed[n].numpy().tobytes()] == []


def test_a_loss_that_is_no_number_names_the_film_and_keeps_the_state(
    offline: Osler, data: PerceptionData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two updates are saved; then the features of one real film are damaged, and the run ends when it comes."""
    train_perception(_recipe(tmp_path, steps=2), listener=_ignore)
    before = (tmp_path / STATE_FILE).read_bytes()
    rows = np.array(data.xray_bank.rows)
    rows[[view.row for view in data.xray_bank.views[3]]] = 0x7FC0  # bfloat16 NaN
    series = tuple(replace(item, films=tuple(replace(f, patient="8") for f in item.films)) for item in data.series)
    xrays = tuple(replace(film, patient=f"real {number}") for number, film in enumerate(data.xrays))
    broken = replace(data, xray_bank=replace(data.xray_bank, rows=rows), series=series, xrays=xrays)
    monkeypatch.setattr(perception_stage, "open_perception_data", lambda recipe, checkpoint, on_report: broken)
    with pytest.raises(TrainingError, match=r"is not a number in update \d+, at: nih patient real 3\.") as caught:
        train_perception(_recipe(tmp_path, steps=40), listener=_ignore)
    assert "findings" in str(caught.value)
    assert "saved last is whole" in str(caught.value)
    state = load_state(tmp_path)
    assert state is not None
    assert all(
        bool(t.isfinite().all()) for n, t in state.parts["weights"].items() if not n.endswith(("scale", "shift"))
    )
    assert state.step > 2 or (tmp_path / STATE_FILE).read_bytes() == before


def test_states_over_pictures_are_settled_with_the_final_weights(
    base: Osler, data: PerceptionData, tmp_path: Path
) -> None:
    """States of the pictures of training then have mean 0 and variance 1, and do not depend on the batch."""
    torch.manual_seed(0)
    trainee = PerceptionTrainee(base, config=new_config(CONFIG, findings=FINDINGS, trunk=1, states="batch"))
    with torch.no_grad():
        trainee.heads.findings.attention.out_proj.weight.mul_(100)  # states that differ more than rounding does
    recipe = replace(_recipe(tmp_path), states="batch")
    lesson = draw_lesson(recipe, step=0, data=data)
    losses = lesson_losses(trainee, lesson, data=data, recipe=recipe)
    losses["findings"].backward()
    assert "heads.findings" in _reached(trainee)
    settle_states(trainee.heads, banks=(data.films, data.xray_bank))
    trainee.eval()
    banks = (data.films, data.xray_bank)
    rows = torch.cat([bank.features(range(len(bank.rows))) for bank in banks])
    with torch.no_grad():
        features = trainee.heads.trunk(rows.float())
        states, _ = trainee.heads.findings(features)
        alone, _ = trainee.heads.findings(features[:1])
    assert float(states.mean(0).abs().mean()) < 0.1  # the mean is kept in bfloat16
    assert float((states.var(0) - 1).abs().mean()) < 0.15
    torch.testing.assert_close(alone, states[:1], atol=1e-4, rtol=1e-4)
    twice = replace(recipe, synthetic_findings=2.0)
    again = lesson_losses(trainee, lesson, data=data, recipe=twice)["findings"]
    once = lesson_losses(trainee, lesson, data=data, recipe=recipe)["findings"]
    assert float(again.detach()) > float(once.detach())


def test_the_base_does_not_change(offline: Osler, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in offline.state_dict().items()}
    train_perception(_recipe(tmp_path, steps=2), listener=_ignore)
    assert all(torch.equal(tensor, before[name]) for name, tensor in offline.state_dict().items())
    state = load_state(tmp_path)
    assert state is not None
    assert {name.split(".")[0] for name in state.parts["weights"]} == {"heads", "temporal"}


def test_heads_start_on_the_features_of_the_tower(base: Osler) -> None:
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert base.vision is not None
    with torch.no_grad():
        ours = _trainee(base).heads.trunk(base.vision.forward_to(pixels, layers=1))
        torch.testing.assert_close(ours, base.vision(pixels))


REACHES = {
    "boxes": {"heads.trunk", "heads.boxes"},
    "presence": {"heads.trunk", "heads.boxes"},
    "findings": {"heads.trunk", "heads.findings"},
    "progression": {"heads.trunk", "heads.findings", "heads.progression", "temporal"},
    "contrastive": {"heads.trunk", "heads.contrastive"},
}


def _reached(trainee: PerceptionTrainee) -> set[str]:
    names = {n for n, p in trainee.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    return {"temporal" if name.startswith("temporal") else ".".join(name.split(".")[:2]) for name in names}


@pytest.mark.parametrize("task", list(REACHES))
def test_each_loss_reaches_the_modules_that_it_should(
    base: Osler, data: PerceptionData, tmp_path: Path, task: str
) -> None:
    trainee, recipe = _trainee(base), _recipe(tmp_path)
    losses = lesson_losses(trainee, draw_lesson(recipe, step=0, data=data), data=data, recipe=recipe)
    losses[task].backward()
    assert _reached(trainee) == REACHES[task]


def test_every_parameter_learns(base: Osler, data: PerceptionData, tmp_path: Path) -> None:
    trainee, recipe = _trainee(base), _recipe(tmp_path)
    # Position embeddings and the query's path open at the second step.
    for _ in range(2):
        losses = lesson_losses(trainee, draw_lesson(recipe, step=0, data=data), data=data, recipe=recipe)
        total_loss(losses, weights=TaskWeights()).backward()
        with torch.no_grad():
            for parameter in trainee.parameters():
                if parameter.grad is not None:
                    parameter -= 0.01 * parameter.grad
    without = {n for n, p in trainee.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)}
    # A shift of all keys changes no attention weight; the gate opens the way to the decoder, which is not here.
    assert {name for name in without if not name.endswith(("k_proj.bias", "keys.bias"))} <= {"temporal.gate"}


def test_without_time_the_attention_does_not_learn(base: Osler, data: PerceptionData, tmp_path: Path) -> None:
    trainee, recipe = _trainee(base), replace(_recipe(tmp_path), time="none")
    losses = lesson_losses(trainee, draw_lesson(recipe, step=0, data=data), data=data, recipe=recipe)
    losses["progression"].backward()
    assert "temporal" not in _reached(trainee)
    assert "heads.progression" in _reached(trainee)


def test_the_same_step_draws_the_same_lesson(data: PerceptionData, tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    first, again, other = (draw_lesson(recipe, step=step, data=data) for step in (3, 3, 4))
    assert torch.equal(first.films.features, again.films.features)
    assert first.films.features.shape != other.films.features.shape or not torch.equal(
        first.films.features, other.films.features
    )


def test_a_network_without_a_tower_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class _Text:
        model = Osler(replace(CONFIG, vision=None))
        preprocess = preprocess_for(CONFIG)

    monkeypatch.setattr(perception_stage, "load_checkpoint", lambda name, dtype: _Text())
    with pytest.raises(RequestError, match="no image tower"):
        train_perception(_recipe(tmp_path), listener=_ignore)


def test_shipped_parts_are_calibrated_and_fit_the_network(offline: Osler, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    save_json(folder / "config.json", {"model_type": "osler", "trained": ["answers"], **config_to_dict(CONFIG)})
    train_perception(replace(_recipe(tmp_path, steps=2), ship=str(folder), skills=("boxes",)), listener=_ignore)
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert content["parts"] == ["heads", "temporal"]
    assert content["trained"] == ["answers", "boxes"]
    config = config_from_dict(content, source="here")
    assert config.heads is not None
    assert "right lung" in config.heads.labels
    tensors = load_tensors(folder / "parts.safetensors")
    whole = Osler(config)
    _, unexpected = whole.load_state_dict(tensors, strict=False)
    assert unexpected == []
    assert whole.heads is not None
    # Patients that calibrate have labels of two findings; the third was never seen there.
    assert whole.heads.findings.scale.isnan().tolist() == [False, False, True]


def test_a_finished_run_ships_without_training_again(offline: Osler, tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, steps=2)
    train_perception(recipe, listener=_ignore)
    before = (tmp_path / STATE_FILE).read_bytes()
    folder = tmp_path / "weights"
    folder.mkdir()
    save_json(folder / "config.json", config_to_dict(CONFIG))
    train_perception(replace(recipe, ship=str(folder)), listener=_ignore)
    assert (folder / "parts.safetensors").is_file()
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_a_run_goes_on_with_its_own_recipe_alone(offline: Osler, tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, steps=1)
    train_perception(recipe, listener=_ignore)
    train_perception(replace(recipe, labels=("lung",), workers=7), listener=_ignore)
    with pytest.raises(RequestError, match=r"holds a run with another seed, weights\."):
        train_perception(replace(recipe, seed=9, weights=TaskWeights(boxes=0.5)), listener=_ignore)
