"""One sentence into mentions of findings, each with what the sentence says about it.

The scopes follow NegEx and ConText (Chapman et al., J Biomed Inform 2001; Harkema et
al., 2009): a negation before covers the findings up to the end of its clause, one
behind covers those before it; sizes, sides, sites and changes belong to the nearest
finding that no comma, "and" or "with" separates from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Any

from osler.synth.facts import Certainty, Change, Severity, Side
from osler.synth.read_back.lexicon import Item, Language, Token, find_items, tokenize

_UNITS = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0}
_BETWEEN = frozenset({"x", "by", "*"})
_SOFT_MARKS = frozenset({",", "/", ":", "+"})
_PRIOR_REACH, _AFTER_REACH = 7, 5
_TIMES = frozenset({"day", "week", "month", "year", "hour", "tag", "tagen", "woch", "monat", "jahr"})
_AS_LARGE = frozenset({"large", "gross"})
"""Behind a size they only repeat that it is one (``5 mm large``)."""
_LONGEST_LABEL = 12
_LABEL_KEEPS = frozenset({"change", "certainty", "side", "prior", "time", "now"})
_WEAK_PRIOR = frozenset({"was", "were", "von", "war", "alt"})
_INTERRUPTS = frozenset({
    ",", "(", "now", "to", "currently", "is", "a", "an", "there", "day", "week", "month", "year", "ago",
    "has", "have", "auf", "jetzt", "aktuell", "nun", "ist", "ein", "tag", "tagen", "woch", "monat", "jahr",
    "der",
})  # fmt: skip
_LEADING = frozenset({"site", "side", "prior", "apart", "now", "time", "change"})
_ANSWERS = frozenset({":", "-", "(", ",", "="})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A finding as one clause states it.

    Args:
        keys: Findings that the words may stand for.
        sites: Sites that the words may stand for, one tuple for each place named.
        certainty: ``None`` where nothing was said, which means present.
        another: Whether it is said to be a further one of its kind.
        plural: Whether the words are in the plural.
    """

    keys: tuple[str, ...] = ()
    certainty: Certainty | None = None
    side: Side | None = None
    sites: tuple[tuple[str, ...], ...] = ()
    size_mm: float | None = None
    prior_mm: float | None = None
    percent: float | None = None
    severity: Severity | None = None
    change: Change | None = None
    another: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a sentence that matters, at a token: a phrase, a size (mm), a percentage or a mark."""

    kind: str
    value: Any
    first: int
    past: int


@dataclass(slots=True)
class _Clause:
    parts: list[Part] = field(default_factory=list)


@lru_cache(maxsize=131072)
def read_sentence(text: str, *, language: Language = "en") -> tuple[Mention, ...]:
    """Reads one sentence.

    Args:
        text: In lower case, see `report_text.clean`.
        language: Of the words.

    Returns:
        Mentions in order. One without ``keys`` says something about what was named before.
    """
    tokens = tokenize(text, language=language)
    parts = _without_label(_parts(tokens, items=find_items(tokens, language=language)))
    mentions: list[Mention] = []
    for clause in _clauses(parts):
        mentions.extend(_read_clause(clause, tokens=tokens))
    return tuple(mentions)


def _parts(tokens: list[Token], *, items: list[Item]) -> list[Part]:
    """Phrases, sizes, percentages and marks in order."""
    taken = {place for item in items for place in range(item.first, item.past)}
    parts = [
        Part(item.kind, item.value, item.first, item.past)
        for item in items
        if item.kind != "prior" or not item.first or tokens[item.first - 1].form not in _TIMES
    ]
    parts.extend(_numbers(tokens, taken=taken))
    parts.extend(
        Part("break" if token.form == ";" else "apart", token.form, place, place + 1)
        for place, token in enumerate(tokens)
        if token.form in _SOFT_MARKS or token.form == ";"
    )
    return sorted(parts, key=lambda part: (part.first, part.kind))


def _numbers(tokens: list[Token], *, taken: set[int]) -> Iterator[Part]:
    """Sizes (``1.2 x 0.9 cm``, ``12 mm``, ``from 9 to 12 mm``) and percentages."""
    place, count = 0, len(tokens)
    while place < count:
        if not tokens[place].number or place in taken:
            place += 1
            continue
        values, units, past = _dimensions(tokens, place=place)
        unit = next((unit for unit in units if unit), None)
        if unit:
            size = max(value * _UNITS[own or unit] for value, own in zip(values, units, strict=True))
            yield Part("size", size, place, past)
        elif past < count and tokens[past].form in ("%", "percent", "pct", "prozent") and len(values) == 1:
            yield Part("percent", values[0], place, past + 1)
            past += 1
        elif past + 2 < count and tokens[past].form in ("to", "->", ">", "auf") and tokens[past + 1].number:
            later = _dimensions(tokens, place=past + 1)[1][-1]
            if later:
                yield Part("size", max(values) * _UNITS[later], place, past)
        place = past


def _dimensions(tokens: list[Token], *, place: int) -> tuple[list[float], list[str | None], int]:
    """Numbers joined by "x" from a place on, their units, and where they end."""
    values, units = [], []
    count = len(tokens)
    while True:
        values.append(float(tokens[place].form))
        place += 1
        unit = tokens[place].form if place < count and tokens[place].form in _UNITS else None
        units.append(unit)
        place += unit is not None
        if place + 1 < count and tokens[place].form in _BETWEEN and tokens[place + 1].number:
            place += 1
            continue
        return values, units, place


def _clauses(parts: list[Part]) -> Iterator[list[Part]]:
    """Parts between hard breaks; a place that stands ahead of "there is" stays with what follows."""
    clause: list[Part] = []
    for part in parts:
        if part.kind == "break":
            if all(earlier.kind in _LEADING for earlier in clause):
                continue
            yield clause
            clause = []
        else:
            clause.append(part)
    if clause:
        yield clause


def _read_clause(parts: list[Part], *, tokens: list[Token]) -> Iterator[Mention]:
    findings = [i for i, part in enumerate(parts) if part.kind in ("finding", "denial")]
    if not findings:
        loose = _describe(parts, keys=(), tokens=tokens)
        if any(mention != Mention() for mention in loose):
            yield from loose
        return
    bounds = [0, *(_bound(parts, left=a, right=b) for a, b in pairwise(findings)), len(parts)]
    denied = _denied(parts, findings=findings)
    mentions: list[list[Mention]] = []
    for number, place in enumerate(findings):
        segment = parts[bounds[number] : bounds[number + 1]]
        described = _describe(segment, keys=parts[place].value, tokens=tokens)
        if parts[place].kind == "denial":
            described = [Mention(keys=parts[place].value, certainty="absent")]
        elif denied[number]:
            described = [replace(mention, certainty="absent") for mention in described]
        mentions.append(described)
    _share_change(mentions, parts=parts, findings=findings, tokens=tokens)
    for described in mentions:
        yield from described


def _without_label(parts: list[Part]) -> list[Part]:
    """Drops what a label names (``lymph nodes: ...``) where the words behind the colon name a finding themselves."""
    for place, part in enumerate(parts):
        if part.value == ":" and part.first <= _LONGEST_LABEL:
            rest = parts[place + 1 :]
            here = takewhile(lambda later: later.value != ";", rest)
            if not any(later.kind in ("finding", "denial") for later in here):
                return parts
            kept = _LABEL_KEEPS | ({"site"} if not any(later.kind == "site" for later in rest) else set())
            return [earlier for earlier in parts[:place] if earlier.kind in kept] + rest
    return parts


def _bound(parts: Sequence[Part], *, left: int, right: int) -> int:
    """Where the words about the left finding end and those about the right one begin."""
    for place in range(right - 1, left, -1):
        if parts[place].kind in ("apart", "suggestion"):
            return place
    place = right
    while place - 1 > left and parts[place - 1].past == parts[place].first:
        place -= 1
    return place


def _denied(parts: Sequence[Part], *, findings: Sequence[int]) -> list[bool]:
    denied = [False] * len(findings)
    for place, part in enumerate(parts):
        if part.kind != "negation":
            continue
        if part.value == "before" and not _answers(parts, place=place, findings=findings):
            for number, finding in enumerate(findings):
                if finding > place and not _affirmed_between(parts, first=place, past=finding):
                    denied[number] = True
        else:
            for number in range(len(findings) - 1, -1, -1):
                if findings[number] > place:
                    continue
                if any(p.kind in ("affirmation",) for p in parts[findings[number] : place]):
                    break
                denied[number] = True
    return denied


def _answers(parts: Sequence[Part], *, place: int, findings: Sequence[int]) -> bool:
    """Whether a "no" follows the finding it is about, as in ``pleural effusion: no``."""
    return findings[-1] < place and parts[place - 1].kind == "apart" and parts[place - 1].value in _ANSWERS


def _affirmed_between(parts: Sequence[Part], *, first: int, past: int) -> bool:
    """Whether a new statement began between a negation and a finding: ``no effusion is seen, a 5 mm nodule``."""
    comma = False
    for part in parts[first + 1 : past]:
        comma = comma or (part.kind == "apart" and part.value in (",", "with", "with associated"))
        if part.kind == "apart" and part.value == ("here"):
            continue
        if comma and part.kind == "size":
            return True
    return False


def _describe(parts: Sequence[Part], *, keys: tuple[str, ...], tokens: list[Token]) -> list[Mention]:
    """Reads the words about one finding; several places with sizes of their own make several mentions."""
    groups = _groups(parts)
    return [_mention(group, keys=keys, tokens=tokens) for group in groups]


def _groups(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts by place: ``5 mm in the right upper lobe and 7 mm in the lingula`` are two."""
    chunks: list[list[Part]] = [[]]
    for part in parts:
        if part.kind == "apart":
            chunks.append([])
        else:
            chunks[-1].append(part)
    chunks = [chunk for chunk in chunks if chunk]
    if not chunks:
        return [[]]
    placed = [any(part.kind == "site" for part in chunk) for chunk in chunks]
    sided = [any(part.kind == "side" and part.value in ("left", "right") for part in chunk) for chunk in chunks]
    graded = [any(part.kind in ("size", "severity") for part in chunk) for chunk in chunks]
    several = sum(placed) > 1 or sum(s and g for s, g in zip(sided, graded, strict=True)) > 1
    if not several:
        return [[part for chunk in chunks for part in chunk]]
    groups: list[list[Part]] = []
    waiting: list[Part] = []
    for chunk, has_site, has_side, has_grade in zip(chunks, placed, sided, graded, strict=True):
        if has_site or (has_side and has_grade):
            groups.append([*waiting, *chunk])
            waiting = []
        elif groups:
            groups[-1].extend(chunk)
        else:
            waiting.extend(chunk)
    return groups


def _mention(parts: Sequence[Part], *, keys: tuple[str, ...], tokens: list[Token]) -> Mention:
    values: dict[str, Any] = {}
    sides: list[Side] = []
    ends = {part.past for part in parts if part.kind == "size"}
    for part in parts:
        if part.kind == "severity" and part.first in ends and tokens[part.first].form in _AS_LARGE:
            continue
        if part.kind in ("change", "severity"):
            values.setdefault(part.kind, part.value)
        elif part.kind in ("certainty", "suggestion"):
            values["certainty"] = part.value
        elif part.kind == "side":
            sides.append(part.value)
        elif part.kind == "percent":
            values.setdefault("percent", part.value)
        elif part.kind == "another":
            values["another"] = True
    size, prior = _sizes(parts, tokens=tokens, change=values.get("change"))
    return Mention(
        keys=keys,
        side=_one_side(sides),
        sites=tuple(part.value for part in parts if part.kind == "site"),
        size_mm=size,
        prior_mm=prior,
        **values,
    )


def _one_side(sides: Sequence[Side]) -> Side | None:
    if not sides:
        return None
    return "both" if "both" in sides or {"left", "right"} <= set(sides) else sides[0]


def _sizes(parts: Sequence[Part], *, tokens: list[Token], change: Change | None) -> tuple[float | None, float | None]:
    """The size now and the one before."""
    sizes = [part for part in parts if part.kind == "size"]
    if not sizes:
        return None, None
    cues = [part for part in parts if part.kind == "prior"]
    before = [_is_prior(size, sizes=sizes, cues=cues, tokens=tokens) for size in sizes]
    current = [size.value for size, old in zip(sizes, before, strict=True) if not old]
    prior = [size.value for size, old in zip(sizes, before, strict=True) if old]
    if change == "resolved" and current and not prior:
        return None, current[0]
    if not current and prior and change == "stable":
        return prior[0], prior[0]
    if len(current) > 1 and not prior and change in ("larger", "smaller", "stable"):
        return current[0], current[1]
    return (current[0] if current else None), (prior[0] if prior else None)


def _is_prior(size: Part, *, sizes: Sequence[Part], cues: Sequence[Part], tokens: list[Token]) -> bool:
    """Whether a word such as "previously" stands right before a size, or behind it with no other size in reach."""
    for cue in cues:
        if "before" not in cue.value:
            continue
        gap = tokens[cue.past : size.first]
        if 0 <= size.first - cue.past <= _PRIOR_REACH and not _interrupted(
            gap, sizes=sizes, first=cue.past, past=size.first
        ):
            weak = tokens[cue.first].form in _WEAK_PRIOR and cue.past - cue.first == 1
            if not weak or len(sizes) > 1:
                return True
    for cue in cues:
        gap = tokens[size.past : cue.first]
        near = "after" in cue.value and 0 <= cue.first - size.past <= _AFTER_REACH
        if (
            near
            and not _interrupted(gap, sizes=sizes, first=size.past, past=cue.first)
            and not _leads(cue, sizes=sizes, tokens=tokens)
        ):
            return True
    return False


def _interrupted(gap: Sequence[Token], *, sizes: Sequence[Part], first: int, past: int) -> bool:
    return any(token.form in _INTERRUPTS for token in gap) or any(first <= size.first < past for size in sizes)


def _leads(cue: Part, *, sizes: Sequence[Part], tokens: list[Token]) -> bool:
    """Whether a cue stands right before another size."""
    return any(
        0 <= size.first - cue.past <= _PRIOR_REACH
        and not _interrupted(tokens[cue.past : size.first], sizes=sizes, first=cue.past, past=size.first)
        for size in sizes
    )


def _share_change(
    mentions: list[list[Mention]], *, parts: Sequence[Part], findings: Sequence[int], tokens: list[Token]
) -> None:
    """A change behind "are", "both" or "all" holds for every finding of the clause that has none of its own."""
    last = parts[findings[-1]]
    changes = [part for part in parts[findings[-1] :] if part.kind == "change"]
    if len(findings) < 2 or not changes:
        return
    words = {token.form for token in tokens[last.past : changes[0].past]}
    if words & {"are", "have", "both", "all", "remain", "sind", "beide", "alle"}:
        for described in mentions[:-1]:
            described[:] = [
                mention
                if mention.change or mention.certainty == "absent"
                else replace(mention, change=changes[0].value)
                for mention in described
            ]
