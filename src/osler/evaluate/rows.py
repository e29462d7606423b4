"""What is counted: one row a question, a box or a probability, by everyone who answered it.

Legend: N rows, P patients, R resamplings (the first is the data as they are).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from osler.evaluate.metrics import auroc, calibration_error, exp_ratio, ratio

MODEL = "model"
DRAWS = 1000
LEVEL = 0.95

Kind = Literal["ratio", "exp_ratio", "auroc", "calibration_error"]
Pair = tuple[float, float]
"""The two numbers that a metric takes of a row: numerator and denominator, or score and truth."""

_METRICS = {"ratio": ratio, "exp_ratio": exp_ratio, "auroc": auroc, "calibration_error": calibration_error}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was asked, and what came of it.

    Args:
        case: Names the case, such as a file or the number of a question.
        patient: Whose it is: patients are resampled, not rows.
        group: Part of the table it stands in, such as ``"closed"``.
        part: Class or finding, over which a mean of parts is taken.
        values: ``field -> system -> pair``; a system is ``"model"`` or a baseline such as ``"blanked"``.
        asked: The question or label. said: The answer. truth: What is right.
        picture: What is drawn if it is among the worst: ``file``, ``said`` and ``truth`` boxes in pixels.
    """

    case: str
    patient: str
    group: str = "all"
    part: str = ""
    values: Mapping[str, Mapping[str, Pair]]
    asked: str = ""
    said: str = ""
    truth: str = ""
    picture: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Row:
        """Reads what `to_dict` wrote."""
        values = {
            name: {system: (float(pair[0]), float(pair[1])) for system, pair in systems.items()}
            for name, systems in record["values"].items()
        }
        return cls(**{**record, "values": values})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric of a set.

    Args:
        name: In tables, such as ``"accuracy"``.
        field: Which values of the rows it takes.
        kind: The formula, of `osler.evaluate.metrics`.
        over: ``"parts"`` takes the mean of the metric of each part (macro), ``"rows"`` that of all rows (micro).
        better: Which way is good. unit: ``"share"`` is shown in percent, ``"number"`` as it is.
    """

    name: str
    field: str
    kind: Kind = "ratio"
    over: Literal["rows", "parts"] = "rows"
    better: Literal["higher", "lower"] = "higher"
    unit: Literal["share", "number"] = "share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with the interval that resampling patients gives."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measure of one group of rows: every system, and how far the model is from each baseline.

    Args:
        measure: Its name. group: ``"all"`` or a group. part: Empty for all parts together.
        rows: Counted. patients: Resampled.
        systems: By name. gains: The model less each baseline, resampled in pairs.
    """

    measure: str
    group: str
    part: str
    rows: int
    patients: int
    systems: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]


def measured(rows: Sequence[Row], measures: Iterable[Measure], *, draws: int = DRAWS) -> list[Measured]:
    """Computes measures over all rows, over each group, and of each part where parts are averaged.

    Args:
        rows: Of one set.
        measures: Of the set.
        draws: Resamples behind an interval.
    """
    found = []
    for measure in measures:
        mine = [row for row in rows if measure.field in row.values]
        groups = sorted({row.group for row in mine})
        for group in ("all", *(name for name in groups if name != "all" and len(groups) > 1)):
            chosen = mine if group == "all" else [row for row in mine if row.group == group]
            if chosen:
                found.append(_measured(chosen, measure=measure, group=group, part="", draws=draws))
        if measure.over == "parts":
            for part in sorted({row.part for row in mine}):
                chosen = [row for row in mine if row.part == part]
                found.append(_measured(chosen, measure=measure, group="all", part=part, draws=draws))
    return found


def paired_difference(
    first: Sequence[Row], second: Sequence[Row], *, measure: Measure, draws: int = DRAWS
) -> tuple[Estimate, int]:
    """How much better the model of one run is than that of another, on the rows that both answered.

    Args:
        first: Rows of one run. second: Of the other, on the same cases.
        measure: What is compared.
        draws: Resamples; both runs get the same patients in each.

    Returns:
        First less second, and the number of rows in both.
    """
    mine, others = _by_key(first, field=measure.field), _by_key(second, field=measure.field)
    keys = sorted(set(mine) & set(others))
    if not keys:
        return Estimate(value=np.nan, low=np.nan, high=np.nan), 0
    ours, theirs = [mine[key] for key in keys], [others[key] for key in keys]
    weights = resampled(ours, draws=draws)
    values = _of(ours, measure=measure, system=MODEL, weights_RN=weights)
    values = values - _of(theirs, measure=measure, system=MODEL, weights_RN=weights)
    return _estimate(values), len(keys)


def resampled(rows: Sequence[Row], *, draws: int, seed: int = 0) -> np.ndarray:
    """How often each row is in each resample of patients, (draws + 1, N); first the rows as they are."""
    names = sorted({row.patient for row in rows})
    place = {name: i for i, name in enumerate(names)}
    whose_N = np.array([place[row.patient] for row in rows])
    chances = np.full(len(names), 1 / len(names))
    counts_RP = np.random.default_rng(seed).multinomial(len(names), chances, size=draws)
    return np.concatenate((np.ones((1, len(rows))), counts_RP[:, whose_N].astype(float)))


def _measured(rows: Sequence[Row], *, measure: Measure, group: str, part: str, draws: int) -> Measured:
    weights = resampled(rows, draws=draws)
    systems = sorted({system for row in rows for system in row.values[measure.field]}, key=lambda name: name != MODEL)
    values: dict[str, np.ndarray] = {}
    for system in systems:
        holds = np.array([system in row.values[measure.field] for row in rows])
        answered = [row for row, held in zip(rows, holds, strict=True) if held]
        values[system] = _of(answered, measure=measure, system=system, weights_RN=weights[:, holds])
    gains = {
        system: _estimate(values[MODEL] - values[system]) for system in systems if system != MODEL and MODEL in values
    }
    return Measured(
        measure=measure.name,
        group=group,
        part=part,
        rows=len(rows),
        patients=len({row.patient for row in rows}),
        systems={system: _estimate(found) for system, found in values.items()},
        gains=gains,
    )


def _of(rows: Sequence[Row], *, measure: Measure, system: str, weights_RN: np.ndarray) -> np.ndarray:
    """The metric of a system in each resample, (R,)."""
    pairs_N2 = np.array([row.values[measure.field][system] for row in rows], dtype=float)
    metric = _METRICS[measure.kind]
    if measure.over == "rows":
        return metric(pairs_N2[:, 0], pairs_N2[:, 1], weights_RN=weights_RN)
    parts = np.array([row.part for row in rows])
    values = np.array(
        [
            metric(pairs_N2[parts == part, 0], pairs_N2[parts == part, 1], weights_RN=weights_RN[:, parts == part])
            for part in np.unique(parts)
        ]
    )
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(len(total), np.nan), where=known.any(axis=0))


def _estimate(values_R: np.ndarray) -> Estimate:
    drawn = values_R[1:][~np.isnan(values_R[1:])]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(drawn) else (np.nan, np.nan)
    return Estimate(value=float(values_R[0]), low=float(low), high=float(high))


def _by_key(rows: Sequence[Row], *, field: str) -> dict[tuple[str, ...], Row]:
    return {
        (row.patient, row.case, row.group, row.part, row.asked): row
        for row in rows
        if MODEL in row.values.get(field, {})
    }
