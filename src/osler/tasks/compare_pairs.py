"""An earlier study and that of today, and the sentence that says what became of a finding between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from osler.study import Evidence, Progression, Statement, TimePoint
from osler.tasks.measurements import Measurement


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """An earlier time point and that of today, with what was drawn on each (``None``: nothing was given)."""

    prior: TimePoint
    now: TimePoint
    drawn_prior: tuple[Measurement, ...] | None = None
    drawn_now: tuple[Measurement, ...] | None = None

    @property
    def days(self) -> int | None:
        """From the prior to today."""
        if self.prior.date is None or self.now.date is None:
            return None
        return (self.now.date - self.prior.date).days


def progression(pair: Pair, **known: object) -> Progression:
    """Builds an entry with the dates of a pair."""
    days = pair.days
    return Progression(days=days, earlier=pair.prior.date, later=pair.now.date, **known)  # type: ignore[arg-type]


def statement(entry: Progression, evidence: Sequence[Evidence]) -> Statement:
    """One sentence of what became of a finding."""
    parts = [f"{entry.finding}: {entry.change}"]
    if entry.measure:
        was = "absent" if entry.before is None else f"{entry.before:g}"
        now = "absent" if entry.now is None else f"{entry.now:g}"
        parts.append(f"{entry.measure} {was} -> {now} {entry.unit.strip('{}')}".rstrip())
    if entry.days is not None:
        parts.append(f"{entry.days} {'day' if entry.days == 1 else 'days'} apart")
    if entry.earlier is not None and entry.later is not None:
        parts[-1] += f" ({entry.earlier} to {entry.later})"
    return Statement(section="comparison", text=f"{', '.join(parts)}.", evidence=tuple(evidence))
