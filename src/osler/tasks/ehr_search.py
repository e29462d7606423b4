"""Which entries of a record a query means. Strict: a word of the topic that no entry has means no entry."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from functools import lru_cache

from osler.prepare.clinical_terms import content_words, load_terms, named_observations, plain
from osler.study import ClinicalEvent
from osler.tasks.ehr_question import Query

# Words that say how or where something is measured, and change nothing about which value is meant.
_NEUTRAL = frozenset({"serum", "blood", "plasma", "count", "rate", "body", "status", "total", "automated", "oral"})
_QUALIFIERS = re.compile(r"\((?:disorder|finding|procedure|situation|event|morphologic abnormality)\)", re.IGNORECASE)
_STRENGTH = re.compile(r"\b(?:nda\d+|\d+(?:\.\d+)?|mg|ml|mcg|ug|g|mg/ml|hr|actuat|unt|meq)\b")


def in_time(events: Sequence[ClinicalEvent], query: Query) -> list[ClinicalEvent]:
    """The entries of the time asked for; undated ones only where no time is asked for.

    An entry that is dated by month or year alone counts where its first day lies within.
    """
    since, until = query.since, query.until
    if query.span is not None:
        newest = max((event.date for event in events if event.date is not None), default=None)
        since = None if newest is None else dt.date.fromordinal(max(newest.toordinal() - query.span, 1))
    if since is None and until is None:
        return list(events)
    return [
        event
        for event in events
        if event.date is not None and (since is None or event.date >= since) and (until is None or event.date <= until)
    ]


def about(events: Sequence[ClinicalEvent], query: Query) -> list[ClinicalEvent]:
    """The entries of the kinds and the topic asked for."""
    observed = _observed(events, query)
    if observed:
        return observed
    kinds = query.kinds
    if query.intent in ("value", "trend") and not kinds:
        kinds = ("observation",)
    if kinds == ("observation",) and query.intent == "exists":
        kinds = ("observation", "procedure")
    if not query.topic:
        return [event for event in events if event.kind in query.kinds]
    words = query.words
    return [event for event in events if (not kinds or event.kind in kinds) and _named(event, words)]


def codes_of(query: Query) -> frozenset[str]:
    """LOINC codes of the observations that the topic names; empty where it says more than that."""
    named = named_observations(query.topic)
    spoken = frozenset(word for phrase, _codes in named for word in content_words(phrase))
    if not named or query.words - spoken - _NEUTRAL:
        return frozenset()
    return frozenset(code for _phrase, codes in named for code in codes)


def _observed(events: Sequence[ClinicalEvent], query: Query) -> list[ClinicalEvent]:
    """Observations by LOINC code, or by a known name where they carry no code."""
    if query.kinds and "observation" not in query.kinds and query.kinds != ("immunization",):
        return []
    codes = codes_of(query)
    if not codes:
        return []
    names = {plain(name) for name, known in load_terms().observations.items() if known <= codes}
    return [
        event
        for event in events
        if event.kind == "observation" and (event.code in codes or (not event.code and plain(event.name) in names))
    ]


def _named(event: ClinicalEvent, words: frozenset[str]) -> bool:
    if event.kind == "medication":
        return any(words <= part and words & first for first, part in _ingredients(event.name))
    return bool(words) and words <= _name_words(event.name)


@lru_cache(maxsize=65536)
def _name_words(name: str) -> frozenset[str]:
    return content_words(_QUALIFIERS.sub(" ", name))


@lru_cache(maxsize=65536)
def _ingredients(name: str) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    """For each ingredient its first word (a salt is no ingredient) and all words of the drug."""
    whole = content_words(name)
    found = []
    for part in re.split(r" / |[\[\]]", name.lower()):
        rest = _STRENGTH.sub(" ", part).split()
        if rest:
            found.append((content_words(rest[0]), whole))
    return tuple(found)
