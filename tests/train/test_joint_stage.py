"""The joint stage: what is shared is shared, losses reach what they should, what comes out opens and answers."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from osler.engine.load import load
from osler.errors import RequestError, TrainingError
from osler.model.config import AdapterConfig, get_config
from osler.model.osler import Osler
from osler.prepare import PixelBatches, Preprocess
from osler.study import ArrayPixels, Image, Study, TimePoint
from osler.tasks.locate import locate
from osler.train import joint_stage, run_stage
from osler.train.checkpoints import STATE_FILE, load_state, load_tensors
from osler.train.joint_network import require_joint
from osler.train.joint_stage import JointRun, open_run, parameter_groups, train_joint, update
from osler.train.labeled_xrays import xray_findings
from osler.train.local_table import is_kept_out
from osler.train.losses import TaskWeights, total_loss
from osler.train.optimizer import make_optimizer
from osler.train.perception_data import PerceptionData
from osler.train.perception_lesson import draw_lesson
from osler.train.perception_losses import lesson_losses
from osler.train.recipe import JointRecipe
from osler.train.teacher import AnswerTeacher
from osler.weights.checkpoint import load_checkpoint
from tests.train.small_joint import KEPT_OUT, joint_data, joint_recipe, write_films

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def data(small_base: Path, films: Path, tmp_path_factory: pytest.TempPathFactory) -> PerceptionData:
    return joint_data(tmp_path_factory.mktemp("banks"), base=small_base, films=films)


@pytest.fixture(scope="module", autouse=True)
def _drawn(data: PerceptionData) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_stage, "open_perception_data", lambda recipe, checkpoint, on_report: data)
        yield


@pytest.fixture(scope="module")
def recipe(small_base: Path, films: Path, tmp_path_factory: pytest.TempPathFactory) -> JointRecipe:
    folder = tmp_path_factory.mktemp("joint")
    return joint_recipe(folder / "run", base=small_base, films=films)


@pytest.fixture(scope="module")
def run(recipe: JointRecipe) -> JointRun:
    """Before the first update; tests leave its weights as they are."""
    return open_run(recipe)


@pytest.fixture(scope="module")
def trained(recipe: JointRecipe) -> Path:
    return run_stage(recipe, listener=lambda metrics: None)


def _ignore(metrics: object) -> None:
    del metrics


def _pixels(preprocess: Preprocess) -> Tensor:
    rgb = np.random.default_rng(3).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    return torch.from_numpy(PixelBatches(rgb=rgb, preprocess=preprocess).array())


def _shared_tokens(run: JointRun) -> tuple[Tensor, Tensor]:
    """Features and soft tokens on the way of training."""
    tower, projector = run.checkpoint.model.vision, run.checkpoint.model.projector
    assert tower is not None
    assert projector is not None
    features = run.trainee.heads.trunk(tower.forward_to(_pixels(run.checkpoint.preprocess), layers=1))
    return features, projector(features)


@torch.no_grad()
def test_answers_start_where_the_base_is(run: JointRun, small_base: Path) -> None:
    base = load_checkpoint(small_base, dtype="float32")
    features, tokens = _shared_tokens(run)
    tower, projector = base.model.vision, base.model.projector
    assert tower is not None
    assert projector is not None
    torch.testing.assert_close(features, tower(_pixels(base.preprocess)))
    torch.testing.assert_close(tokens, base.model.encode_images(_pixels(base.preprocess)))
    (micro,) = run.micros(range(2))
    assert micro.images is not None
    soft = projector(tower.post_layernorm(tower.encoder.layers[1](micro.images.float())))
    teacher = AnswerTeacher(base.model, preprocess=base.preprocess, keep_tokens=10_000)
    theirs, _, right = teacher(dataclasses.replace(micro, images=soft, boxes_Q6=None))
    ours = run.teacher.losses(micro, weights=TaskWeights(boxes=0.0))
    torch.testing.assert_close(ours.sums["next_token"], theirs)
    assert int(ours.right) == int(right)


@torch.no_grad()
def _logits(model: Osler) -> Tensor:
    ids_BL = torch.tensor([[2, 5, 9, 300, 17]])
    return model.logits(model.decoder(model.decoder.embed(ids_BL), positions_BL=torch.arange(5)[None]))


def test_without_learning_the_folder_computes_what_its_base_does(
    recipe: JointRecipe, small_base: Path, tmp_path: Path
) -> None:
    optimizer = dataclasses.replace(recipe.optimizer, steps=1, learning_rate=0.0)
    folder = train_joint(dataclasses.replace(recipe, out=str(tmp_path), optimizer=optimizer))
    made, base = (load_checkpoint(place, dtype="float32") for place in (folder, small_base))
    torch.testing.assert_close(_logits(made.model), _logits(base.model))
    pixels = _pixels(base.preprocess)
    torch.testing.assert_close(made.model.encode_images(pixels), base.model.encode_images(pixels))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["kept_out"]["before"] == summary["kept_out"]["after"]
    assert summary["kept_out"]["before"]["samples"] == 4


@torch.no_grad()
def test_the_folder_has_what_was_trained(recipe: JointRecipe, trained: Path, small_base: Path) -> None:
    """One network without a trunk: its soft tokens, heads and decoder are those of the run's last weights."""
    run, state = open_run(recipe), load_state(Path(recipe.out))
    assert state is not None
    run.trainee.load_state_dict(state.parts["weights"])
    run.trainee.eval()
    features, tokens = _shared_tokens(run)
    made = load_checkpoint(trained, dtype="float32")
    pixels, heads = _pixels(made.preprocess), made.model.heads
    assert heads is not None
    assert heads.config.trunk == 0
    torch.testing.assert_close(made.model.head_features(pixels), features)
    torch.testing.assert_close(made.model.encode_images(pixels), tokens)
    torch.testing.assert_close(_logits(made.model), _logits(run.checkpoint.model))
    for part in ("heads.boxes", "heads.progression", "heads.contrastive", "temporal"):
        ours, theirs = (owner.get_submodule(part).state_dict() for owner in (made.model, run.trainee))
        assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == [], part
    for ours, theirs in zip(heads.findings(features), run.trainee.heads.findings(features), strict=True):
        torch.testing.assert_close(ours, theirs)
    # Patients that calibrate have labels of all synthetic findings, not of `infiltration`.
    assert heads.findings.scale.isnan().tolist() == [*[False] * (len(xray_findings()) - 1), True]
    base = load_checkpoint(small_base, dtype="float32").model
    assert not torch.allclose(base.encode_images(pixels), tokens, atol=1e-3)
    assert not torch.allclose(_logits(base), _logits(made.model), atol=1e-4)


def test_the_folder_answers_and_draws(trained: Path) -> None:
    session = load(str(trained), bits=32, studies="memory")
    assert session.checkpoint.trained == {"answers", "boxes"}
    pixels = ArrayPixels(np.random.default_rng(0).integers(0, 255, (40, 36)).astype(np.uint8))
    study = Study(timepoints=(TimePoint(series=(Image(series="x", pixels=pixels, modality="DX"),)),))
    assert locate(session, study, ["right lung"]).model
    assert session.ask(study, "Is there air?", max_tokens=2).timings


def test_metrics_name_each_loss(recipe: JointRecipe, trained: Path) -> None:
    del trained
    lines = [json.loads(line) for line in (Path(recipe.out) / "metrics.jsonl").read_text().splitlines()]
    names = {"next_token", "boxes", "presence", "findings", "progression", "contrastive"}
    assert all(names <= line.keys() for line in lines)
    assert any("box_tokens" in line for line in lines)
    share = dataclasses.asdict(recipe.weights) | {"box_tokens": recipe.weights.boxes}
    for line in lines:
        assert line["loss"] == pytest.approx(sum(share[n] * line[n] for n in share if n in line), abs=1e-4)


_ANSWERS = {"heads.trunk", "projector", "adapter"}
REACHES = {
    "next_token": _ANSWERS,
    "box_tokens": _ANSWERS | {"heads.boxes"},
    "boxes": {"heads.trunk", "heads.boxes"},
    "presence": {"heads.trunk", "heads.boxes"},
    "findings": {"heads.trunk", "heads.findings"},
    "progression": {"heads.trunk", "heads.findings", "heads.progression", "temporal"},
    "contrastive": {"heads.trunk", "heads.contrastive"},
}


def _losses(run: JointRun) -> dict[str, Tensor]:
    """All of the first update."""
    run.checkpoint.model.zero_grad(set_to_none=True)
    run.trainee.zero_grad(set_to_none=True)
    losses = lesson_losses(
        run.trainee, draw_lesson(run.recipe, step=0, data=run.data), data=run.data, recipe=run.recipe
    )
    source = run.answers.source
    boxed = next(i for i, lesson in enumerate(source.lessons) if lesson.task == "box-tokens" and lesson.box is not None)
    (micro,) = run.micros([boxed, 0])
    found = run.teacher.losses(micro, weights=run.recipe.weights)
    return losses | {"next_token": found.sums["next_token"], "box_tokens": found.sums["boxes"]}


def _reached(run: JointRun) -> set[str]:
    names = {n for n, p in run.checkpoint.model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    own = {n for n, p in run.trainee.named_parameters() if p.grad is not None and bool(p.grad.any())}
    # Nothing of the base moves but what is the trainee's.
    assert len(names) == len(own)
    return {".".join(name.split(".")[: 2 if name.startswith("heads.") else 1]) for name in own}


@pytest.mark.parametrize("task", list(REACHES))
def test_each_loss_reaches_the_modules_that_it_should(run: JointRun, task: str) -> None:
    _losses(run)[task].backward()
    assert _reached(run) == REACHES[task]


@pytest.mark.parametrize("task", [field.name for field in dataclasses.fields(TaskWeights)])
def test_a_weight_changes_the_gradient_of_what_is_shared(run: JointRun, task: str) -> None:
    def gradient(weights: TaskWeights) -> Tensor:
        losses = _losses(run)
        losses["boxes"] = losses["boxes"] + losses.pop("box_tokens")
        total_loss(losses, weights=weights).backward()
        return torch.cat([p.grad.flatten() for p in run.trainee.heads.trunk.parameters() if p.grad is not None])

    usual = gradient(TaskWeights())
    assert torch.equal(usual, gradient(TaskWeights()))
    assert not torch.equal(usual, gradient(dataclasses.replace(TaskWeights(), **{task: 0.0})))


def _first_update(run: JointRun, **changes: object) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Losses and gradients of the first update, which moves nothing."""
    run.trainee.zero_grad(set_to_none=True)
    optimizer = torch.optim.SGD(run.trainee.parameters(), lr=0.0)
    for group in optimizer.param_groups:
        group["share"] = 0.0
    gradients: dict[str, Tensor] = {}

    def keep(*_: object) -> None:
        gradients.update({n: p.grad.clone() for n, p in run.trainee.named_parameters() if p.grad is not None})

    optimizer.register_step_pre_hook(keep)
    changed = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, **changes))  # type: ignore[arg-type]
    return update(changed, step=0, optimizer=optimizer), gradients


def test_micro_batches_do_not_matter(run: JointRun) -> None:
    one, all_at_once = (
        _first_update(run, answers=dataclasses.replace(run.recipe.answers, micro_batch=size)) for size in (1, 3)
    )
    assert one[0] == pytest.approx(all_at_once[0], rel=1e-4)
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, all_at_once[1][name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("weights", "left"),
    [
        (TaskWeights(next_token=0.0, boxes=0.0), {"presence", "findings", "progression", "contrastive"}),
        (TaskWeights(contrastive=0.0, boxes=0.0, presence=0.0, findings=0.0, progression=0.0), {"next_token", "right"}),
        (TaskWeights(contrastive=0.0, findings=0.0, progression=0.0, presence=0.0), {"boxes", "next_token", "right"}),
    ],
    ids=["heads", "answers", "boxes"],
)
def test_what_weighs_nothing_is_not_computed(run: JointRun, weights: TaskWeights, left: set[str]) -> None:
    metrics, gradients = _first_update(run, weights=weights)
    losses = metrics.keys() - {"loss", "rate", "norm", "box_tokens"}
    # The box head scores presence on its way, also where that counts nothing.
    assert losses - ({"presence", "boxes"} - left) == left
    assert any(name.startswith("adapter.") for name in gradients) == ("next_token" in left)
    assert any(name.startswith("heads.contrastive") for name in gradients) == ("contrastive" in left)
    assert any(name.startswith("heads.trunk") for name in gradients)


def test_every_parameter_learns(recipe: JointRecipe) -> None:
    run = open_run(recipe)
    optimizer = make_optimizer(parameter_groups(run.trainee, rate=0.3), config=recipe.optimizer)
    before = {name: parameter.detach().clone() for name, parameter in run.trainee.named_parameters()}
    for step in range(3):  # position embeddings and one half of the adapter open at the second
        update(run, step=step, optimizer=optimizer)
    still = {name for name, parameter in run.trainee.named_parameters() if torch.equal(parameter, before[name])}
    # The gate opens the way to the decoder, which reads one film here.
    assert {name for name in still if not name.endswith(("k_proj.bias", "keys.bias"))} <= {"temporal.gate"}


def test_patients_kept_out_are_learned_from_in_neither_half(run: JointRun, data: PerceptionData) -> None:
    def out(patient: str) -> bool:
        return is_kept_out(f"synthetic {patient}", share=KEPT_OUT)

    source = run.answers.source
    owners = [str(source.films[lesson.film].patient) for lesson in source.lessons]
    learned = {owners[number] for number in run.answers.order.numbers}
    heads = {item.films[0].patient for item in run.data.series}
    assert {item.films[0].patient for item in data.series} - heads
    assert learned <= heads
    assert not any(map(out, learned | heads))
    assert run.answers.judges
    assert all(out(owners[number]) for number in run.answers.judges)
    # Nor are states of findings averaged over their films.
    settled = joint_stage._learned_films(run.data)
    assert len(settled.rows) == sum(len(item.films) for item in run.data.series) < len(run.data.films.rows)
    shown = {name for step in range(20) for name in draw_lesson(run.recipe, step=step, data=run.data).films.names}
    assert shown
    assert not any(out(name.removeprefix("synthetic patient ")) for name in shown)


def test_interrupted_run_goes_on_to_the_same_weights(recipe: JointRecipe, tmp_path: Path) -> None:
    def short(name: str) -> JointRecipe:
        optimizer = dataclasses.replace(recipe.optimizer, average=0.5)
        return dataclasses.replace(recipe, out=str(tmp_path / name), states="batch", optimizer=optimizer)

    class StopError(Exception):
        pass

    def stop(metrics: object) -> None:
        if "step" in metrics and metrics["step"] == 2:  # type: ignore[operator,index]
            raise StopError

    whole = train_joint(short("a"), listener=_ignore)
    with pytest.raises(StopError):
        train_joint(short("b"), listener=stop)
    resumed = train_joint(short("b"), listener=_ignore)
    for first, second in (
        (whole.parent / STATE_FILE, resumed.parent / STATE_FILE),
        *(
            (whole / name, resumed / name)
            for name in ("vision.safetensors", "parts.safetensors", "decoder.safetensors")
        ),
    ):
        ours, theirs = load_tensors(first), load_tensors(second)
        assert ours.keys() == theirs.keys()
        # As bytes: what is not calibrated is NaN.
        assert [n for n in ours if ours[n].numpy().tobytes() != theirs[n].numpy().tobytes()] == [], first.name
    before, after = (json.loads((place.parent / "summary.json").read_text()) for place in (whole, resumed))
    assert before == after


def test_a_question_whose_loss_is_no_number_is_named_and_moves_nothing(recipe: JointRecipe) -> None:
    run = open_run(recipe)
    source, number = run.answers.source, run.answers.order[0]
    rows = np.array(source._tokens)
    rows[source._rows[source.lessons[number].film, "plain"]] = 0x7FC0  # bfloat16 NaN
    source._tokens = rows
    _stops(run, match=rf"next_token.*not a number in update 1, at: .*{re.escape(source[number].name)}")


def test_a_film_whose_loss_is_no_number_is_named_and_moves_nothing(recipe: JointRecipe) -> None:
    run = open_run(recipe)
    rows = np.full_like(run.data.xray_bank.rows, 0x7FC0)
    broken = dataclasses.replace(run.data, xray_bank=dataclasses.replace(run.data.xray_bank, rows=rows))
    _stops(dataclasses.replace(run, data=broken), match=r"not a number in update 1, at: nih patient")


def _stops(run: JointRun, *, match: str) -> None:
    before = {name: tensor.clone() for name, tensor in run.trainee.named_parameters()}
    optimizer = make_optimizer(parameter_groups(run.trainee, rate=0.3), config=run.recipe.optimizer)
    with pytest.raises(TrainingError, match=match):
        update(run, step=0, optimizer=optimizer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.trainee.named_parameters())


def test_a_run_goes_on_with_its_own_recipe_alone(recipe: JointRecipe, trained: Path) -> None:
    del trained
    changed = dataclasses.replace(recipe, weights=TaskWeights(boxes=0.5), seed=9, skills=())
    with pytest.raises(RequestError, match=r"holds a run with another seed, weights\."):
        run_stage(changed, listener=lambda metrics: None)


def test_bases_that_do_not_fit_are_refused() -> None:
    config = get_config("debug")
    with pytest.raises(RequestError, match="no image tower"):
        require_joint(Osler(dataclasses.replace(config, vision=None)), base="b", trunk=1)
    with pytest.raises(RequestError, match=r"trunk is 9.*1 to 2"):
        require_joint(Osler(config), base="b", trunk=9)
    with pytest.raises(RequestError, match="read the tower as it was: adapter"):
        require_joint(Osler(dataclasses.replace(config, adapter=AdapterConfig())), base="b", trunk=1)
