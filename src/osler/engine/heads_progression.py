"""The progression head at work: what became of each finding, from the films of all dates and the record.

Legend: T time points, F findings, V width of the tower, E events.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch

from osler.engine.head_features import HeadFeatures, film_of_each_date, text_states
from osler.engine.head_results import HeadChange, Known
from osler.engine.heads_findings import query_places
from osler.model.heads import CHANGES
from osler.model.temporal import Events

if TYPE_CHECKING:
    from osler.engine.backend import AnyHeads, AnyTemporal
    from osler.engine.session import Session
    from osler.study import Change, ClinicalEvent, ReferenceRange, Study

MOST_EVENTS = 40
"""Latest laboratory values of a record that are read."""

_SURE = 0.5


class ChangeReader:
    """Says what became of a finding between the dates of a study (skill ``"progression"``).

    Args:
        heads: Trained on X-rays.
        temporal: Of the same network; without it, the head reads each date by itself.
        features: Of its network.
    """

    def __init__(self, heads: AnyHeads, *, temporal: AnyTemporal | None, features: HeadFeatures) -> None:
        self._heads = heads
        self._temporal = temporal
        self._features = features
        self._places = query_places(heads)

    @property
    def findings(self) -> frozenset[str]:
        """Names that it was trained on."""
        return frozenset(self._places)

    @torch.inference_mode()
    def changes(
        self, session: Session, study: Study, *, findings: Sequence[str], known: Known = "nothing"
    ) -> list[HeadChange]:
        """Compares the last time point with those before it; the record's values up to its day are read too.

        Args:
            session: With these weights.
            study: Time points in order; those without a frontal X-ray are passed over.
            findings: Names of `findings`.
            known: ``"there"``: each finding is known to be there at one date at least, so that only what became
                of it is chosen; ``"nothing"``: it may be absent at both.

        Returns:
            One entry a finding, ``"cannot tell"`` where no change is likelier than all others together or where
            the last time point or every earlier one has no X-ray. A finding that is likeliest absent at both
            dates has none, unless it is known to be there.
        """
        prepared = session.prepare(study)
        chosen = film_of_each_date(study, prepared)
        if len(chosen) < 2 or chosen[-1][0] != len(study.timepoints) - 1:
            return [HeadChange(finding=name, change="cannot tell", probability=0.0) for name in findings]
        features_TPV = self._features.of(prepared.pixels, numbers=[number for _, number in chosen])
        state_TFV, _ = self._heads.findings(features_TPV)
        after_1TFV = state_TFV[None]
        if self._temporal is not None:
            dates = [study.timepoints[timepoint].date for timepoint, _ in chosen]
            # Only differences of days count; near zero float32 holds them exactly.
            zero = next((date for date in reversed(dates) if date is not None), dt.date.min)
            days_1T = torch.tensor([[day_of(date, zero=zero) for date in dates]], device=state_TFV.device)
            events = event_table(session, study.events, zero=zero, last=dates[-1])
            _, after_1TFV = self._temporal(after_1TFV, days_BT=days_1T, events=events)
        scores_FC = self._heads.progression(after_1TFV[0, -1])
        if known == "there":
            scores_FC[:, CHANGES.index("absent")] = -torch.inf
        shares_FC = scores_FC.softmax(-1).tolist()
        told = ((name, shares_FC[self._places[name]]) for name in findings)
        return [change for name, shares in told if (change := _change(name, shares)) is not None]


def event_table(
    session: Session, events: Sequence[ClinicalEvent], *, zero: dt.date, last: dt.date | None
) -> Events | None:
    """Puts the latest dated laboratory values up to a day into one table.

    Args:
        events: Of the record.
        zero: Day 0. last: Day up to which they are read; ``None``: its gap to any event is not known, so none is.

    Returns:
        Events (1, E), or ``None`` where there are none.
    """
    if last is None:
        return None
    kept = [
        event
        for event in events
        if event.kind == "observation"
        and event.date is not None
        and event.date <= last
        and isinstance(event.value, int | float)
    ]
    kept = sorted(kept, key=lambda event: event.date or zero)[-MOST_EVENTS:]
    if not kept:
        return None
    text_1EC = text_states(session, [event_text(event.name, unit=event.unit) for event in kept])[None]
    device = text_1EC.device
    values = [relative_value(float(cast(float, event.value)), reference=event.reference) for event in kept]
    return Events(
        text_BEC=text_1EC,
        value_BE=torch.tensor([values], device=device),
        day_BE=torch.tensor([[day_of(event.date, zero=zero) for event in kept]], device=device),
        padding_BE=torch.zeros(1, len(kept), dtype=torch.bool, device=device),
    )


def relative_value(value: float, *, reference: ReferenceRange | None) -> float:
    """Scales a value: 0 at the middle and 1 at the upper end of its reference range; NaN for one that is open above."""
    if reference is None or reference.high is None:
        return math.nan
    low = reference.low or 0.0
    return (value - (low + reference.high) / 2) / max((reference.high - low) / 2, 1e-6)


def event_text(name: str, *, unit: str) -> str:
    """What an event is, as the attention over time reads it: records differ in capitals."""
    return f"{name.lower()} {unit}".strip()


def day_of(date: dt.date | None, *, zero: dt.date) -> float:
    """Days since day 0; NaN where there is no date."""
    return math.nan if date is None else float((date - zero).days)


def _change(name: str, shares: Sequence[float]) -> HeadChange | None:
    """The likeliest change, ``None`` for a finding that was and is absent."""
    best = max(range(len(shares)), key=lambda place: shares[place])
    if CHANGES[best] == "absent":
        return None
    change = cast("Change", CHANGES[best]) if shares[best] >= _SURE else "cannot tell"
    return HeadChange(finding=name, change=change, probability=shares[best])
