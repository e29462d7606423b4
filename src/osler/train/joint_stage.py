"""The joint stage: the whole multi-task objective in one run.

The tower's last layers are shared: heads, attention over time and, through the projector, the decoder read what
they make. So the next token, boxes (from labels and from box tokens), findings, progression and alikeness all move
them. The layers before them stay as they are, and their features are computed once. One sum of all losses, one
optimizer, one running mean; in the end one folder without a trunk of the heads' own.

On several processes each learns from its own patients, X-rays, volumes and questions of an update, and the curve is
that of one process: see `osler.train.joint_network.share_out`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from osler.errors import RequestError
from osler.train.cache_key import cache_key
from osler.train.checkpoints import save_json
from osler.train.distributed import ALONE, Place, clip_gradients, joined, mean_gradients, whole
from osler.train.finetune_state import SavedRun
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
    share_out,
    write_model,
)
from osler.train.losses import total_loss
from osler.train.optimizer import make_optimizer, set_rate
from osler.train.perception_bank import FeatureBank
from osler.train.perception_data import PerceptionData, open_perception_data, share_of, without_kept_out
from osler.train.perception_parts import finish_heads
from osler.train.perception_stage import TRUNK_RATE, heads_gradients, keep_plan, new_config, require_enough
from osler.train.run_log import RunLog, open_ledger
from osler.train.taught import MicroBatch, micro_batch, numbers_of_update
from osler.weights.checkpoint import Checkpoint, load_checkpoint
from osler.weights.json_file import read_json
from osler.weights.lora import LoraConfig

Listener = Callable[[Mapping[str, float]], None]

MODEL_FOLDER = "model"
SUMMARY = "summary.json"

_SETTLED = 1200
"""Films of training over which states of findings are averaged at the end."""

_TOLD = {"next_token": "next_token", "boxes": "box_tokens", "right": "right"}
"""Losses of answers by their weights' names, and what was right; and what they are called in the metrics."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointRun:
    """A run with everything opened.

    Args:
        recipe: As read. checkpoint: The base, which computes with the trainee.
        trainee: All that learns. teacher: Computes the losses of answers.
        data: What the heads learn from. answers: What the decoder learns from.
        place: Which process of the run this is.
    """

    recipe: JointRecipe
    checkpoint: Checkpoint
    trainee: JointTrainee
    teacher: JointTeacher
    data: PerceptionData
    answers: JointAnswers
    place: Place = ALONE

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
    with joined(device=torch.device("cpu")) as place:
        require_even(recipe, place=place)
        run = open_run(recipe, listener=listener, place=place)
        keep_plan(recipe, weights=run.checkpoint.digest, place=place)
        return _teach(run, listener=listener)


def _teach(run: JointRun, *, listener: Listener | None) -> Path:
    recipe, trainee, place = run.recipe, run.trainee, run.place
    out, steps = Path(recipe.out), recipe.optimizer.steps
    optimizer = make_optimizer(parameter_groups(trainee, rate=recipe.answers.rate), config=recipe.optimizer)
    saved = SavedRun(
        trainee,
        optimizer=optimizer,
        average=recipe.optimizer.average,
        folder=out,
        place=place,
        buffers=dict(trainee.named_buffers()),
    )
    before = _before(run)
    first = saved.resume()
    log = RunLog(out, first=first, listener=listener) if place.first else None
    ledger = open_ledger(out, first=first, place=place)
    for step in range(first, steps):
        names: list[str] = []
        metrics = update(run, step=step, optimizer=optimizer, names=names)
        saved.average()
        ledger.note(step=step, samples=names)
        if log is not None:
            log.write(step=step, **metrics)
        if (step + 1) % recipe.save_every == 0 or step + 1 == steps:
            saved.save(step + 1)
    saved.settle()
    after = measure_answers(run)
    folder = out / MODEL_FOLDER
    learned = {name: whole(tensor.detach()) for name, tensor in trainee.state_dict().items()}
    if place.first:
        _write(run, folder=folder, learned=learned)
        about = {
            "updates": max(first, steps),
            "patients": len(run.data.series),
            "lessons": run.answers.counts,
            "kept_out": {"before": asdict(before), "after": asdict(after)},
        }
        save_json(out / SUMMARY, about)
    place.wait()
    return folder


def require_even(recipe: JointRecipe, *, place: Place) -> None:
    """Checks that each process gets a patient, and as many questions as the others, in each update.

    Raises:
        RequestError: If it does not.
    """
    require_enough(recipe, place=place)
    samples, world = recipe.answers.samples, place.world
    if samples % world:
        raise RequestError(
            f"An update has {samples} questions, for {world} processes.",
            allowed="A multiple of the number of processes.",
            next_step=f"Set answers.samples to {-(-samples // world) * world}.",
        )


def open_run(recipe: JointRecipe, *, listener: Listener | None = None, place: Place = ALONE) -> JointRun:
    """Loads the base, opens or renders the sets, and makes what learns; see `train_joint`."""
    with place.first_before_others():
        run = _opened(recipe, listener=listener, place=place)
    share_out(run.trainee, teacher=run.teacher, place=place)
    return run


def _opened(recipe: JointRecipe, *, listener: Listener | None, place: Place) -> JointRun:
    checkpoint = _base(recipe)

    def on_report(done: int, total: int) -> None:
        if listener is not None:
            listener({"reports": done, "reports in all": total})

    def on_film(done: int, total: int) -> None:
        if listener is not None:
            listener({"films": done, "films in all": total})

    everything = open_perception_data(recipe, checkpoint=checkpoint, on_report=on_report)
    some = share_of(everything, series=recipe.series_share, xrays=recipe.xrays_share)
    data = without_kept_out(some, share=recipe.answers.kept_out)
    trainee = _trainee(recipe, checkpoint=checkpoint, data=data)
    teacher = JointTeacher(
        checkpoint.model,
        preprocess=checkpoint.preprocess,
        keep_tokens=recipe.answers.keep_tokens,
        weigh=recipe.answers.weigh,
    )
    patients = {item.films[0].patient for item in data.series}
    answers = open_answers(recipe, checkpoint=checkpoint, patients=patients, on_film=on_film)
    return JointRun(
        recipe=recipe,
        checkpoint=checkpoint,
        trainee=trainee,
        teacher=teacher,
        data=data,
        answers=answers,
        place=place,
    )


def _base(recipe: JointRecipe) -> Checkpoint:
    checkpoint = load_checkpoint(recipe.base, dtype="bfloat16" if recipe.precision == "bfloat16" else "float32")
    require_joint(checkpoint.model, base=recipe.base, trunk=recipe.trunk)
    return checkpoint


def _trainee(recipe: JointRecipe, *, checkpoint: Checkpoint, data: PerceptionData) -> JointTrainee:
    """What learns, the same in all processes."""
    torch.manual_seed(recipe.seed)
    return JointTrainee(
        checkpoint.model,
        config=new_config(checkpoint.model.config, findings=data.findings, trunk=recipe.trunk, states=recipe.states),
        lora=LoraConfig(rank=recipe.answers.rank, alpha=recipe.answers.alpha),
    )


def parameter_groups(trainee: JointTrainee, *, rate: float) -> list[tuple[list[nn.Parameter], float]]:
    """The parameters with their shares of the learning rate, ``rate`` that of projector and adapter.

    These two stand apart, as the optimizer takes no group of which some are shared out and some are whole.
    """
    rates = {"heads.trunk.": TRUNK_RATE, "projector.": rate, "adapter.": rate, "": 1.0}
    groups: dict[str, list[nn.Parameter]] = {stem: [] for stem in rates}
    for name, parameter in trainee.named_parameters():
        groups[next(stem for stem in rates if name.startswith(stem))].append(parameter)
    return [(members, rates[stem]) for stem, members in groups.items()]


def update(
    run: JointRun, *, step: int, optimizer: torch.optim.Optimizer, names: list[str] | None = None
) -> dict[str, float]:
    """Adds up the gradients of heads and answers of all processes, and moves the weights.

    Args:
        names: Those of the pictures and questions of this process are added.

    Returns:
        The losses by name, boxes of box tokens as ``box_tokens``; their weighted sum as ``loss``.

    Raises:
        TrainingError: If a loss or the gradient is not a number; the weights are not moved.
    """
    recipe, weights, place = run.recipe, asdict(run.recipe.weights), run.place
    rate = set_rate(optimizer, step=step, config=recipe.optimizer)
    losses: dict[str, float] = {}
    names = [] if names is None else names
    if any(weight for name, weight in weights.items() if name != "next_token"):
        losses |= heads_gradients(recipe, step=step, trainee=run.trainee, data=run.data, place=place, names=names)
    if weights["next_token"] or (weights["boxes"] and "box-tokens" in recipe.answers.tasks):
        losses |= answers_gradients(run, step=step, names=names)
    mean_gradients(run.trainee.parameters(), place=place)
    norm = clip_gradients(run.trainee.parameters(), most=recipe.optimizer.clip)
    require_finite({"gradient": torch.tensor(norm)}, step=step, inputs=(), names=names, place=place)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    share = weights | {"box_tokens": weights["boxes"], "right": 0.0}
    total = sum(share[name] * value for name, value in losses.items())
    return {"loss": total, "rate": rate, "norm": norm, **losses}


def answers_gradients(run: JointRun, *, step: int, names: list[str]) -> dict[str, float]:
    """Adds the gradients of an update's questions, and these to ``names``; returns their losses and what was right.

    Losses are divided by the tokens (or samples) and by the boxes of the update, in all processes: how many of these
    and of micro-batches there are does not matter.
    """
    weights, place = run.recipe.weights, run.place
    numbers = numbers_of_update(
        run.answers.order, step, batch=run.recipe.answers.samples, rank=place.rank, world=place.world
    )
    micros = list(run.micros(numbers))
    own = {
        "next_token": float(sum(map(run.teacher.units, micros))),
        "boxes": float(sum(len(micro.boxes_Q6) for micro in micros if micro.boxes_Q6 is not None)),
        "right": float(sum(micro.wanted for micro in micros)),
    }
    counts = dict(zip(own, place.totals(list(own.values())), strict=True))
    kept = [name for name in ("next_token", "boxes") if getattr(weights, name) and counts[name]]
    if not kept:
        return {}
    sums = dict.fromkeys([*kept, *(["right"] if weights.next_token else [])], 0.0)
    found: list[AnswerLosses] = []
    for micro in micros:
        names += micro.names
        with run.precision():
            found.append(run.teacher.losses(micro, weights=weights))
        parts = {name: value / counts[name] for name, value in found[-1].sums.items()}
        # FSDP takes the mean over processes, so each has to weigh more.
        (total_loss(parts, weights=weights) * place.world).backward()
        told = parts | {"right": found[-1].right / counts["right"]}
        sums = {name: value + float(told[name].detach()) if name in told else value for name, value in sums.items()}
    require_answers(micros, found, step=step, place=place)
    return {_TOLD[name]: value for name, value in zip(sums, place.totals(list(sums.values())), strict=True)}


def require_answers(
    micros: Sequence[MicroBatch], found: Sequence[AnswerLosses], *, step: int | None, place: Place
) -> None:
    """Checks the losses of questions; of several processes all stop, or none.

    Raises:
        TrainingError: If one is not a number.
    """
    kinds, names = [], []
    for micro, losses in zip(micros, found, strict=True):
        bad = [name for name, v in zip(micro.names, losses.each_B.tolist(), strict=True) if not math.isfinite(v)]
        odd = [_TOLD[name] for name, value in losses.sums.items() if not math.isfinite(float(value.detach()))]
        kinds += odd
        names += (bad or micro.names) if bad or odd else []
    names = place.names(names)
    if names:
        raise not_a_number(names, what=" and ".join(dict.fromkeys(place.names(kinds))), step=step)


@torch.no_grad()
def measure_answers(run: JointRun) -> Measured:
    """Measures the next token of kept-out questions.

    Raises:
        TrainingError: If a loss is not a number.
    """
    alone, place, judges = replace(run.recipe.weights, next_token=1.0, boxes=0.0), run.place, run.answers.judges
    own = judges[place.rank :: place.world]
    sums = torch.zeros(4, dtype=torch.float64)
    micros, found = list(run.micros(own)), []
    for micro in micros:
        with run.precision():
            found.append(run.teacher.losses(micro, weights=alone))
        losses = found[-1]
        some = [float(losses.sums["next_token"]), run.teacher.units(micro), float(losses.right), micro.wanted]
        sums += torch.tensor(some, dtype=torch.float64)
    # All processes run equally often, because each gathers weights from all.
    rounds = math.ceil(math.ceil(len(judges) / place.world) / run.recipe.answers.micro_batch)
    for micro in run.micros(judges[:1] if len(micros) < rounds else ()):
        with run.precision():
            run.teacher.losses(micro, weights=alone)
    require_answers(micros, found, step=None, place=place)
    loss, units, right, tokens = place.totals(sums.tolist())
    return Measured(
        loss=loss / units if units else None,
        right=right / tokens if tokens else None,
        samples=len(judges),
        tokens=int(tokens),
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
    run.place.wait()
    if run.place.first:
        save_json(path, {"key": key, "measured": asdict(before)})
    return before


def _write(run: JointRun, *, folder: Path, learned: Mapping[str, torch.Tensor]) -> None:
    """Calibrates the heads and writes the folder of the model; a run of one process is used up.

    Args:
        learned: All weights of the trainee, whole.
    """
    recipe, checkpoint, trainee = run.recipe, run.checkpoint, run.trainee
    if run.place.mesh is not None:
        checkpoint = _base(recipe)
        trainee = _trainee(recipe, checkpoint=checkpoint, data=run.data)
        trainee.load_state_dict(learned)
    assert checkpoint.model.vision is not None
    heads = finish_heads(
        trainee.heads,
        recipe=recipe,
        data=run.data,
        tower=checkpoint.model.vision,
        settled=(_learned_films(run.data), run.data.xray_bank),
    )
    dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
    model = joint_model(trainee, base=checkpoint.model, heads=heads, dtype=dtype)
    # The tower has changed, so of the base's skills none is known to be left.
    trained = {"answers", *recipe.skills}
    write_model(folder, model, checkpoint=checkpoint, trained=trained)  # type: ignore[arg-type]


def _learned_films(data: PerceptionData) -> FeatureBank:
    """The films of the patients that are learned from, some of them: states are averaged over these alone."""
    numbers = [first + place for item, first in zip(data.series, data.first_film, strict=True)
               for place in range(len(item.films))]  # fmt: skip
    rows = [view.row for number in numbers for view in data.films.views[number]]
    some = rows[:: max(1, len(rows) // _SETTLED)]
    return FeatureBank(rows=data.films.rows[some], views=())
