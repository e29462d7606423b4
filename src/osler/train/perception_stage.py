"""The perception stage: heads and attention over time learn boxes, findings, progression and alikeness together.

The tower's first layers and the decoder stay as they are; the heads' trunk is a
copy of the tower's last layers. So what the decoder reads does not change, and
answers stay the same bit for bit.

Of several processes each has all that learns: it is small next to what it reads, and patients have unequally many
films, so that shared-out layers would wait for each other. Gradients are averaged, see `osler.train.distributed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from osler.errors import RequestError
from osler.model.config import HeadsConfig, OslerConfig, TemporalConfig
from osler.model.heads import Heads
from osler.model.osler import Osler
from osler.model.temporal import ClinicalTemporalAttention
from osler.model.vision import VisionTower
from osler.train.checkpoints import save_json
from osler.train.distributed import ALONE, Place, clip_gradients, joined, mean_gradients
from osler.train.finetune_state import SavedRun
from osler.train.finite import require_finite
from osler.train.heads_recipe import HeadsRecipe, PerceptionRecipe
from osler.train.losses import total_loss
from osler.train.optimizer import make_optimizer, set_rate
from osler.train.perception_data import PerceptionData, open_perception_data, share_of
from osler.train.perception_lesson import draw_lesson, named_inputs
from osler.train.perception_losses import lesson_losses, share_states
from osler.train.perception_parts import finish_heads, ship_parts
from osler.train.run_log import RunLog, open_ledger
from osler.train.run_plan import PLAN_FILE, plan_of, require_same_run
from osler.weights import load_checkpoint

Listener = Callable[[Mapping[str, float]], None]

TRUNK_RATE = 0.3
"""Share of the learning rate that the trunk gets, which starts from the tower's layers; heads start from nothing."""

FREE = (
    "out", "ship", "save_every", "workers", "films", "banks", "data", "skills", "labels", "pictures", "boxes_on",
    "witness", "told", "told_levels",
)  # fmt: skip
"""Keys that a run of heads may change when it goes on: places, and what is said of the heads at its end."""


class PerceptionTrainee(nn.Module):
    """What learns, and the frozen network that it reads.

    Args:
        base: Tower and decoder, frozen.
        config: With ``heads`` and ``temporal``.
    """

    def __init__(self, base: Osler, *, config: OslerConfig) -> None:
        super().__init__()
        assert config.heads is not None
        assert config.temporal is not None
        assert config.vision is not None
        assert base.vision is not None
        self.config = config
        self.heads = Heads(config)
        self.temporal = ClinicalTemporalAttention(
            config.temporal, width=config.vision.width, text_width=config.decoder.width
        )
        layers = base.vision.encoder.layers
        with torch.no_grad():
            for own, source in zip(self.heads.trunk.layers, layers[len(layers) - config.heads.trunk :], strict=True):
                own.load_state_dict({name: t.float() for name, t in source.state_dict().items()})
            if config.heads.trunk:
                norm = base.vision.post_layernorm
                self.heads.trunk.norm.load_state_dict({name: t.float() for name, t in norm.state_dict().items()})


def new_config(
    base: OslerConfig, *, findings: Sequence[str], trunk: int, states: Literal["layer", "batch"] = "layer"
) -> OslerConfig:
    """Adds heads and attention over time to a configuration."""
    heads = HeadsConfig(findings=tuple(findings), trunk=trunk, states=states)
    return replace(base, heads=heads, temporal=TemporalConfig())


def train_perception(recipe: PerceptionRecipe, *, listener: Listener | None = None) -> Path:
    """Runs the stage, from its last checkpoint if there is one.

    Returns:
        The folder of the run; ``recipe.ship`` holds the trained parts.

    Raises:
        RequestError: If the base has no image tower, or the data folder is not right.
        DataError: If a set is damaged, or rendering or encoding fails.
        CheckpointError: If a file of the run is damaged, does not fit, or cannot be written.
        TrainingError: If a loss or the gradient is not a number.
    """
    with joined(device=torch.device("cpu")) as place:
        require_enough(recipe, place=place)
        base = load_checkpoint(recipe.base, dtype="bfloat16" if recipe.precision == "bfloat16" else "float32")
        if base.model.vision is None:
            raise RequestError(f"The weights {recipe.base!r} have no image tower.", allowed="Weights with a tower.")

        def on_report(done: int, total: int) -> None:
            if listener is not None:
                listener({"reports": done, "reports in all": total})

        with place.first_before_others():
            everything = open_perception_data(recipe, checkpoint=base, on_report=on_report)
        data = share_of(everything, series=recipe.series_share, xrays=recipe.xrays_share)
        torch.manual_seed(recipe.seed)
        trainee = PerceptionTrainee(
            base.model,
            config=new_config(base.model.config, findings=data.findings, trunk=recipe.trunk, states=recipe.states),
        )
        keep_plan(recipe, weights=base.digest, place=place)
        _teach(recipe, trainee=trainee, data=data, place=place, listener=listener)
        if recipe.ship and place.first:
            _ship(recipe, trainee=trainee, data=data, tower=base.model.vision)
        place.wait()
    return Path(recipe.out)


def _teach(
    recipe: PerceptionRecipe,
    *,
    trainee: PerceptionTrainee,
    data: PerceptionData,
    place: Place,
    listener: Listener | None,
) -> None:
    """Makes the updates; the trainee then has the running mean of its weights, where there is one."""
    out, steps = Path(recipe.out), recipe.optimizer.steps
    share_states(trainee, place=place)
    optimizer = make_optimizer(
        [(trainee.heads.trunk.parameters(), TRUNK_RATE), (_fresh(trainee), 1.0)], config=recipe.optimizer
    )
    run = SavedRun(
        trainee,
        optimizer=optimizer,
        average=recipe.optimizer.average,
        folder=out,
        place=place,
        buffers=dict(trainee.named_buffers()),
    )
    first = run.resume()
    log = RunLog(out, first=first, listener=listener) if place.first else None
    ledger = open_ledger(out, first=first, place=place)
    for step in range(first, steps):
        names: list[str] = []
        metrics = _update(recipe, step=step, trainee=trainee, optimizer=optimizer, data=data, place=place, names=names)
        run.average()
        ledger.note(step=step, samples=names)
        if log is not None:
            log.write(step=step, **metrics)
        if (step + 1) % recipe.save_every == 0 or step + 1 == steps:
            run.save(step + 1)
    run.settle()


def require_enough(recipe: HeadsRecipe, *, place: Place) -> None:
    """Checks that each process gets a synthetic patient in each update.

    Raises:
        RequestError: If there are more processes than patients.
    """
    if recipe.shares.series < place.world:
        raise RequestError(
            f"An update reads {recipe.shares.series} synthetic patients, for {place.world} processes.",
            allowed="One or more for each process.",
            next_step=f"Set shares.series to {place.world} or more, or start fewer processes.",
        )


def keep_plan(recipe: HeadsRecipe, *, weights: str, place: Place = ALONE) -> None:
    """Notes what a run of heads was begun with.

    Args:
        weights: Digest of the base. place: Which process this is; the first writes.

    Raises:
        RequestError: If the folder holds a run of another recipe or base.
        CheckpointError: If it cannot be written.
    """
    path = Path(recipe.out) / PLAN_FILE
    plan = plan_of(recipe, free=FREE, also={"base_digest": weights})
    require_same_run(path, recipe=recipe, plan=plan, free=FREE, anew="its files")
    place.wait()
    if place.first and not path.is_file():
        save_json(path, plan)


def _fresh(trainee: PerceptionTrainee) -> list[nn.Parameter]:
    return [parameter for name, parameter in trainee.named_parameters() if not name.startswith("heads.trunk.")]


def _update(
    recipe: PerceptionRecipe,
    *,
    step: int,
    trainee: PerceptionTrainee,
    optimizer: torch.optim.Optimizer,
    data: PerceptionData,
    place: Place,
    names: list[str],
) -> dict[str, float]:
    """Makes an update; adds the pictures of this process to ``names``, and returns the losses of all."""
    rate = set_rate(optimizer, step=step, config=recipe.optimizer)
    losses = heads_gradients(recipe, step=step, trainee=trainee, data=data, place=place, names=names)
    mean_gradients(trainee.parameters(), place=place)
    norm = clip_gradients(trainee.parameters(), most=recipe.optimizer.clip)
    require_finite({"gradient": torch.tensor(norm)}, step=step, inputs=(), names=names, place=place)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    total = sum(getattr(recipe.weights, name) * value for name, value in losses.items())
    return {"loss": total, "rate": rate, "norm": norm, **losses}


def heads_gradients(
    recipe: HeadsRecipe,
    *,
    step: int,
    trainee: PerceptionTrainee,
    data: PerceptionData,
    place: Place,
    names: list[str],
) -> dict[str, float]:
    """Adds the gradients of the heads' losses, of which the mean over processes is that of all pictures.

    Args:
        names: Those of the pictures of this process are added.

    Returns:
        The losses by name, of all processes.

    Raises:
        TrainingError: If one is not a number.
    """
    lesson = draw_lesson(recipe, step=step, data=data, place=place)
    shown = named_inputs(lesson)
    names += [name for name, _ in shown]
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        parts = lesson_losses(trainee, lesson, data=data, recipe=recipe, place=place)
    require_finite(parts, step=step, inputs=shown, names=names, place=place)
    if parts:
        (total_loss(parts, weights=recipe.weights) * place.world).backward()
    totals = place.totals([float(value.detach()) for value in parts.values()])
    return dict(zip(parts, totals, strict=True))


def _ship(recipe: PerceptionRecipe, *, trainee: PerceptionTrainee, data: PerceptionData, tower: VisionTower) -> None:
    """Calibrates on the patients kept out for it, and writes the parts beside the weights that they belong to."""
    trainee.eval()
    heads = finish_heads(trainee.heads, recipe=recipe, data=data, tower=tower, settled=(data.films, data.xray_bank))
    heads = replace(heads, told=recipe.told, told_levels=recipe.told_levels)
    ship_parts(
        Path(recipe.ship),
        tensors=trainee.state_dict(),
        config=replace(trainee.config, heads=heads),
        preprocess=data.preprocess,
        skills=recipe.skills,
    )
