"""From a question about a record to a query: what is asked, of which entries, of when. No model is involved."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import Literal

from osler.prepare.clinical_terms import content_words, named_observations, plain, usual, without_names
from osler.readers.ucum import known_unit
from osler.study import EventKind
from osler.tasks import ehr_words as words

Intent = Literal["value", "date", "count", "trend", "exists", "list", "open"]
Pick = Literal["last", "first", "highest", "lowest", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a question asks for.

    Args:
        intent: What kind of answer; ``"open"`` is for the model.
        pick: Which of several entries.
        kinds: Kinds of entries that the question names; empty for any.
        topic: What it is about, without the words that ask.
        since: First day. until: Last day.
        span: A time before the newest entry instead, in days.
        unit: In which the value is wanted.
        above: Values above this alone. below: Values below this alone.
        now: Whether the present state is asked for, rather than any time.
        abnormal: Whether values out of range alone are asked for.
    """

    intent: Intent
    pick: Pick = "last"
    kinds: tuple[EventKind, ...] = ()
    topic: str = ""
    since: dt.date | None = None
    until: dt.date | None = None
    span: int | None = None
    unit: str = ""
    above: float | None = None
    below: float | None = None
    now: bool = False
    abnormal: bool = False

    @property
    def words(self) -> frozenset[str]:
        """The topic's words."""
        return content_words(self.topic)


_MONTHS = {name.lower(): n for n, name in enumerate(calendar.month_name) if name}
_MONTHS |= {name.lower(): n for n, name in enumerate(calendar.month_abbr) if name}
_NAMES = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = (
    rf"(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{4}}-\d{{2}}|(?:{_NAMES})\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?\.? (?:of )?(?:{_NAMES})\.?,? \d{{4}}|(?:{_NAMES})\.?,? \d{{4}}|(?:19|20)\d{{2}})"
)
_BETWEEN = re.compile(rf"\b(?:between|from) ({_DAY}) (?:and|to|until) ({_DAY})\b")
_BOUND = re.compile(
    rf"\b(since|after|before|until|till|up to|as of|on|in|during|of|from)(?: the)?(?: year)? ({_DAY})\b"
)
_SPAN = re.compile(
    r"\b(?:in|within|over|during) the (?:last|past) (?:(\d+|one|two|three|five|ten) )?(day|week|month|year)s?\b"
)
_SHORT = 8
_LONGEST = 150 * 366
_NUMBERS = {"one": 1, "two": 2, "three": 3, "five": 5, "ten": 10}
_DAYS = {"day": 1, "week": 7, "month": 30.44, "year": 365.25}
_ABOVE = re.compile(
    r"\b(?:above|over|greater than|more than|higher than|exceed(?:ed|s|ing)?|>) ?(\d+(?:\.\d+)?)\s*(\S*)"
)
_BELOW = re.compile(r"\b(?:below|under|less than|lower than|<) ?(\d+(?:\.\d+)?)\s*(\S*)")
_IN_UNIT = re.compile(r"\bin ([a-z%°µμ0-9*^\[\]{}_.]+(?:/[a-z0-9.*^\[\]{}_]+)*)(?=[\s?.!,]|$)")
_BARE_UNITS = frozenset("kg lb lbs pounds cm inches mmhg kpa % °f °c celsius fahrenheit kilograms".split())  # noqa: SIM905
_NAMED_UNITS = {"pounds": "lb", "inches": "in", "celsius": "Cel", "fahrenheit": "[degF]", "kilograms": "kg"}


def plan_question(question: str) -> Query:
    """Reads a question.

    Example:
        >>> query = plan_question("What was the last HbA1c in mmol/mol since 2014?")
        >>> query.intent, query.pick, query.topic, query.unit, str(query.since)
        ('value', 'last', 'hba1c', 'mmol/mol', '2014-01-01')
    """
    text = " ".join(question.lower().replace("’", "'").replace("what's", "what is").split())
    text = words.POLITE.sub("", text)
    query = Query(intent="open")
    text, query = _take_dates(text, query)
    text, query = _take_thresholds(text, query)
    text, query = _take_unit(text, query)
    text = usual(text)
    query = replace(
        query,
        intent=_intent(text),
        pick=_pick(text),
        kinds=tuple(kind for kind, spoken in words.KINDS if spoken.search(text)),
        abnormal=bool(words.ABNORMAL.search(text)),
        now=not words.EVER.search(text) or bool(words.PRESENT.search(text)),
    )
    # Names such as "platelet count" hold words that otherwise ask.
    names = [name for name, _codes in named_observations(text)]
    topic = words.ABNORMAL.sub(" ", without_names(text))
    for _kind, spoken in words.KINDS:
        topic = spoken.sub(" ", topic)
    topic = " ".join([*names, *sorted_words(words.ASKING.sub(" ", topic))])
    if query.intent == "list" and topic:
        query = replace(query, intent="value")
    if query.intent == "value" and not topic and query.kinds and query.pick == "all":
        query = replace(query, intent="list")
    return replace(query, topic=topic)


def sorted_words(text: str) -> list[str]:
    """The words of a text that carry meaning, in their order."""
    kept = content_words(text)
    return [word for word in plain(text).split() if content_words(word) & kept]


def _intent(text: str) -> Intent:
    if words.OPEN.search(text) or words.OPEN_START.search(text):
        return "open"
    patterns: tuple[tuple[Intent, re.Pattern[str]], ...] = (
        ("count", words.COUNT),
        ("trend", words.TREND),
        ("date", words.DATE),
        ("exists", words.YES_NO),
    )
    for intent, pattern in patterns:
        if pattern.search(text):
            return intent
    picks_one = words.LAST.search(text) or words.FIRST.search(text)
    if words.LIST.search(text):
        several = words.SEVERAL.search(text)
        if (several and (not picks_one or words.PRESENT.search(text))) or (
            words.ABNORMAL.search(text) and not picks_one
        ):
            return "list"
    if words.VALUE.search(text) or (named_observations(text) and len(text.split()) <= _SHORT):
        return "value"  # "HbA1c in 2014?" names what is wanted, and that is all
    return "open"


def _pick(text: str) -> Pick:
    patterns: tuple[tuple[Pick, re.Pattern[str]], ...] = (
        ("highest", words.HIGHEST),
        ("lowest", words.LOWEST),
        ("last", words.LAST),
        ("first", words.FIRST),
    )
    for pick, pattern in patterns:
        if pattern.search(text):
            return pick
    return "all" if words.DATE.search(text) else "last"


def _take_dates(text: str, query: Query) -> tuple[str, Query]:
    """Cuts the time out of a question."""
    if match := _BETWEEN.search(text):
        since, until = _first_day(match[1]), _last_day(match[2])
        return f"{text[: match.start()]} {text[match.end() :]}", replace(query, since=since, until=until)
    if match := _SPAN.search(text):
        number = _NUMBERS.get(match[1] or "one") or int(match[1])
        query = replace(query, span=min(round(number * _DAYS[match[2]]), _LONGEST))
        return f"{text[: match.start()]} {text[match.end() :]}", query
    for match in list(_BOUND.finditer(text)):
        word, first, last = match[1], _first_day(match[2]), _last_day(match[2])
        if first is None or last is None:
            continue
        if word == "since" or word == "from":
            query = replace(query, since=first)
        elif word == "after":
            query = replace(query, since=_moved(last, days=1))
        elif word == "before":
            query = replace(query, until=_moved(first, days=-1))
        elif word in ("until", "till", "up to", "as of"):
            query = replace(query, until=last)
        else:
            query = replace(query, since=first, until=last)
        text = text.replace(match[0], " ", 1)
    return text, query


def _take_thresholds(text: str, query: Query) -> tuple[str, Query]:
    for name, pattern in (("above", _ABOVE), ("below", _BELOW)):
        match = pattern.search(text)
        if match is None:
            continue
        unit = match[2].strip("?.!,")
        end = match.end() if unit and known_unit(unit) and not unit.isdigit() else match.end(1)
        query = replace(query, **{name: float(match[1])})
        if end == match.end():
            query = replace(query, unit=unit)
        text = f"{text[: match.start()]} {text[end:]}"
    return text, query


def _take_unit(text: str, query: Query) -> tuple[str, Query]:
    for match in _IN_UNIT.finditer(text):
        unit = match[1].rstrip(".")
        if ("/" in unit and known_unit(unit)) or unit in _BARE_UNITS:
            return text.replace(match[0], " ", 1), replace(query, unit=_NAMED_UNITS.get(unit, unit))
    return text, query


def _moved(day: dt.date, *, days: int) -> dt.date:
    """A day before or after another, within the calendar."""
    try:
        return day + dt.timedelta(days=days)
    except OverflowError:
        return day


def _parts(text: str) -> tuple[int, int, int] | None:
    """Year, month and day of a date as written; 0 for what is not given."""
    if iso := re.fullmatch(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?", text):
        return int(iso[1]), int(iso[2] or 0), int(iso[3] or 0)
    month = next((n for name, n in _MONTHS.items() if re.search(rf"\b{name}\b", text)), 0)
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    year = next((number for number in numbers if number > 31), 0)
    day = next((number for number in numbers if number <= 31), 0)
    return (year, month, day) if year else None


def _first_day(text: str) -> dt.date | None:
    parts = _parts(text)
    try:
        return None if parts is None else dt.date(parts[0], parts[1] or 1, parts[2] or 1)
    except ValueError:
        return None


def _last_day(text: str) -> dt.date | None:
    parts, first = _parts(text), _first_day(text)
    if parts is None or first is None or parts[2]:
        return first
    month = parts[1] or 12
    return dt.date(parts[0], month, calendar.monthrange(parts[0], month)[1])
