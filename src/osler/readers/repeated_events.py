"""The same measurement in several files (a record, a laboratory report, a letter) counts once."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence

from osler.study import ClinicalEvent, LeftOut

_Key = tuple[str, dt.date, str, str]


def without_repeats(sources: Iterable[Sequence[ClinicalEvent]]) -> tuple[list[ClinicalEvent], list[LeftOut]]:
    """Joins the events of several sources, and drops measured values that an earlier source gave already.

    Two values are the same if code (or name), day, number and unit are. What one source gives
    twice was measured twice.

    Args:
        sources: Events of each source, the most trusted first.

    Returns:
        The events in order, and what was left out, counted.

    Example:
        >>> glucose = ClinicalEvent(kind="observation", name="Glucose", date=dt.date(2024, 1, 2), value=99.0)
        >>> kept, left_out = without_repeats([[glucose], [glucose]])
        >>> len(kept), left_out[0].count
        (1, 1)
    """
    kept: list[ClinicalEvent] = []
    known: Counter[_Key] = Counter()
    repeated = 0
    for events in sources:
        here: Counter[_Key] = Counter()
        for event in events:
            key = _key(event)
            if key is not None:
                here[key] += 1
                if here[key] <= known[key]:
                    repeated += 1
                    continue
            kept.append(event)
        known |= here
    why = "the same value of the same day stands in another of the files; it counts once"
    return kept, [LeftOut(what="measured values", why=why, count=repeated)] if repeated else []


def _key(event: ClinicalEvent) -> _Key | None:
    if event.kind != "observation" or event.date is None or not isinstance(event.value, int | float):
        return None
    return event.code or event.name.casefold(), event.date, event.unit, f"{event.value:.6g}"
