"""Mentions of one report into facts: which finding and site the words mean, and what belongs to one lesion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import get_args

from osler.synth.facts import Change, Region, Side
from osler.synth.ontology import Finding, load_ontology
from osler.synth.read_back.clauses import Mention
from osler.synth.read_back.read_facts import ReadFact

_THIS = re.compile(r"(?:this|that|the same|the said)\b")
_MOST_ALIKE = 50
"""Lesions of one kind that a report is believed to list; more are a text that repeats itself."""
_REFERS = frozenset(
    {
        "it",
        "its",
        "this",
        "these",
        "they",
        "their",
        "both",
        "size",
        "measures",
        "measuring",
        "diameter",
        "dimension",
        "greatest",
        "maximum",
        "largest",
        "extent",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the title says: the region shown, and the side of a body part shown alone."""

    groups: frozenset[str] = frozenset()
    side: Side = "none"


@dataclass(frozen=True, slots=True)
class _Known:
    finding: Finding
    sites: frozenset[str]


@dataclass(slots=True, kw_only=True)
class Book:
    """Facts of a report as they are read."""

    setting: Setting
    facts: list[ReadFact] = field(default_factory=list)
    _sections: list[str] = field(default_factory=list)
    _sentences: list[int] = field(default_factory=list)
    _taken: set[tuple[str, int]] = field(default_factory=set)
    _sentence: int = 0
    _last: int | None = None

    def add(self, mentions: Sequence[Mention], *, text: str, section: str) -> None:
        """Takes in the mentions of a sentence."""
        self._sentence += 1
        named = False
        for mention in mentions:
            if mention.keys:
                self._add_finding(mention, text=text, section=section)
                named = True
            elif self._last is not None and (named or self._refers(text, section=section)):
                self._add_loose(mention, text=text, section=section)
        if not mentions and self._last is not None and self._sections[self._last] != section:
            self._last = None

    def _refers(self, text: str, *, section: str) -> bool:
        if self._last is None or self._sections[self._last] != section:
            return False
        return not _REFERS.isdisjoint(text[:60].replace(",", " ").split()[:4])

    def _add_loose(self, mention: Mention, *, text: str, section: str) -> None:
        """Words about the finding named last."""
        assert self._last is not None
        fact = self.facts[self._last]
        if fact.certainty == "absent":
            return
        read = _fact(replace(mention, keys=(fact.key,)), key=fact.key, setting=self.setting, text=text)
        conflict = not _compatible(fact, read)
        if mention.another or (conflict and read.site and read.site != fact.site):
            if sum(other.key == fact.key for other in self.facts) < _MOST_ALIKE:
                self._append(read, section=section)
        elif not conflict:
            self.facts[self._last] = _merged(fact, read, stated=mention.certainty is not None)

    def _add_finding(self, mention: Mention, *, text: str, section: str) -> None:
        key = _key_of(mention, setting=self.setting)
        read = _fact(mention, key=key, setting=self.setting, text=text)
        same = [i for i, fact in enumerate(self.facts) if fact.key == key]
        if len(same) >= _MOST_ALIKE:
            return
        if read.certainty == "absent":
            if not same:
                self._append(read, section=section)
            return
        open_facts = [
            i for i in same if _compatible(self.facts[i], read) and not self._is_twin(i, read, section=section)
        ]
        if mention.another or not open_facts:
            self._append(read, section=section)
            return
        best = max(open_facts, key=lambda i: ((section, i) not in self._taken, _agreement(self.facts[i], read), -i))
        self.facts[best] = _merged(self.facts[best], read, stated=mention.certainty is not None)
        self._taken.add((section, best))
        self._last = best

    def _is_twin(self, place: int, read: ReadFact, *, section: str) -> bool:
        """Whether a second lesion is listed: in one section, another sentence names the same place again."""
        fact = self.facts[place]
        same_place = bool(read.site) and fact.site == read.site
        listed = self._sections[place] == section != "impression" and self._sentences[place] != self._sentence
        return same_place and listed and not _THIS.match(read.text)

    def _append(self, fact: ReadFact, *, section: str) -> None:
        self.facts.append(fact)
        self._sections.append(section)
        self._sentences.append(self._sentence)
        self._taken.add((section, len(self.facts) - 1))
        self._last = len(self.facts) - 1


def _key_of(mention: Mention, *, setting: Setting) -> str:
    """The finding that words mean where several share them: that which the exam and the named site allow."""
    if len(mention.keys) == 1:
        return mention.keys[0]
    known = _known()
    named = {site for place in mention.sites for site in place}

    def fit(key: str) -> tuple[bool, bool]:
        entry = known[key]
        shown = not setting.groups or not setting.groups.isdisjoint(entry.finding.prevalence)
        return shown, bool(named & entry.sites) if named else not entry.sites

    return max(mention.keys, key=fit)


def _fact(mention: Mention, *, key: str, setting: Setting, text: str) -> ReadFact:
    entry = _known()[key]
    if mention.certainty == "absent" and mention.change != "resolved":
        return ReadFact(key=key, certainty="absent", text=text)
    site = _site(mention, entry=entry)
    size, prior, percent = (_whole(value) for value in (mention.size_mm, mention.prior_mm, mention.percent))
    change = mention.change or "first"
    if change == "first" and size and prior:
        change = "larger" if size > prior else "smaller" if size < prior else "stable"
    percent = _percent(percent, change=change, size=size, prior=prior)
    return ReadFact(
        key=key,
        certainty="present" if mention.certainty in (None, "absent") else mention.certainty,
        side=_side(mention, entry=entry, site=site, setting=setting),
        site=site,
        size_mm=size,
        severity=(mention.severity or "none") if entry.finding.severities else "none",
        change=change,
        change_percent=percent,
        prior_size_mm=prior,
        text=text,
    )


def _percent(percent: int | None, *, change: Change, size: int | None, prior: int | None) -> int | None:
    """The change in percent, below zero where it shrank; worked out from the sizes where it was not said."""
    if change not in ("larger", "smaller"):
        return None
    if percent is None and size and prior:
        percent = round(100 * abs(size - prior) / prior)
    return percent if percent is None or change == "larger" else -abs(percent)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value + 0.5)


def _site(mention: Mention, *, entry: _Known) -> str:
    """The one site that the words, the side and the ontology allow; empty if none or several."""
    sides = _side_of_site()
    for place in mention.sites:
        allowed = [site for site in place if site in entry.sites]
        if mention.side in ("left", "right"):
            allowed = [site for site in allowed if sides[site] == mention.side] or allowed
        if len(allowed) == 1:
            return allowed[0]
    if mention.side in ("left", "right"):
        allowed = [site for site in entry.finding.sites if sides[site] == mention.side]
        if len(allowed) == 1:
            return allowed[0]
    return entry.finding.sites[0] if len(entry.finding.sites) == 1 else ""


def _side(mention: Mention, *, entry: _Known, site: str, setting: Setting) -> Side:
    laterality = entry.finding.laterality
    if laterality == "none":
        return "none"
    if laterality == "site" and site:
        return _side_of_site()[site]
    if laterality == "exam":
        return mention.side if mention.side in ("left", "right") else setting.side
    return mention.side or "none"


def _compatible(fact: ReadFact, read: ReadFact) -> bool:
    """Whether two statements may be about one lesion."""
    if fact.certainty == "absent":
        return False
    pairs = (
        (fact.side, read.side, "none"),
        (fact.site, read.site, ""),
        (fact.size_mm, read.size_mm, None),
        (fact.prior_size_mm, read.prior_size_mm, None),
        (fact.change, read.change, "first"),
    )
    return all(a == b or nothing in (a, b) for a, b, nothing in pairs)


def _agreement(fact: ReadFact, read: ReadFact) -> int:
    return sum(
        value not in (None, "", "none", "first") and value == getattr(fact, name)
        for name, value in (
            ("side", read.side),
            ("site", read.site),
            ("size_mm", read.size_mm),
            ("change", read.change),
            ("certainty", read.certainty),
        )
    )


def _merged(fact: ReadFact, read: ReadFact, *, stated: bool) -> ReadFact:
    """Fills what the first statement left open."""
    merged = replace(
        fact,
        certainty=read.certainty if stated and fact.certainty == "present" else fact.certainty,
        side=read.side if fact.side == "none" else fact.side,
        site=fact.site or read.site,
        size_mm=read.size_mm if fact.size_mm is None else fact.size_mm,
        severity=read.severity if fact.severity == "none" else fact.severity,
        change=read.change if fact.change == "first" else fact.change,
        change_percent=read.change_percent if fact.change_percent is None else fact.change_percent,
        prior_size_mm=read.prior_size_mm if fact.prior_size_mm is None else fact.prior_size_mm,
    )
    percent = _percent(merged.change_percent, change=merged.change, size=merged.size_mm, prior=merged.prior_size_mm)
    return replace(merged, change_percent=percent)


@cache
def _known() -> dict[str, _Known]:
    return {finding.key: _Known(finding, frozenset(finding.sites)) for finding in load_ontology().findings}


@cache
def _side_of_site() -> dict[str, Side]:
    assert set(get_args(Side)) >= {site.side for site in load_ontology().sites}
    return {site.key: site.side for site in load_ontology().sites}


@cache
def groups_of_regions() -> dict[str, frozenset[str]]:
    """Protocol groups by region and by body part (lower case)."""
    found: dict[str, set[str]] = {}
    for protocol in load_ontology().protocols:
        for name in (protocol.region, protocol.body_part.lower(), f"{protocol.region}-{protocol.modality}"):
            found.setdefault(name, set()).add(protocol.group)
    return {name: frozenset(groups) for name, groups in found.items()}


def region_groups(region: Region | str) -> frozenset[str]:
    """Protocol groups of a region or body part; empty if unknown."""
    return groups_of_regions().get(region, frozenset())
