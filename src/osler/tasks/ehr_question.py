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
_NUMBERS = {"one": 1, "two": 2, "three": 3, "five": 5, "ten": 10}
_DAYS = {"day": 1, "week": 7, "month": 30.44, "year": 365.25}
_ABOVE = re.compile(
    r"\b(?:above|over|greater than|more than|higher than|exceed(?:ed|s|ing)?|>) ?(\d+(?:\.\d+)?)\s*(\S*)"
)
_BELOW = re.compile(r"\b(?:below|under|less than|lower than|<) ?(\d+(?:\.\d+)?)\s*(\S*)")
_IN_UNIT = re.compile(r"\bin ([a-z%°µμ0-9*^\[\]{}_.]+(?:/[a-z0-9.*^\[\]{}_]+)*)(?=[\s?.!,]|$)")
_BARE_UNITS = {
    "kg",
    "lb",
    "lbs",
    "pounds",
    "cm",
    "inches",
    "mmhg",
    "kpa",
    "%",
    "°f",
    "°c",
    "celsius",
    "fahrenheit",
    "kilograms",
}
_NAMED_UNITS = {"pounds": "lb", "inches": "in", "celsius": "Cel", "fahrenheit": "[degF]", "kilograms": "kg"}

_POLITE = re.compile(
    r"^(?:please,? )?(?:(?:can|could|would) you (?:please )?)?(?:(?:tell|give|show) (?:me|us) )?"
    r"(?:i(?:'d| would) like to know |i (?:want|need) to know |do you know )?"
)
_OPEN = re.compile(
    r"\b(?:why|explain|summar\w*|recommend\w*|should|could|would|might|likely|risk|interpret\w*|describe|suggest\w*|think"
    r"|advice|advise|prognosis|because|cause[sd]?|related|relat\w+|correlat\w*|compare|differential|plan)\b"
    r"|\bwhat (?:does|do) .* mean\b|^how (?:is|was|can|does|did|do)\b(?! many)"
)
_COUNT = re.compile(r"\bhow (?:many|often)\b|\bnumber of\b|\bcount of\b")
_TREND = re.compile(
    r"\btrends?\b|\bover time\b|\bchang(?:e|ed|es|ing)\b|\b(?:increas|decreas)\w*|\b(?:risen|rising|fallen|falling|rise|fall)\b"
    r"|\b(?:gone|going|goes|go|went) (?:up|down)\b|\bup or down\b|\b(?:better|higher) or (?:worse|lower)\b|\bcourse of\b|\bevol\w+|\bprogress(?:ed|ion)?\b"
)
_DATE = re.compile(r"^when\b|^date\b|\b(?:what|which) (?:date|day)\b|\bdates? of\b|\bsince when\b")
_YES_NO = re.compile(r"^(?:is|does|has|did|was|were|do|are|had|have|any)\b")
_LIST = re.compile(r"^(?:which|what|list|name|show)\b")
_VALUE = re.compile(
    r"^(?:what|which|give|tell|show|how (?:high|low|tall|heavy|much)|last|latest|first|most recent|highest|lowest|current)\b"
)
_FIRST = re.compile(r"\b(?:first|earliest|initial(?:ly)?|oldest|diagnosed|onset|start(?:ed)?|began|begun|prescribed)\b")
_LAST = re.compile(r"\b(?:last|latest|most recent(?:ly)?|recent(?:ly)?|newest|current(?:ly)?|now)\b")
_HIGHEST = re.compile(r"\b(?:highest|maximum|max|peak|largest)\b")
_LOWEST = re.compile(r"\b(?:lowest|minimum|min|nadir|smallest)\b")
_ABNORMAL = re.compile(
    r"\b(?:abnormal|out of range|outside (?:of )?(?:the )?(?:normal|reference) range|flagged|pathological)\b"
)
_EVER = re.compile(r"\b(?:ever|previously|in the past|history|had|did|was|were|been|received|any time)\b")
_KINDS: tuple[tuple[EventKind, str], ...] = (
    ("medication", r"medications?|medicines?|drugs?|taking|takes?|taken|took|prescri\w+|treated with|is (?:the )?(?:patient|he|she) on"),
    ("condition", r"conditions?|diagnos\w+|diseases?|problems?|suffer\w*|illness(?:es)?"),
    ("immunization", r"immuni[sz]\w+|vaccin\w+|shots?|jabs?"),
    ("procedure", r"procedures?|surger(?:y|ies)|operations?|operated|interventions?"),
    ("encounter", r"encounters?|visits?|visited|admissions?|admitted|hospitali[sz]ed|appointments?|seen by"),
    ("allergy", r"allerg\w+|intoleran\w+"),
    ("imaging", r"imaging|scans?|scanned|x-?rays?|ultrasounds?|radiographs?|imaged"),
    ("observation", r"values?|results?|levels?|lab|labs|laborator\w+|tests?|tested|checked|measured|measurements?|readings?|vitals?"),
)  # fmt: skip
_ASKING = re.compile(
    r"\b(?:what|which|when|how|many|much|often|high|tall|heavy|times?|number|count|trends?|over time|chang\w+|increas\w+"
    r"|decreas\w+|risen|rising|fallen|falling|rise|fall|gone up|gone down|going up|going down|went up|went down|go|up|down|higher|lower|better|worse|or|course|progress\w*"
    r"|date|day|dates|days|list|name|last|latest|most recent\w*|recent\w*|newest|current\w*|now|so far|to date|first|earliest|initial\w*"
    r"|oldest|diagnosed|onset|start\w*|began|begun|highest|maximum|max|peak|largest|lowest|minimum|min|nadir|smallest"
    r"|abnormal|out of range|flagged|ever|previously|in the past|received?|receiving|get|got|given|undergo\w*|undergone|undergoes"
    r"|performed|done|determined|obtained|drawn|sampled|assessed|noted|charted?|file|recorded|documented|checked?|taken|took|against|patient's|there|value|take|using|use[sd]?|active|all|most|total|entry|entries|it|since"
    r"|before|after|until|above|below|say|says|see|seen|known|listed|exist\w*|about|patients?|during|record|records|who|whom|any|he|she)\b"
)  # fmt: skip


def plan_question(question: str) -> Query:
    """Reads a question.

    Example:
        >>> query = plan_question("What was the last HbA1c in mmol/mol since 2014?")
        >>> query.intent, query.pick, query.topic, query.unit, str(query.since)
        ('value', 'last', 'hba1c', 'mmol/mol', '2014-01-01')
    """
    text = " ".join(question.lower().replace("’", "'").replace("what's", "what is").split())
    text = _POLITE.sub("", text)
    query = Query(intent="open")
    text, query = _take_dates(text, query)
    text, query = _take_thresholds(text, query)
    text, query = _take_unit(text, query)
    text = usual(text)
    query = replace(
        query,
        intent=_intent(text),
        pick=_pick(text),
        kinds=tuple(kind for kind, words in _KINDS if re.search(rf"\b(?:{words})\b", text)),
        abnormal=bool(_ABNORMAL.search(text)),
        now=not _EVER.search(text) or bool(re.search(r"\b(?:current\w*|now|active)\b", text)),
    )
    # Names such as "platelet count" hold words that otherwise ask.
    names = [name for name, _codes in named_observations(text)]
    topic = _ABNORMAL.sub(" ", without_names(text))
    for _kind, words in _KINDS:
        topic = re.sub(rf"\b(?:{words})\b", " ", topic)
    topic = " ".join([*names, *sorted_words(_ASKING.sub(" ", topic))])
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
    if _OPEN.search(text):
        return "open"
    for intent, pattern in (("count", _COUNT), ("trend", _TREND), ("date", _DATE), ("exists", _YES_NO)):
        if pattern.search(text):
            return intent  # type: ignore[return-value]
    plural = re.search(
        r"\b(?:medications|medicines|drugs|conditions|diagnoses|diseases|problems|immunizations|vaccines|vaccinations"
        r"|procedures|surgeries|operations|encounters|visits|admissions|allergies|scans|labs|results|values)\b",
        text,
    )
    if _LIST.search(text) and (plural or _ABNORMAL.search(text)) and not (_LAST.search(text) or _FIRST.search(text)):
        return "list"
    if _LIST.search(text) and plural and re.search(r"\b(?:current\w*|active|now)\b", text):
        return "list"
    if _VALUE.search(text) or (named_observations(text) and len(text.split()) <= _SHORT):
        return "value"  # "HbA1c in 2014?" names what is wanted, and that is all
    return "open"


def _pick(text: str) -> Pick:
    for pick, pattern in (("highest", _HIGHEST), ("lowest", _LOWEST), ("last", _LAST), ("first", _FIRST)):
        if pattern.search(text):
            return pick  # type: ignore[return-value]
    return "all" if _DATE.search(text) else "last"


def _take_dates(text: str, query: Query) -> tuple[str, Query]:
    """Cuts the time out of a question."""
    if match := _BETWEEN.search(text):
        since, until = _first_day(match[1]), _last_day(match[2])
        return f"{text[: match.start()]} {text[match.end() :]}", replace(query, since=since, until=until)
    if match := _SPAN.search(text):
        number = _NUMBERS.get(match[1] or "one") or int(match[1])
        query = replace(query, span=round(number * _DAYS[match[2]]))
        return f"{text[: match.start()]} {text[match.end() :]}", query
    for match in list(_BOUND.finditer(text)):
        word, first, last = match[1], _first_day(match[2]), _last_day(match[2])
        if first is None or last is None:
            continue
        if word == "since" or word == "from":
            query = replace(query, since=first)
        elif word == "after":
            query = replace(query, since=last + dt.timedelta(days=1))
        elif word == "before":
            query = replace(query, until=first - dt.timedelta(days=1))
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
