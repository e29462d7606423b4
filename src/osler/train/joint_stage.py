"""The joint stage: the whole multi-task objective in one run.

The tower's last layers are shared: heads, attention over time and, through the projector, the decoder read what
they make. So the next token, boxes (from labels and from box tokens), findings, progression and alikeness all move
them. The layers before them stay as they are, and their features are computed once. One sum of all losses, one
optimizer, one running mean; in the end one folder without a trunk of the heads' own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from osler.train.cache_key import cache_key
from osler.train.checkpoints import resume_training, save_json, save_training
from osler.train.finetune_update import Measured
from osler.train.finite import not_a_number, require_finite
from osler.train.heads_recipe import JointRecipe
from osler.train.joint_answers import JointAnswers, open_answers
from osler.train.joint_network import (
    AnswerLosses,
    JointTeacher,
    JointTrainee,
    joint_model,
    require_joint,
    write_model,
)
from osler.train.losses import total_loss
from osler.train.optimizer import RunningMean, make_optimizer, set_rate
from osler.train.perception_bank import FeatureBank
from osler.train.perception_data import PerceptionData, open_perception_data, share_of, without_kept_out
from osler.train.perception_parts import finish_heads
from osler.train.perception_stage import TRUNK_RATE, draw_lesson, keep_plan, lesson_losses, named_inputs, new_config
from osler.train.run_log import RunLog
from osler.train.taught import MicroBatch, micro_batch, numbers_of_update
from osler.weights.checkpoint import Checkpoint, load_checkpoint
from osler.weights.json_file import read_json
from osler.weights.lora import LoraConfig

Listener = Callable[[Mapping[str, float]], None]

MODEL_FOLDER = "model"
SUMMARY = "summary.json"

_SETTLED = 1200
"""Films of training over which states of findings are averaged at the end."""

_TOLD = {"next_token": "next_token", "boxes": "box_tokens"}
"""Losses of answers by their weights' names, and what they are called in the metrics."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointRun:
    """A run with everything opened.

    Args:
        recipe: As read. checkpoint: The base, which computes with the trainee.
        trainee: All that learns. teacher: Computes the losses of answers.
        data: What the heads learn from. answers: What the decoder learns from.
    """

    recipe: JointRecipe
    checkpoint: Checkpoint
    trainee: JointTrainee
    teacher: JointTeacher
    data: PerceptionData
    answers: JointAnswers

    def precision(self) -> torch.autocast:
        """Of the arithmetic."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    def micros(self, numbers: Sequence[int]) -> Iterator[MicroBatch]:
        """Packs questions by their numbers."""
        size, pad = self.recipe.answers.micro_batch, self.checkpoint.model.config.tokens.pad
        for start in range(0, len(numbers), size):
            yield micro_batch([self.answers.source[i] for i in numbers[start : start + size]], pad=pad)


def train_joint(recipe: JointRecipe, *, listener: Listener | None = None) -> Path:
    """Runs the stage, from its last checkpoint if there is one.

    Returns:
        The folder of the model, within that of the run.

    Raises:
        RequestError: If the base has no tower or parts that do not fit, or the data folder is not right.
        DataError: If a set is damaged, or rendering or encoding fails.
        CheckpointError: If a file of the run is damaged, does not fit, or cannot be written.
        TrainingError: If a loss or the gradient is not a number.
    """
    run = open_run(recipe, listener=listener)
    trainee, out, steps = run.trainee, Path(recipe.out), recipe.optimizer.steps
    keep_plan(recipe, weights=run.checkpoint.digest)
    optimizer = make_optimizer(parameter_groups(trainee, rate=recipe.answers.rate), config=recipe.optimizer)
    mean = RunningMean(trainee, decay=recipe.optimizer.average)
    before = _before(run)
    first = resume_training(out, module=trainee, optimizer=optimizer, mean=mean)
    log = RunLog(out, first=first, listener=listener)
    for step in range(first, steps):
        metrics = update(run, step=step, optimizer=optimizer)
        mean.update(trainee)
        log.write(step=step, **metrics)
        if (step + 1) % recipe.save_every == 0 or step + 1 == steps:
            save_training(out, step=step + 1, module=trainee, optimizer=optimizer, mean=mean)
    if mean.decay > 0:
        trainee.load_state_dict(mean.mean, strict=False)
    after = measure_answers(run)
    folder = _write(run)
    about = {
        "updates": max(first, steps),
        "patients": len(run.data.series),
        "lessons": run.answers.counts,
        "kept_out": {"before": asdict(before), "after": asdict(after)},
    }
    save_json(out / SUMMARY, about)
    return folder


def open_run(recipe: JointRecipe, *, listener: Listener | None = None) -> JointRun:
    """Loads the base, opens or renders the sets, and makes what learns; see `train_joint`."""
    checkpoint = load_checkpoint(recipe.base, dtype="bfloat16" if recipe.precision == "bfloat16" else "float32")
    require_joint(checkpoint.model, base=recipe.base, trunk=recipe.trunk)

    def on_report(done: int, total: int) -> None:
        if listener is not None:
            listener({"reports": done, "reports in all": total})

    def on_film(done: int, total: int) -> None:
        if listener is not None:
            listener({"films": done, "films in all": total})

    everything = open_perception_data(recipe, checkpoint=checkpoint, on_report=on_report)
    some = share_of(everything, series=recipe.series_share, xrays=recipe.xrays_share)
    data = without_kept_out(some, share=recipe.answers.kept_out)
    torch.manual_seed(recipe.seed)
    trainee = JointTrainee(
        checkpoint.model,
        config=new_config(checkpoint.model.config, findings=data.findings, trunk=recipe.trunk, states=recipe.states),
        lora=LoraConfig(rank=recipe.answers.rank, alpha=recipe.answers.alpha),
    )
    teacher = JointTeacher(
        checkpoint.model,
        preprocess=checkpoint.preprocess,
        keep_tokens=recipe.answers.keep_tokens,
        weigh=recipe.answers.weigh,
    )
    patients = {item.films[0].patient for item in data.series}
    answers = open_answers(recipe, checkpoint=checkpoint, patients=patients, on_film=on_film)
    return JointRun(recipe=recipe, checkpoint=checkpoint, trainee=trainee, teacher=teacher, data=data, answers=answers)


def parameter_groups(trainee: JointTrainee, *, rate: float) -> list[tuple[list[nn.Parameter], float]]:
    """The parameters with their shares of the learning rate: trunk, answers (``rate``), and all that is new."""
    groups: dict[str, list[nn.Parameter]] = {"trunk": [], "answers": [], "new": []}
    for name, parameter in trainee.named_parameters():
        kind = "trunk" if name.startswith("heads.trunk.") else "new"
        groups["answers" if name.startswith(("projector.", "adapter.")) else kind].append(parameter)
    return [(groups["trunk"], TRUNK_RATE), (groups["answers"], rate), (groups["new"], 1.0)]


def update(run: JointRun, *, step: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Adds up the gradients of heads and answers, and moves the weights.

    Returns:
        The losses by name, boxes of box tokens as ``box_tokens``; their weighted sum as ``loss``.

    Raises:
        TrainingError: If a loss or the gradient is not a number; the weights are not moved.
    """
    recipe, weights = run.recipe, asdict(run.recipe.weights)
    rate = set_rate(optimizer, step=step, config=recipe.optimizer)
    losses: dict[str, float] = {}
    names: list[str] = []
    if any(weight for name, weight in weights.items() if name != "next_token"):
        losses |= heads_gradients(run, step=step, names=names)
    if weights["next_token"] or (weights["boxes"] and "box-tokens" in recipe.answers.tasks):
        losses |= answers_gradients(run, step=step, names=names)
    norm = torch.nn.utils.clip_grad_norm_(run.trainee.parameters(), recipe.optimizer.clip)
    require_finite({"gradient": norm}, step=step, inputs=(), names=names)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    share = weights | {"box_tokens": weights["boxes"], "right": 0.0}
    total = sum(share[name] * value for name, value in losses.items())
    return {"loss": total, "rate": rate, "norm": float(norm), **losses}


def heads_gradients(run: JointRun, *, step: int, names: list[str]) -> dict[str, float]:
    """Adds the gradients of the heads' losses, and the pictures to ``names``; returns the losses."""
    lesson = draw_lesson(run.recipe, step=step, data=run.data)
    shown = named_inputs(lesson)
    names += [name for name, _ in shown]
    with run.precision():
        parts = lesson_losses(run.trainee, lesson, data=run.data, recipe=run.recipe)
    require_finite(parts, step=step, inputs=shown, names=names)
    total_loss(parts, weights=run.recipe.weights).backward()
    return {name: float(value.detach()) for name, value in parts.items()}


def answers_gradients(run: JointRun, *, step: int, names: list[str]) -> dict[str, float]:
    """Adds the gradients of an update's questions, and these to ``names``; returns their losses and what was right.

    Losses are divided by the tokens (or samples) and by the boxes of the update: micro-batches do not matter.
    """
    weights = run.recipe.weights
    micros = list(run.micros(numbers_of_update(run.answers.order, step, batch=run.recipe.answers.samples)))
    boxes = sum(len(micro.boxes_Q6) for micro in micros if micro.boxes_Q6 is not None)
    counts = {"next_token": sum(map(run.teacher.units, micros)), "boxes": boxes}
    tokens = sum(micro.wanted for micro in micros)
    losses: dict[str, float] = {}
    for micro in micros:
        names += micro.names
        with run.precision():
            found = run.teacher.losses(micro, weights=weights)
        parts = {name: value / counts[name] for name, value in found.sums.items()}
        require_answers(micro, found, step=step)
        if parts:
            total_loss(parts, weights=weights).backward()
        told = {_TOLD[name]: float(value.detach()) for name, value in parts.items()}
        if weights.next_token:
            told["right"] = float(found.right) / tokens
        losses |= {name: losses.get(name, 0.0) + value for name, value in told.items()}
    return losses


def require_answers(micro: MicroBatch, found: AnswerLosses, *, step: int | None) -> None:
    """Checks the losses of questions.

    Raises:
        TrainingError: If one is not a number.
    """
    bad = [name for name, value in zip(micro.names, found.each_B.tolist(), strict=True) if not math.isfinite(value)]
    odd = [_TOLD[name] for name, value in found.sums.items() if not math.isfinite(float(value.detach()))]
    if bad or odd:
        raise not_a_number(bad or micro.names, what=" and ".join(odd), step=step)


@torch.no_grad()
def measure_answers(run: JointRun) -> Measured:
    """Measures the next token of kept-out questions.

    Raises:
        TrainingError: If a loss is not a number.
    """
    alone = replace(run.recipe.weights, next_token=1.0, boxes=0.0)
    loss = right = 0.0
    units = tokens = 0
    for micro in run.micros(run.answers.judges):
        with run.precision():
            found = run.teacher.losses(micro, weights=alone)
        require_answers(micro, found, step=None)
        loss, right = loss + float(found.sums["next_token"]), right + float(found.right)
        units, tokens = units + run.teacher.units(micro), tokens + micro.wanted
    return Measured(
        loss=loss / units if units else None,
        right=right / tokens if tokens else None,
        samples=len(run.answers.judges),
        tokens=tokens,
    )


def _before(run: JointRun) -> Measured:
    """Kept-out questions under the base, measured once and remembered; what learns is still what the base is."""
    path, recipe = Path(run.recipe.out) / "before.json", run.recipe
    key = cache_key(
        weights=run.checkpoint.key,
        precision=recipe.precision,
        seed=recipe.film_seed,
        answers=recipe.answers,
        judges=run.answers.judges,
    )
    known = read_json(path) if path.is_file() else {}
    if known.get("key") == key:
        return Measured(**known["measured"])
    before = measure_answers(run)
    save_json(path, {"key": key, "measured": asdict(before)})
    return before


def _write(run: JointRun) -> Path:
    """Calibrates the heads and writes the folder of the model; the run is used up."""
    recipe, checkpoint, folder = run.recipe, run.checkpoint, Path(run.recipe.out) / MODEL_FOLDER
    assert checkpoint.model.vision is not None
    heads = finish_heads(
        run.trainee.heads,
        recipe=recipe,
        data=run.data,
        tower=checkpoint.model.vision,
        settled=(_learned_films(run.data), run.data.xray_bank),
    )
    dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
    model = joint_model(run.trainee, base=checkpoint.model, heads=heads, dtype=dtype)
    # The tower has changed, so of the base's skills none is known to be left.
    trained = {"answers", *recipe.skills}
    write_model(folder, model, checkpoint=checkpoint, trained=trained)  # type: ignore[arg-type]
    return folder


def _learned_films(data: PerceptionData) -> FeatureBank:
    """The films of the patients that are learned from, some of them: states are averaged over these alone."""
    numbers = [first + place for item, first in zip(data.series, data.first_film, strict=True)
               for place in range(len(item.films))]  # fmt: skip
    rows = [view.row for number in numbers for view in data.films.views[number]]
    some = rows[:: max(1, len(rows) // _SETTLED)]
    return FeatureBank(rows=data.films.rows[some], views=())
