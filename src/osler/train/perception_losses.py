"""The losses of the heads in an update, which may be spread over several processes.

Each is a sum over pictures, labels or findings, divided by how many of them all processes have. So the parts that
processes compute add up to what one process computes of all. Two things need more than a process's own pictures:
states normalized over pictures (`SharedPictureNorm`), and the reports of all patients of the update, whose states are
kept and not learned, so that no process has to send them.

Dimensions: N pictures, P patches, V width, B volumes, M features of a volume, Q boxes, F findings, T time points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from osler.model.heads import PictureNorm, patch_positions, volume_features
from osler.train.distributed import ALONE, Place
from osler.train.heads_recipe import HeadsRecipe
from osler.train.losses import (
    UNKNOWN,
    HeadWeights,
    box_loss,
    contrastive_loss,
    findings_loss,
    presence_loss,
    progression_loss,
)
from osler.train.perception_batch import Asked, FilmBatch, event_table, pack_asked
from osler.train.perception_data import PerceptionData
from osler.train.perception_lesson import Lesson

if TYPE_CHECKING:
    from osler.train.perception_stage import PerceptionTrainee

CHANGE_WEIGHTS = (0.15, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Of `osler.model.heads.CHANGES`: most findings are absent at both dates. The others keep their frequencies, so that
the likeliest change is the best guess."""

_AT_ONCE = 8
"""Pictures whose activations in a layer of the trunk stay in the caches: 80 together take 1.7 times the time."""

OTHER_REPORTS = 60
"""Of other patients, from which the last film of each patient is told apart in an update: their states are kept."""

_SHOWN = ("films", "xrays", "volumes")


class SharedPictureNorm(PictureNorm):
    """A `PictureNorm` over the pictures of all processes, with the same buffers.

    Args:
        norm: Whose buffers. place: Which process this is.
    """

    def __init__(self, norm: PictureNorm, *, place: Place) -> None:
        super().__init__(*norm.mean.shape)
        self.mean, self.variance, self._place = norm.mean, norm.variance, place

    def moments(self, x_BFV: Tensor) -> tuple[int, Tensor, Tensor]:
        """Returns the number of pictures of all processes, and mean and variance of their states, (F, V)."""
        count = int(self._place.total(len(x_BFV)))
        mean_FV = self._place.sum(x_BFV.sum(0)) / count
        return count, mean_FV, self._place.sum((x_BFV - mean_FV).square().sum(0)) / count


def share_states(trainee: PerceptionTrainee, *, place: Place) -> None:
    """Lets states that are normalized over pictures see those of all processes."""
    norm = trainee.heads.findings.norm
    if place.mesh is not None and isinstance(norm, PictureNorm):
        trainee.heads.findings.norm = SharedPictureNorm(norm, place=place)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """What one process has of each loss, by its name and what is shown: a sum, and by how many it is divided."""

    weights: HeadWeights
    parts: dict[tuple[str, str], tuple[Tensor, float]] = field(default_factory=dict)

    def add(self, name: str, shown: str, *, mean: Tensor, count: float) -> None:
        """Notes the mean over ``count`` of something; nothing of a loss that does not count."""
        if getattr(self.weights, name):
            self.parts[name, shown] = (mean.float() * count, count)

    def losses(self, zero: Tensor, *, place: Place) -> dict[str, Tensor]:
        """This process's parts of the losses that any process has; ``zero`` of those that others alone have."""
        keys = [(one.name, shown) for one in fields(HeadWeights) for shown in _SHOWN]
        own = [self.parts.get(key, (zero, 0.0)) for key in keys]
        counts = place.totals([count for _, count in own])
        found: dict[str, list[Tensor]] = {}
        for key, (value, _), count in zip(keys, own, counts, strict=True):
            # Findings and changes of which nobody knows one are a loss of zero, in all processes alike.
            if count or key in self.parts:
                found.setdefault(key[0], []).append(value / (count or 1.0))
        return {name: torch.stack(values).mean() for name, values in found.items()}


def lesson_losses(
    trainee: PerceptionTrainee, lesson: Lesson, *, data: PerceptionData, recipe: HeadsRecipe, place: Place = ALONE
) -> dict[str, Tensor]:
    """Computes the losses of an update that count; the heads read all pictures together, the trunk a few at a time.

    Returns:
        By name. Of several processes this one's parts, which with those of the others add up to the losses; the names
        are the same in all.
    """
    pictures = [lesson.films, *([lesson.xrays] if lesson.xrays is not None else [])]
    flat = [batch.features for batch in pictures] + ([lesson.volumes.features] if lesson.volumes is not None else [])
    kept = torch.cat(flat).to(torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32)
    together = torch.cat([trainee.heads.trunk(some) for some in kept.split(_AT_ONCE)])
    features = together.split([len(rows) for rows in flat])
    weights = recipe.weights
    found = _Found(weights=weights)
    assert trainee.config.vision is not None
    places_P3 = patch_positions(trainee.config.vision.side)
    # Synthetic and real films together: states may be normalized over the pictures of a batch.
    counts = [len(batch.features) for batch in pictures]
    states, logits = (rows.split(counts) for rows in trainee.heads.findings(torch.cat(features[: len(pictures)])))
    for number, (batch, features_NPV) in enumerate(zip(pictures, features, strict=False)):
        state_NFV, logits_NF = states[number], logits[number]
        shown, synthetic = _SHOWN[number], number == 0
        if not synthetic or recipe.synthetic == "use":
            if weights.findings:
                share = recipe.synthetic_findings if synthetic else 1.0
                loss = share * findings_loss(logits_NF, wanted_BF=batch.findings_NF)
                found.add("findings", shown, mean=loss, count=int((~batch.findings_NF.isnan()).sum()))
            if weights.boxes or weights.presence:
                places_NP3 = places_P3.expand(len(features_NPV), -1, -1)
                _add_boxes(found, shown, trainee, batch.asked, features_NPV, places_NP3, data=data)
        if synthetic and weights.progression:
            scores, wanted = progression_scores(trainee, batch, state_NFV, data=data, time=recipe.time)
            classes_C = torch.tensor(CHANGE_WEIGHTS)
            loss = progression_loss(scores, wanted_BF=wanted, class_weights_C=classes_C)
            weighed = float(classes_C[wanted[wanted != UNKNOWN]].sum())
            found.add("progression", shown, mean=loss, count=weighed)
        if synthetic and weights.contrastive:
            loss = _alike(trainee, batch, features_NPV, data=data, texts=lesson.texts)
            found.add("contrastive", shown, mean=loss, count=len(batch.texts))
    if lesson.volumes is not None and (weights.boxes or weights.presence):
        pooled_BMV, places_BM3 = volume_features(
            features[-1], depth_BS=lesson.volumes.depth_BS, side=trainee.config.vision.side
        )
        _add_boxes(found, "volumes", trainee, lesson.volumes.asked, pooled_BMV, places_BM3, data=data)
    return found.losses(together.float().sum() * 0, place=place)


def _add_boxes(
    found: _Found,
    shown: str,
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
    presence = presence_loss(presence_BQ[real_BQ], there_Q=there_BQ[real_BQ])
    found.add("presence", shown, mean=presence, count=int(real_BQ.sum()))
    if bool(there_BQ.any()):
        boxes = box_loss(boxes_BQ6[there_BQ], wanted_BQ6[there_BQ])
        found.add("boxes", shown, mean=boxes, count=int(there_BQ.sum()))


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


def _alike(
    trainee: PerceptionTrainee, batch: FilmBatch, features_NPV: Tensor, *, data: PerceptionData, texts: Sequence[int]
) -> Tensor:
    """The last film of each patient against the reports of the update, ``texts``, and those of other patients."""
    head = trainee.heads.contrastive
    last = [rows[-1] for rows in batch.series]
    own = list(dict.fromkeys(texts))
    others = [(number * 7919 + texts[0]) % len(data.report_states) for number in range(1, OTHER_REPORTS + 1)]
    keys = own + [key for key in dict.fromkeys(others) if key not in own]
    logits = head.logits(head.images(features_NPV[last]), head.texts(data.report_states[keys]))
    return contrastive_loss(logits, same_BB=torch.tensor([[key == text for key in keys] for text in batch.texts]))
