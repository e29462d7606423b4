"""Figures on held-out patients with intervals that resample them, and their table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

_DRAWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure with its interval."""

    task: str
    data: str
    value: float
    low: float
    high: float
    count: str
    blanked: float | None = None
    constant: float | None = None
    aim: str = ""
    notes: str = ""


@dataclass(kw_only=True)
class Rows:
    """Pairs of a number and its truth, each of one patient."""

    values: list[float] = field(default_factory=list)
    truths: list[float] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def add(self, value: float, truth: float, *, patient: str, group: str = "") -> None:
        self.values.append(float(value))
        self.truths.append(float(truth))
        self.patients.append(patient)
        self.groups.append(group)

    def resamples(self) -> np.ndarray:
        """Weights (1 + draws, N); the first row is all ones."""
        names = {name: i for i, name in enumerate(sorted(set(self.patients)))}
        place = np.array([names[name] for name in self.patients])
        rng = np.random.default_rng(0)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_DRAWS)
        return np.concatenate((np.ones((1, len(place))), drawn[:, place]))

    def interval(self, metric: Callable[..., np.ndarray], *, over: str = "all") -> tuple[float, float, float]:
        """A metric and the ends of its 95% interval, NaN without rows; ``over="groups"``: the mean over groups."""
        if not self.values:
            return float("nan"), float("nan"), float("nan")
        weights = self.resamples()
        values, truths, groups = np.array(self.values), np.array(self.truths), np.array(self.groups)
        if over == "all":
            found = metric(values, truths, weights_RN=weights)
        else:
            each = [metric(values[g], truths[g], weights_RN=weights[:, g]) for g in (groups == n for n in set(groups))]
            found = np.nanmean(np.stack(each), axis=0)
        low, high = np.nanquantile(found[1:], [0.025, 0.975])
        return float(found[0]), float(low), float(high)


def table(figures: Sequence[Figure]) -> str:
    """The figures as Markdown."""
    lines = [
        "| Task | Data | Figure (95% interval) | Blanked picture | Constant | Aim | On |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in figures:
        other = ["" if x is None else f"{x:.3f}" for x in (one.blanked, one.constant)]
        lines.append(
            f"| {one.task} | {one.data} | {one.value:.3f} ({one.low:.3f} to {one.high:.3f}) | {other[0]} | {other[1]} "
            f"| {one.aim} | {one.count} |"
        )
    lines += [""] + [f"{one.task}, {one.data}: {one.notes}." for one in figures if one.notes]
    return "\n".join(lines)
