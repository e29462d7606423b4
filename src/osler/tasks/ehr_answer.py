"""Exact answers from the entries of a record: values, dates, counts, courses, lists. No model is involved."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from osler.prepare.record_text import range_text, unit_text, value_text
from osler.readers.ucum import convert_event
from osler.study import ClinicalEvent, Step
from osler.tasks.ehr_question import Query
from osler.tasks.ehr_search import about, codes_of, in_time

NOT_SAID = "The record does not say"
_MOST_LINES = 30
_FLAGS = {"H": "high", "HH": "very high", "L": "low", "LL": "very low", "A": "abnormal", "AA": "very abnormal"}
_OVER = ("resolved", "inactive", "remission", "stopped", "completed", "cancelled", "on-hold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """An answer found in the entries.

    Args:
        text: In words.
        events: The entries that it rests on; empty where the record does not say.
        steps: How they were found.
        warnings: What to mind.
    """

    text: str
    events: tuple[ClinicalEvent, ...] = ()
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()


def answer_query(events: Sequence[ClinicalEvent], query: Query) -> Fact:
    """Answers a query that is not open.

    Args:
        events: The record, oldest first.
        query: From `plan_question`.
    """
    found = about(in_time(events, query), query)
    step = Step(tool="search_events", arguments=_arguments(query), result=_entries(len(found)))
    found, warnings = _in_unit(found, query)
    if query.abnormal:
        found = [event for event in found if event.abnormal]
        step = replace(step, result=f"{step.result}, {len(found)} abnormal")
    if not found:
        return Fact(text=_not_said(query, events), steps=(step,), warnings=warnings)
    if query.above is not None or query.below is not None:
        fact = _threshold(found, query)
    else:
        fact = _ANSWERS[query.intent](found, query)
    return replace(fact, steps=(step, *fact.steps), warnings=(*warnings, *fact.warnings))


def groups_of(events: Sequence[ClinicalEvent]) -> list[list[ClinicalEvent]]:
    """Entries of the same thing together, in the order in which they first come."""
    groups: dict[tuple[str, str], list[ClinicalEvent]] = {}
    for event in events:
        groups.setdefault((event.kind, event.code or event.name.lower()), []).append(event)
    return list(groups.values())


def _arguments(query: Query) -> dict[str, str]:
    codes = sorted(codes_of(query))
    given = {
        "kind": ", ".join(query.kinds),
        "topic": query.topic,
        "loinc": ", ".join(codes),
        "since": query.since.isoformat() if query.since else "",
        "until": query.until.isoformat() if query.until else "",
        "days_before_newest": "" if query.span is None else str(query.span),
    }
    return {name: value for name, value in given.items() if value}


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _not_said(query: Query, events: Sequence[ClinicalEvent]) -> str:
    what = f"{query.kinds[0]} " if len(query.kinds) == 1 else ""
    abnormal = "abnormal " if query.abnormal else ""
    topic = f" about {query.topic!r}" if query.topic else ""
    time = ""
    if query.since or query.until or query.span is not None:
        time = " in the time asked for" if query.since != query.until else f" on {query.since}"
    return f"{NOT_SAID}: no {abnormal}{what}entry{topic}{time} among its {_entries(len(events))}."


def _in_unit(found: list[ClinicalEvent], query: Query) -> tuple[list[ClinicalEvent], tuple[str, ...]]:
    """Entries in the unit asked for; those that cannot be converted stay as they are, and that is said."""
    if not query.unit:
        return found, ()
    moved = [convert_event(event, to=query.unit) for event in found]
    lost = sum(one is None for one in moved)
    if query.above is not None or query.below is not None:
        kept = [one for one in moved if one is not None]
    else:
        kept = [one or event for one, event in zip(moved, found, strict=True)]
    said = (f"{_entries(lost)} cannot be converted to {query.unit}: the unit is as recorded.",) if lost else ()
    return kept, said


def _value(found: list[ClinicalEvent], query: Query) -> Fact:
    lines, used = [], []
    for group in groups_of(found):
        event = _picked(group, query)
        if event is None:
            continue
        alike = [one for one in group if one.date == event.date and one.value != event.value]
        more = f" ({len(alike) + 1} values that day; this is the {query.pick} of them)" if alike else ""
        lines.append(f"{_described(event)}{more}.")
        used.append(event)
    if not used:
        return Fact(text=f"{NOT_SAID}: none of the {_entries(len(found))} has a number.")
    step = Step(tool=query.pick, arguments={}, result="; ".join(_brief(event) for event in used[:5]))
    return Fact(text="\n".join(lines[:_MOST_LINES]), events=tuple(used[:_MOST_LINES]), steps=(step,))


def _picked(group: list[ClinicalEvent], query: Query) -> ClinicalEvent | None:
    if query.pick in ("highest", "lowest"):
        numbers = _same_unit([event for event in group if isinstance(event.value, float | int)])
        if not numbers:
            return None
        choose: Callable[..., ClinicalEvent] = max if query.pick == "highest" else min
        return choose(numbers, key=lambda event: event.value)
    dated = [event for event in group if event.date is not None] or group
    return dated[0] if query.pick == "first" else dated[-1]


def _described(event: ClinicalEvent) -> str:
    """An entry in words: name, value, range, date, state."""
    value = f": {value_text(event)}" if event.value is not None else ""
    notes = [f"normal {range_text(event)}" if event.reference else "", _FLAGS.get(event.flag, "")]
    if event.abnormal and not event.flag:
        notes[1] = "out of range"
    shown = ", ".join(note for note in notes if note)
    bracket = f" ({shown})" if shown else ""
    return f"{event.name}{value}{bracket}, {_period(event)}"


def _period(event: ClinicalEvent) -> str:
    """Since when, until when and in which state."""
    when = event.when or "undated"
    ended = event.end is not None and event.end != event.date
    text = f"{when} to {event.end.isoformat()}" if ended and event.end else when
    return f"{text}, {event.status}" if event.status else text


def _brief(event: ClinicalEvent) -> str:
    return " ".join(part for part in (event.when, value_text(event)) if part) or event.name


def _date(found: list[ClinicalEvent], query: Query) -> Fact:
    lines, used = [], []
    for group in groups_of(found):
        dated = [event for event in group if event.date is not None]
        if not dated:
            lines.append(f"{group[0].name}: recorded without a date.")
            used.append(group[0])
            continue
        chosen = {"first": dated[:1], "last": dated[-1:]}.get(query.pick)
        if query.pick in ("highest", "lowest"):
            one = _picked(dated, query)
            chosen = [one] if one is not None else []
        days = chosen if chosen is not None else dated
        times = f" ({len(dated)} times)" if len(dated) > 1 and chosen is None else ""
        lines.append(f"{group[0].name}: {', '.join(_when_and_value(event, query) for event in days)}{times}.")
        used += days
    step = Step(tool=query.pick, arguments={}, result="; ".join(event.when or "no date" for event in used[:5]))
    if not used:
        return Fact(text=f"{NOT_SAID}: none of the {_entries(len(found))} has a number.", steps=(step,))
    return Fact(text="\n".join(lines[:_MOST_LINES]), events=tuple(used), steps=(step,))


def _when_and_value(event: ClinicalEvent, query: Query) -> str:
    text = event.when
    if event.end is not None and event.end != event.date:
        text += f" to {event.end.isoformat()}"
    return f"{text} ({value_text(event)})" if query.pick in ("highest", "lowest") else text


def _count(found: list[ClinicalEvent], query: Query) -> Fact:
    if query.now and query.kinds and not query.topic and set(query.kinds) <= {"condition", "medication", "allergy"}:
        found = [event for event in found if not _over(event)]
    groups = groups_of(found)
    dates = [event.when for event in found if event.date is not None]
    span = "" if not dates else f" ({dates[0]})" if len(dates) == 1 else f" ({dates[0]} to {dates[-1]})"
    noun = groups[0][0].name if len(groups) == 1 else query.topic or ", ".join(query.kinds)
    text = f"{len(found)} {'entry' if len(found) == 1 else 'entries'} of {noun}{span}."
    if 1 < len(groups) <= 12:
        text += "".join(f"\n{group[0].name}: {len(group)}" for group in groups)
    step = Step(tool="count", arguments={}, result=str(len(found)))
    return Fact(text=text, events=tuple(found), steps=(step,))


def _same_unit(events: list[ClinicalEvent]) -> list[ClinicalEvent]:
    """Numbers in the unit of the newest; what cannot be converted is left out."""
    if not events:
        return []
    unit = events[-1].unit
    return [one for event in events if (one := event if event.unit == unit else convert_event(event, to=unit))]


def _trend(found: list[ClinicalEvent], query: Query) -> Fact:
    lines, used, warnings, steps = [], [], [], []
    for group in groups_of(found):
        numbers = [event for event in group if isinstance(event.value, float | int) and event.date is not None]
        same = _same_unit(numbers)
        if len(same) < len(numbers):
            warnings.append(f"{_entries(len(numbers) - len(same))} in a unit that cannot be converted: left out.")
        if len(same) < 2:
            only = f": one value alone, {_described(same[0])}" if same else ""
            lines.append(f"{group[0].name}: no course can be told{only or ' without dated numbers'}.")
            used += same
            continue
        lines.append(_course(same))
        steps.append(Step(tool="trend", arguments={"code": group[0].code}, result=f"{len(same)} values"))
        used += same
    return Fact(text="\n".join(lines), events=tuple(used), steps=tuple(steps), warnings=tuple(warnings))


def _course(events: list[ClinicalEvent]) -> str:
    """From the first to the last value, with the change and the extremes."""
    first, last = events[0], events[-1]
    values = [float(event.value or 0) for event in events]
    change = values[-1] - values[0]
    word = "unchanged" if change == 0 else "up" if change > 0 else "down"
    share = f", {change / abs(values[0]):+.0%}" if values[0] else ""
    days = ((last.date or dt.date.min) - (first.date or dt.date.min)).days
    unit = unit_text(last.unit)
    low, high = min(values), max(values)
    return (
        f"{last.name}: {word}, from {value_text(first)} ({first.when}) to {value_text(last)} ({last.when}): "
        f"{f'{change:+.6g} {unit}'.strip()}{share} in {days} days; "
        f"{len(events)} values between {low:.6g} and {high:.6g}."
    )


def _exists(found: list[ClinicalEvent], query: Query) -> Fact:
    if all(event.kind == "observation" for event in found) and "observation" not in query.kinds and not query.abnormal:
        return _value(found, query)  # a measurement is no yes and no "no"
    open_ = [event for event in found if not _over(event)]
    latest = [group[-1] for group in groups_of(found)]
    chosen = [group[-1] for group in groups_of(open_)] or latest
    word = "Yes" if not query.now or open_ else "Not any more, as the record says"
    unknown = query.now and open_ and not any(_lasting(event) for event in open_)
    if unknown:
        word = "Recorded"
    text = f"{word}: {'; '.join(_described(event) for event in chosen[:_MOST_LINES])}."
    step = Step(tool="status", arguments={}, result=f"{len(open_)} of {len(found)} not ended")
    return Fact(text=text, events=tuple(chosen), steps=(step,))


def _over(event: ClinicalEvent) -> bool:
    return event.end is not None or any(word in event.status for word in _OVER)


def _lasting(event: ClinicalEvent) -> bool:
    """Whether the record says that an entry lasts; a procedure or a vaccination happened, which is as good."""
    return event.kind not in ("condition", "medication") or "active" in event.status or event.status == ""


def _list(found: list[ClinicalEvent], query: Query) -> Fact:
    if query.now and not query.abnormal and set(query.kinds) <= {"condition", "medication", "allergy"}:
        lasting = [event for event in found if not _over(event)]
        if not lasting:
            return Fact(text=f"{NOT_SAID} that any lasts: all {_entries(len(found))} have ended.", events=tuple(found))
        found = lasting
    groups = groups_of(found)
    lines = []
    for group in groups[:_MOST_LINES]:
        times = f" ({len(group)} entries)" if len(group) > 1 else ""
        lines.append(f"{_described(group[-1])}{times}")
    if len(groups) > _MOST_LINES:
        lines.append(f"and {len(groups) - _MOST_LINES} more.")
    step = Step(tool="list", arguments={}, result=f"{len(groups)} different")
    return Fact(text="\n".join(lines), events=tuple(found), steps=(step,))


def _threshold(found: list[ClinicalEvent], query: Query) -> Fact:
    # A bound without a unit is meant in that of the newest value.
    groups = groups_of([event for event in found if isinstance(event.value, float | int)])
    numbers = [event for group in groups for event in _same_unit(group)]
    if not numbers:
        return Fact(text=f"{NOT_SAID}: none of the {_entries(len(found))} has a number.")
    units = {unit_text(event.unit) for event in numbers}
    unit = f" {min(units)}".rstrip() if len(units) == 1 else ""
    passing = [
        event
        for event in numbers
        if (query.above is None or event.value > query.above) and (query.below is None or event.value < query.below)  # type: ignore[operator]
    ]
    bounds = [f"above {query.above:g}{unit}"] if query.above is not None else []
    bounds += [f"below {query.below:g}{unit}"] if query.below is not None else []
    what = " and ".join(bounds)
    step = Step(tool="threshold", arguments={"bound": what}, result=f"{len(passing)} of {len(numbers)}")
    if not passing:
        nearest = (max if query.above is not None else min)(numbers, key=lambda event: event.value)
        word = "highest" if query.above is not None else "lowest"
        text = f"No: none of {len(numbers)} values is {what}; the {word} is {_described(nearest)}."
        return Fact(text="0 values. " + text if query.intent == "count" else text, events=(nearest,), steps=(step,))
    shown = {"first": passing[:1], "last": passing[-1:]}.get(query.pick, passing) if query.intent == "date" else passing
    start = {"exists": "Yes: ", "date": ", ".join(event.when or "undated" for event in shown[:10]) + ": "}
    latest = _described(passing[-1])
    text = f"{start.get(query.intent, '')}{len(passing)} of {len(numbers)} values {what}, the latest {latest}."
    return Fact(text=text, events=tuple(shown), steps=(step,))


_ANSWERS: dict[str, Callable[[list[ClinicalEvent], Query], Fact]] = {
    "value": _value,
    "date": _date,
    "count": _count,
    "trend": _trend,
    "exists": _exists,
    "list": _list,
}
