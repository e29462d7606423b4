"""How urgent a study is, and why: from the request, the laboratory and the findings.

Each reason names what it rests on. What is not known is never taken for
harmless: a study without a reason keeps its place in the order of arrival.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from osler.study import ClinicalEvent, Evidence, Finding, Study
from osler.tasks.finding_names import finding_names

Level = Literal["immediate", "urgent", "soon", "routine"]
LEVELS: tuple[Level, ...] = ("immediate", "urgent", "soon", "routine")
"""Most urgent first: within minutes, hours, days, and in the order of arrival."""

SURE = 0.5
"""A finding counts from this probability."""

_PRIORITIES: dict[str, Level] = {"STAT": "immediate", "HIGH": "urgent", "URGENT": "urgent", "MEDIUM": "soon"}
"""Requested Procedure Priority (PS3.3 C.4.11) and the retired Study Priority ID."""
_RECENT_DAYS = 2
_FINDING_LEVELS: tuple[Level, ...] = ("immediate", "urgent", "soon")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a study is urgent.

    Args:
        level: How urgent it is for this reason alone.
        text: A short text, such as ``"potassium 6.9 mmol/L, critical from 6.2"``.
        evidence: What it rests on.
        weight: Orders reasons of the same level, 0 to 1.
    """

    level: Level
    text: str
    evidence: Evidence
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalLimit:
    """From where on a laboratory value is critical, in one unit (UCUM)."""

    name: str
    loinc: tuple[str, ...]
    unit: str
    low: float | None
    high: float | None

    def crossed(self, value: float) -> str:
        """Says which limit a value reaches, or nothing."""
        if self.low is not None and value <= self.low:
            return f"critical up to {self.low:g}"
        if self.high is not None and value >= self.high:
            return f"critical from {self.high:g}"
        return ""


def reasons_of(study: Study, *, findings: Iterable[Finding] = ()) -> tuple[Reason, ...]:
    """Returns why a study is urgent, most urgent first; empty if nothing says so.

    Args:
        study: With the record, if there is one.
        findings: With probabilities; those that cannot be told are passed over.
    """
    reasons = [*_requested(study), *_critical_values(study), *_critical_findings(findings)]
    return tuple(sorted(reasons, key=lambda reason: (LEVELS.index(reason.level), -reason.weight)))


def level_of(reasons: Sequence[Reason]) -> Level:
    """Returns the level of the most urgent reason."""
    return min((reason.level for reason in reasons), key=LEVELS.index, default="routine")


@functools.cache
def critical_limits() -> tuple[CriticalLimit, ...]:
    """Returns the limits of critical laboratory values; the file names their source."""
    content = json.loads((files("osler.tasks") / "critical_limits.json").read_text(encoding="utf-8"))
    return tuple(CriticalLimit(**entry | {"loinc": tuple(entry["loinc"])}) for entry in content["limits"])


@functools.cache
def critical_findings() -> dict[str, Level]:
    """Returns the level of each finding that is urgent, by its name."""
    content = json.loads((files("osler.tasks") / "critical_findings.json").read_text(encoding="utf-8"))
    names = {finding.key: finding.name for finding in finding_names()}
    return {names[key]: level for level in _FINDING_LEVELS for key in content[level]}


def _requested(study: Study) -> Iterator[Reason]:
    """The priority under which the newest imaging was requested."""
    for point in reversed(study.timepoints):
        if level := _PRIORITIES.get(point.priority):
            evidence = Evidence(kind="text", date=point.date, note="Requested Procedure Priority")
            yield Reason(level=level, text=f"requested as {point.priority}", evidence=evidence)
        if point.date is not None:
            return


def _critical_values(study: Study) -> Iterator[Reason]:
    """The latest value of each test, if it is of these days and critical."""
    dates = [point.date for point in study.timepoints if point.date is not None]
    dates = dates or [event.date for event in study.events if event.date is not None]
    today = max(dates, default=None)
    latest: dict[str, ClinicalEvent] = {}
    for event in study.events:
        if event.kind == "observation" and isinstance(event.value, int | float) and _recent(event.date, today=today):
            known = latest.get(event.code)
            if known is None or (event.date or dt.date.min) >= (known.date or dt.date.min):
                latest[event.code] = event
    for event in latest.values():
        for limit in critical_limits():
            if event.code in limit.loinc and event.system in ("LOINC", "") and event.unit == limit.unit:
                assert isinstance(event.value, int | float)
                if crossed := limit.crossed(event.value):
                    yield Reason(
                        level="urgent",
                        text=f"{limit.name} {event.value:g} {event.unit}, {crossed}",
                        evidence=Evidence(
                            kind="event",
                            date=event.date,
                            code=event.code,
                            value=event.value,
                            unit=event.unit,
                            note=event.name,
                            file=event.source.partition("#")[0],
                        ),
                    )


def _recent(date: dt.date | None, *, today: dt.date | None) -> bool:
    """Whether an event is of the days around the newest imaging; without dates nothing is known to be recent."""
    return date is not None and today is not None and abs((today - date).days) <= _RECENT_DAYS


def _critical_findings(findings: Iterable[Finding]) -> Iterator[Reason]:
    levels = critical_findings()
    for finding in findings:
        if finding.probability is not None and finding.probability >= SURE and finding.name in levels:
            yield Reason(
                level=levels[finding.name],
                text=f"{finding.name} {finding.probability:.0%}",
                evidence=Evidence(kind="image", code=finding.code, note=f"probability of {finding.name}"),
                weight=finding.probability,
            )
