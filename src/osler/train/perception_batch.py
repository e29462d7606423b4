"""What one update of the perception stage reads: synthetic series, real X-rays, volumes.

Dimensions: N pictures, P patches, V width of the tower, B volumes, S slices, Q
boxes, F findings, E events, C width of a text state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from osler.model.temporal import Events
from osler.train.labeled_xrays import CHANGE_NUMBER, LabeledXray, XraySeries
from osler.train.losses import UNKNOWN
from osler.train.perception_bank import FeatureBank, View

MOST_EVENTS = 40
"""Latest events of a record that are read."""

_ABSENT_LABELS = 2
_FILM_LABELS = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """Boxes that are asked for in one picture or volume.

    Args:
        labels: Texts. boxes_Q6: x0, y0, z0, x1, y1, z1 in 0 to 1, NaN in z of a picture; all NaN if it is not there.
    """

    labels: tuple[str, ...]
    boxes_Q6: Tensor


def pack_asked(asked: Sequence[Asked], *, states: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Packs what is asked for, padded to the most labels.

    Args:
        asked: One entry a picture or volume. states: Text state of each label.

    Returns:
        States (B, Q, C), boxes (B, Q, 6) with NaN where nothing is there, and whether a label was asked for (B, Q).
    """
    most = max(len(one.labels) for one in asked)
    text_BQC = torch.zeros(len(asked), most, len(next(iter(states.values()))))
    wanted_BQ6 = torch.full((len(asked), most, 6), torch.nan)
    real_BQ = torch.zeros(len(asked), most, dtype=torch.bool)
    for row, one in enumerate(asked):
        for column, label in enumerate(one.labels):
            text_BQC[row, column] = states[label]
            wanted_BQ6[row, column] = one.boxes_Q6[column]
            real_BQ[row, column] = True
    return text_BQC, wanted_BQ6, real_BQ


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilmBatch:
    """X-rays, flat over patients and dates.

    Args:
        features: (N, P, V), of the frozen layers.
        asked: One entry a picture.
        findings_NF: 0 to 1, NaN where not known.
        series: Rows of each patient's films in order of time.
        days: Day of each film. changes_NF: Number of the change, or `UNKNOWN`.
        labs: Of each patient of ``series``.
        texts: Key of the report of each patient's last film, or -1.
        names: Data set and patient of each film.
    """

    features: Tensor
    asked: tuple[Asked, ...]
    findings_NF: Tensor
    series: tuple[tuple[int, ...], ...] = ()
    days: Tensor = field(default_factory=lambda: torch.zeros(0))
    changes_NF: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    labs: tuple[tuple[tuple[str, float, int], ...], ...] = ()
    texts: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


def film_batch(
    films: Sequence[LabeledXray],
    *,
    views: Sequence[View],
    bank: FeatureBank,
    findings: Sequence[str],
    rng: np.random.Generator | None,
    series: Sequence[Sequence[int]] = (),
    labs: Sequence[tuple[tuple[str, float, int], ...]] = (),
    texts: Sequence[int] = (),
    mine: Sequence[int] | None = None,
) -> FilmBatch:
    """Gathers X-rays for a step.

    Args:
        views: The view of each film that is shown. bank: Holds their features.
        findings: Keys in the order of the head's queries.
        rng: Picks labels; ``None``: all labels of all boxes are asked for.
        series: See `FilmBatch`. labs: See there. texts: See there.
        mine: Numbers of the films that this process gathers, ``None`` for all. Labels are drawn for all, so that
            what is asked about a film does not depend on which process learns from it.
    """
    asked = [_ask(view.boxes, film=film, rng=rng) for view, film in zip(views, films, strict=True)]
    if mine is not None:
        films, views, asked = ([one[number] for number in mine] for one in (films, views, asked))
    changes = torch.tensor(
        [[CHANGE_NUMBER[film.changes[key]] if key in film.changes else UNKNOWN for key in findings] for film in films],
        dtype=torch.int64,
    )
    return FilmBatch(
        features=bank.features([view.row for view in views]),
        asked=tuple(asked),
        findings_NF=known_findings(films, findings=findings),
        series=tuple(tuple(rows) for rows in series),
        days=torch.tensor([film.day for film in films]),
        changes_NF=changes,
        labs=tuple(labs),
        texts=tuple(texts),
        names=tuple(f"{film.source} patient {film.patient}" for film in films),
    )


def known_findings(films: Sequence[LabeledXray], *, findings: Sequence[str]) -> Tensor:
    """Labels of films, (N, F): 0 to 1, NaN where nobody labeled it."""
    known = [[film.findings.get(key, float("nan")) for key in findings] for film in films]
    return torch.tensor(known).reshape(len(films), len(findings))


def _ask(
    boxes: Mapping[str, tuple[float, ...]] | None,
    *,
    film: LabeledXray,
    rng: np.random.Generator | None,
) -> Asked:
    """Picks labels: those that are there, and some that are known not to be."""
    if boxes is None:
        return Asked(labels=(), boxes_Q6=torch.zeros(0, 6))
    there = list(boxes)
    absent = [key for key, value in film.findings.items() if value == 0.0 and key not in boxes]
    if rng is not None:
        body = [label for label in there if label in ("right lung", "left lung", "heart")]
        others = [label for label in there if label not in body]
        there = body + [str(label) for label in rng.permutation(others)[: _FILM_LABELS - len(body)]]
        absent = [str(key) for key in rng.permutation(absent)[:_ABSENT_LABELS]]
    nothing = [float("nan")] * 6
    rows = [(b[0], b[1], float("nan"), b[2], b[3], float("nan")) for b in (boxes[label] for label in there)]
    labels = (*there, *absent)
    return Asked(labels=labels, boxes_Q6=torch.tensor([*rows, *[nothing] * len(absent)]).reshape(-1, 6))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VolumeBatch:
    """Volumes of one number of slices.

    Args:
        features: (B * S, P, V), of the frozen layers. depth_BS: Center of each slice, 0 to 1.
        asked: One entry a volume. names: Of the volumes.
    """

    features: Tensor
    depth_BS: Tensor
    asked: tuple[Asked, ...]
    names: tuple[str, ...]


def volume_batch(views: Sequence[View], *, bank: FeatureBank, names: Sequence[str]) -> VolumeBatch:
    """Gathers views of volumes."""
    asked = []
    for view in views:
        labels = tuple(view.boxes or ())
        asked.append(
            Asked(labels=labels, boxes_Q6=torch.tensor([(view.boxes or {})[x] for x in labels]).reshape(-1, 6))
        )
    return VolumeBatch(
        features=bank.features([view.row + number for view in views for number in range(len(view.depth))]),
        depth_BS=torch.tensor([view.depth for view in views]),
        asked=tuple(asked),
        names=tuple(names),
    )


def event_table(
    labs: Sequence[tuple[tuple[str, float, int], ...]], *, states: Mapping[str, Tensor], last_days: Sequence[float]
) -> Events | None:
    """Puts the latest values up to each patient's last film into one table.

    Args:
        labs: Of each patient. states: Text state of each name with unit.
        last_days: Of each patient's last film.
    """
    rows = []
    for values, last in zip(labs, last_days, strict=True):
        known = sorted((row for row in values if row[2] <= last), key=lambda row: row[2])
        rows.append(known[-MOST_EVENTS:])
    longest = max((len(row) for row in rows), default=0)
    if not longest:
        return None
    width = len(next(iter(states.values())))
    text = torch.zeros(len(rows), longest, width)
    value = torch.full((len(rows), longest), torch.nan)
    day, padding = torch.zeros(len(rows), longest), torch.ones(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        for place, (name, size, when) in enumerate(row):
            text[number, place], value[number, place] = states[name], size
            day[number, place], padding[number, place] = float(when), False
    return Events(text_BEC=text, value_BE=value, day_BE=day, padding_BE=padding)


def any_view(views: Sequence[View], *, rng: np.random.Generator) -> View:
    """Draws one view."""
    return views[int(rng.integers(len(views)))]


def pick(items: Sequence[XraySeries], *, count: int, rng: np.random.Generator) -> list[int]:
    """Draws series: one with a change in six of ten draws at least, as the rest are drawn from all."""
    changed = [i for i, item in enumerate(items) if _changes(item)]
    chosen = []
    for _ in range(count):
        pool = changed if changed and rng.random() < 0.6 else range(len(items))
        chosen.append(int(pool[int(rng.integers(len(pool)))]))
    return chosen


def _changes(item: XraySeries) -> bool:
    usual = {"absent", "stable"}
    return any(set(film.changes.values()) - usual for film in item.films)
