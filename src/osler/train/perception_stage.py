"""The perception stage: heads and attention over time learn boxes, findings, progression and alikeness together.

The tower's first layers and the decoder stay as they are; the heads' trunk is a
copy of the tower's last layers. So what the decoder reads does not change, and
answers stay the same bit for bit.

Dimensions: N pictures, P patches, V width, B volumes, S slices, M features of a
volume, Q boxes, F findings, T time points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import HeadsConfig, OslerConfig, TemporalConfig
from osler.model.heads import Heads, patch_positions, volume_features
from osler.model.osler import Osler
from osler.model.temporal import ClinicalTemporalAttention
from osler.model.vision import VisionTower
from osler.train.checkpoints import resume_training, save_json, save_training
from osler.train.finite import require_finite
from osler.train.heads_recipe import HeadsRecipe, PerceptionRecipe
from osler.train.losses import (
    box_loss,
    contrastive_loss,
    findings_loss,
    presence_loss,
    progression_loss,
    total_loss,
)
from osler.train.optimizer import RunningMean, make_optimizer, set_rate
from osler.train.perception_batch import (
    Asked,
    FilmBatch,
    VolumeBatch,
    any_view,
    event_table,
    film_batch,
    pack_asked,
    pick,
    volume_batch,
)
from osler.train.perception_data import PerceptionData, open_perception_data, share_of
from osler.train.perception_parts import finish_heads, ship_parts
from osler.train.run_log import RunLog
from osler.train.run_plan import PLAN_FILE, plan_of, require_same_run
from osler.weights import load_checkpoint

CHANGE_WEIGHTS = (0.15, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Of `osler.model.heads.CHANGES`: most findings are absent at both dates. The others keep their frequencies, so that
the likeliest change is the best guess."""

TRUNK_RATE = 0.3
"""Share of the learning rate that the trunk gets, which starts from the tower's layers; heads start from nothing."""

_AT_ONCE = 8
"""Pictures whose activations in a layer of the trunk stay in the caches: 80 together take 1.7 times the time."""

FREE = (
    "out", "ship", "save_every", "workers", "films", "banks", "data", "skills", "labels", "pictures", "boxes_on",
    "witness", "told", "told_levels",
)  # fmt: skip
"""Keys that a run of heads may change when it goes on: places, and what is said of the heads at its end."""

OTHER_REPORTS = 60
"""Of other patients, from which the last film of each patient is told apart in an update: their states are kept."""


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """One update's worth."""

    films: FilmBatch
    xrays: FilmBatch | None
    volumes: VolumeBatch | None


def train_perception(
    recipe: PerceptionRecipe, *, listener: Callable[[Mapping[str, float]], None] | None = None
) -> Path:
    """Runs the stage, from its last checkpoint if there is one.

    Returns:
        The folder of the run; ``recipe.ship`` holds the trained parts.

    Raises:
        RequestError: If the base has no image tower, or the data folder is not right.
        DataError: If a set is damaged, or rendering or encoding fails.
        CheckpointError: If a file of the run is damaged, does not fit, or cannot be written.
        TrainingError: If a loss or the gradient is not a number.
    """
    out = Path(recipe.out)
    base = load_checkpoint(recipe.base, dtype="bfloat16" if recipe.precision == "bfloat16" else "float32")
    if base.model.vision is None:
        raise RequestError(f"The weights {recipe.base!r} have no image tower.", allowed="Weights with a tower.")

    def on_report(done: int, total: int) -> None:
        if listener is not None:
            listener({"reports": done, "reports in all": total})

    everything = open_perception_data(recipe, checkpoint=base, on_report=on_report)
    data = share_of(everything, series=recipe.series_share, xrays=recipe.xrays_share)
    torch.manual_seed(recipe.seed)
    trainee = PerceptionTrainee(
        base.model,
        config=new_config(base.model.config, findings=data.findings, trunk=recipe.trunk, states=recipe.states),
    )
    keep_plan(recipe, weights=base.digest)
    optimizer = make_optimizer(
        [(trainee.heads.trunk.parameters(), TRUNK_RATE), (_fresh(trainee), 1.0)], config=recipe.optimizer
    )
    mean = RunningMean(trainee, decay=recipe.optimizer.average)
    first = resume_training(out, module=trainee, optimizer=optimizer, mean=mean)
    log = RunLog(out, first=first, listener=listener)
    for step in range(first, recipe.optimizer.steps):
        metrics = _update(recipe, step=step, trainee=trainee, optimizer=optimizer, data=data)
        mean.update(trainee)
        log.write(step=step, **metrics)
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.optimizer.steps:
            save_training(out, step=step + 1, module=trainee, optimizer=optimizer, mean=mean)
    if recipe.ship:
        _ship(recipe, trainee=mean.copy_to(trainee) if mean.decay > 0 else trainee, data=data, tower=base.model.vision)
    return out


def keep_plan(recipe: HeadsRecipe, *, weights: str) -> None:
    """Notes what a run of heads was begun with.

    Args:
        weights: Digest of the base.

    Raises:
        RequestError: If the folder holds a run of another recipe or base.
        CheckpointError: If it cannot be written.
    """
    path = Path(recipe.out) / PLAN_FILE
    plan = plan_of(recipe, free=FREE, also={"base_digest": weights})
    require_same_run(path, recipe=recipe, plan=plan, free=FREE, anew="its files")
    if not path.is_file():
        save_json(path, plan)


def _fresh(trainee: PerceptionTrainee) -> list[nn.Parameter]:
    return [parameter for name, parameter in trainee.named_parameters() if not name.startswith("heads.trunk.")]


def draw_lesson(recipe: HeadsRecipe, *, step: int, data: PerceptionData) -> Lesson:
    """Draws an update's films, X-rays and volumes; the same for the same step."""
    rng = np.random.default_rng([recipe.seed, step])
    chosen = pick(data.series, count=recipe.shares.series, rng=rng)
    films, rows, views = [], [], []
    for number in chosen:
        rows.append(range(len(films), len(films) + len(data.series[number].films)))
        films.extend(data.series[number].films)
        first = data.first_film[number]
        views.extend(any_view(data.films.views[first + place], rng=rng) for place in range(len(rows[-1])))
    shown = film_batch(
        films,
        views=views,
        bank=data.films,
        findings=data.findings,
        rng=rng,
        series=rows,
        labs=[data.series[number].labs for number in chosen],
        texts=chosen,
    )
    xrays = volumes = None
    if recipe.shares.xrays and data.xrays:
        taken = _spread_kinds(data, count=recipe.shares.xrays, rng=rng)
        xrays = film_batch(
            [data.xrays[i] for i in taken],
            views=[any_view(data.xray_bank.views[i], rng=rng) for i in taken],
            bank=data.xray_bank,
            findings=data.findings,
            rng=rng,
        )
    if recipe.shares.volumes and data.volumes:
        bank = data.volumes[step % len(data.volumes)]
        some = rng.integers(len(bank.views), size=recipe.shares.volumes)
        volumes = volume_batch([any_view(bank.views[int(i)], rng=rng) for i in some], bank=bank)
    return Lesson(films=shown, xrays=xrays, volumes=volumes)


def _spread_kinds(data: PerceptionData, *, count: int, rng: np.random.Generator) -> list[int]:
    """Two fifths of the X-rays with boxes, the rest with findings."""
    boxed = [i for i, film in enumerate(data.xrays) if film.boxes is not None]
    others = [i for i, film in enumerate(data.xrays) if film.boxes is None]
    sizes = (count * 2 // 5, count - count * 2 // 5) if boxed and others else (count, 0) if boxed else (0, count)
    return [
        int(pool[int(i)]) for pool, size in zip((boxed, others), sizes, strict=True) if size
        for i in rng.integers(len(pool), size=size)
    ]  # fmt: skip


def _update(
    recipe: PerceptionRecipe,
    *,
    step: int,
    trainee: PerceptionTrainee,
    optimizer: torch.optim.Optimizer,
    data: PerceptionData,
) -> dict[str, float]:
    rate = set_rate(optimizer, step=step, config=recipe.optimizer)
    lesson = draw_lesson(recipe, step=step, data=data)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        parts = lesson_losses(trainee, lesson, data=data, recipe=recipe)
    loss = total_loss(parts, weights=recipe.weights)
    inputs = named_inputs(lesson)
    names = [name for name, _ in inputs]
    require_finite(parts, step=step, inputs=inputs, names=names)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trainee.parameters(), recipe.optimizer.clip)
    require_finite({"gradient": norm}, step=step, inputs=inputs, names=names)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    named = {name: float(value.detach()) for name, value in parts.items()}
    return {"loss": float(loss.detach()), "rate": rate, "norm": float(norm), **named}


def named_inputs(lesson: Lesson) -> list[tuple[str, Tensor]]:
    """The features of each picture of an update, with its name."""
    batches = [lesson.films, *([lesson.xrays] if lesson.xrays is not None else [])]
    found = [pair for batch in batches for pair in zip(batch.names, batch.features, strict=True)]
    if lesson.volumes is not None:
        each = len(lesson.volumes.features) // len(lesson.volumes.depth_BS)
        parts = lesson.volumes.features.split(each)
        found += [(f"volume {number + 1} of the update", part) for number, part in enumerate(parts)]
    return found


def lesson_losses(
    trainee: PerceptionTrainee, lesson: Lesson, *, data: PerceptionData, recipe: HeadsRecipe
) -> dict[str, Tensor]:
    """Computes the losses of an update that count; the heads read all pictures together, the trunk a few at a time."""
    pictures = [lesson.films, *([lesson.xrays] if lesson.xrays is not None else [])]
    flat = [batch.features for batch in pictures] + ([lesson.volumes.features] if lesson.volumes is not None else [])
    kept = torch.cat(flat).to(torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32)
    seen = [trainee.heads.trunk(some) for some in kept.split(_AT_ONCE)]
    features = torch.cat(seen).split([len(rows) for rows in flat])
    found: dict[str, list[Tensor]] = {}
    weights = recipe.weights

    def add(name: str, value: Tensor) -> None:
        if getattr(weights, name):
            found.setdefault(name, []).append(value)

    assert trainee.config.vision is not None
    places_P3 = patch_positions(trainee.config.vision.side)
    # Synthetic and real films together: states may be normalized over the pictures of a batch.
    counts = [len(batch.features) for batch in pictures]
    states, logits = (rows.split(counts) for rows in trainee.heads.findings(torch.cat(features[: len(pictures)])))
    for number, (batch, features_NPV) in enumerate(zip(pictures, features, strict=False)):
        state_NFV, logits_NF = states[number], logits[number]
        synthetic = number == 0
        if not synthetic or recipe.synthetic == "use":
            if weights.findings:
                share = recipe.synthetic_findings if synthetic else 1.0
                add("findings", share * findings_loss(logits_NF, wanted_BF=batch.findings_NF))
            if weights.boxes or weights.presence:
                places_NP3 = places_P3.expand(len(features_NPV), -1, -1)
                _add_boxes(add, trainee, batch.asked, features_NPV, places_NP3, data=data)
        if synthetic and weights.progression:
            scores, wanted = progression_scores(trainee, batch, state_NFV, data=data, time=recipe.time)
            classes_C = torch.tensor(CHANGE_WEIGHTS)
            add("progression", progression_loss(scores, wanted_BF=wanted, class_weights_C=classes_C))
        if synthetic and weights.contrastive:
            add("contrastive", _alike(trainee, batch, features_NPV, data=data))
    if lesson.volumes is not None and (weights.boxes or weights.presence):
        pooled_BMV, places_BM3 = volume_features(
            features[-1], depth_BS=lesson.volumes.depth_BS, side=trainee.config.vision.side
        )
        _add_boxes(add, trainee, lesson.volumes.asked, pooled_BMV, places_BM3, data=data)
    return {name: torch.stack(values).mean() for name, values in found.items()}


def _add_boxes(
    add: Callable[[str, Tensor], None],
    trainee: PerceptionTrainee,
    asked: Sequence[Asked],
    features_BMV: Tensor,
    places_BM3: Tensor,
    *,
    data: PerceptionData,
) -> None:
    rows = [number for number, one in enumerate(asked) if one.labels]
    if not rows:
        return
    text_BQC, wanted_BQ6, real_BQ = pack_asked([asked[number] for number in rows], states=data.label_states)
    boxes_BQ6, presence_BQ = trainee.heads.boxes(
        text_BQC, features_BMV=features_BMV[rows], positions_BM3=places_BM3[rows]
    )
    there_BQ = ~wanted_BQ6[..., 0].isnan()
    add("presence", presence_loss(presence_BQ[real_BQ], there_Q=there_BQ[real_BQ]))
    if bool(there_BQ.any()):
        add("boxes", box_loss(boxes_BQ6[there_BQ], wanted_BQ6[there_BQ]))


def progression_scores(
    trainee: PerceptionTrainee, batch: FilmBatch, state_NFV: Tensor, *, data: PerceptionData, time: str
) -> tuple[Tensor, Tensor]:
    """Scores of every film that has one before it, and what became of each finding: (n, F, 6) and (n, F)."""
    longest = max(len(rows) for rows in batch.series)
    count, width = state_NFV.shape[1:]
    tokens = state_NFV.new_zeros(len(batch.series), longest, count, width)
    days = torch.full((len(batch.series), longest), torch.nan)
    padding = torch.ones(len(batch.series), longest, dtype=torch.bool)
    for number, rows in enumerate(batch.series):
        tokens[number, : len(rows)] = state_NFV[list(rows)]
        days[number, : len(rows)] = batch.days[list(rows)]
        padding[number, : len(rows)] = False
    last = [float(batch.days[rows[-1]]) for rows in batch.series]
    events = event_table(batch.labs, states=data.lab_states, last_days=last)
    if time == "attention":
        _, tokens = trainee.temporal(tokens, days_BT=days, padding_BT=padding, events=events)
    scores, wanted = [], []
    for number, rows in enumerate(batch.series):
        for place in range(1, len(rows)):
            scores.append(trainee.heads.progression(tokens[number, place]))
            wanted.append(batch.changes_NF[rows[place]])
    return torch.stack(scores), torch.stack(wanted)


def _alike(trainee: PerceptionTrainee, batch: FilmBatch, features_NPV: Tensor, *, data: PerceptionData) -> Tensor:
    """The last film of each patient against their reports and those of other patients."""
    head = trainee.heads.contrastive
    last = [rows[-1] for rows in batch.series]
    own = list(dict.fromkeys(batch.texts))
    others = [(number * 7919 + batch.texts[0]) % len(data.report_states) for number in range(1, OTHER_REPORTS + 1)]
    keys = own + [key for key in dict.fromkeys(others) if key not in own]
    images = head.images(features_NPV[last])
    texts = head.texts(data.report_states[keys])
    same = torch.tensor([[key == text for key in keys] for text in batch.texts])
    return contrastive_loss(head.logits(images, texts), same_BB=same)


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
