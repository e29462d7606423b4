"""One update of a fine-tuning run, and the measure on kept-out samples.

Both divide the sum of the losses by tokens, or by samples (`AnswerTeacher.units`), of all
micro-batches of all processes, so that neither their number nor their size changes the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from osler.train.distributed import Place, clip_gradients
from osler.train.finetune_model import Learner
from osler.train.finetune_recall import Retention
from osler.train.finite import not_a_number
from osler.train.recipe import FinetuneRecipe
from osler.train.taught import MicroBatch, Places, Source, micro_batch, numbers_of_update


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What an update did.

    Args:
        loss: Mean, in nats a token or a sample. right: Share of right tokens.
        norm: Of the gradient of all processes, before it was clipped.
        tokens: That were asked for, in all processes.
        names: The samples of this process.
        drift: How far plain text is from the base, in nats; ``None`` where it was not asked.
    """

    loss: float
    right: float
    norm: float
    tokens: int
    names: list[str]
    drift: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Mean loss in nats a token or a sample, and share of right tokens; ``None`` where there are none.

    Args:
        loss: See above. right: See above.
        samples: That were measured. tokens: That were asked for in them.
    """

    loss: float | None
    right: float | None
    samples: int
    tokens: int


def update(
    recipe: FinetuneRecipe,
    *,
    learner: Learner,
    source: Source,
    order: Places,
    optimizer: torch.optim.Optimizer,
    step: int,
    place: Place,
    retention: Retention | None = None,
) -> Updated:
    """Adds up the gradients of the micro-batches of all processes and of what must stay, and moves the weights.

    Raises:
        TrainingError: If a loss or the gradient is not a number; the weights are not moved.
    """
    numbers = numbers_of_update(order, step, batch=recipe.optimizer.batch, rank=place.rank, world=place.world)
    micros = _micros(recipe, learner=learner, source=source, numbers=numbers)
    tokens = place.total(sum(micro.wanted for micro in micros))
    units = place.total(sum(learner.teacher.units(micro) for micro in micros))
    sums = torch.zeros(2, dtype=torch.float64)
    bad: list[str] = []
    for micro in micros:
        with _precision(recipe, place=place):
            loss, each_B, right = learner.teacher(micro)
        # FSDP takes the mean over processes, so each has to weigh more.
        (loss * (place.world / units)).backward()
        bad += _not_numbers(micro, each_B)
        sums += torch.stack([loss.detach(), right]).double().cpu()
    _require_numbers(place.names(bad), step=step, what="loss")
    drift = retention.gradients(step) if retention is not None else None
    norm = clip_gradients(learner.trainable().values(), most=recipe.optimizer.clip)
    names = [name for micro in micros for name in micro.names]
    if not math.isfinite(norm):
        _require_numbers(place.names(names), step=step, what="gradient")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Updated(
        loss=place.total(float(sums[0])) / units,
        right=place.total(float(sums[1])) / tokens,
        norm=norm,
        tokens=int(tokens),
        names=names,
        drift=drift,
    )


@torch.no_grad()
def measure(
    recipe: FinetuneRecipe, *, learner: Learner, source: Source, numbers: Sequence[int], place: Place
) -> Measured:
    """Measures samples without learning from them.

    Raises:
        TrainingError: If a loss is not a number.
    """
    mine = list(numbers[place.rank :: place.world])
    # All processes run equally often, because each gathers weights from all.
    rounds = math.ceil(math.ceil(len(numbers) / place.world) / recipe.micro_batch)
    sums = torch.zeros(4, dtype=torch.float64)
    bad: list[str] = []
    for turn in range(rounds):
        chosen = mine[turn * recipe.micro_batch : (turn + 1) * recipe.micro_batch]
        for micro in _micros(recipe, learner=learner, source=source, numbers=chosen or numbers[:1]):
            with _precision(recipe, place=place):
                loss, each_B, right = learner.teacher(micro)
            if chosen:
                bad += _not_numbers(micro, each_B)
                units = learner.teacher.units(micro)
                sums += torch.tensor([float(loss), units, float(right), float(micro.wanted)], dtype=torch.float64)
    _require_numbers(place.names(bad), step=None, what="loss")
    loss_sum, units, right_sum, tokens = (place.total(float(value)) for value in sums)
    return Measured(
        loss=loss_sum / units if units else None,
        right=right_sum / tokens if tokens else None,
        samples=len(numbers),
        tokens=int(tokens),
    )


def _micros(recipe: FinetuneRecipe, *, learner: Learner, source: Source, numbers: Sequence[int]) -> list[MicroBatch]:
    size, pad = recipe.micro_batch, learner.model.config.tokens.pad
    parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    return [micro_batch([source[number] for number in part], pad=pad) for part in parts]


def _precision(recipe: FinetuneRecipe, *, place: Place) -> torch.autocast:
    return torch.autocast(place.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def _not_numbers(micro: MicroBatch, each_B: Tensor) -> list[str]:
    return [name for name, value in zip(micro.names, each_B.tolist(), strict=True) if not math.isfinite(value)]


def _require_numbers(names: Sequence[str], *, step: int | None, what: str) -> None:
    if names:
        raise not_a_number(names, what=what, step=step)
