"""Laboratory tests that a model writes as JSON: read, matched with those that are wanted, and counted.

The MedGemma 1.5 report (arXiv 2604.05081, 3.2.5) pairs tests by "a multi-phase label matcher", gives
F1 for name, result, unit, specimen, method and time, and a macro F1; it prints no more. Taken
here: tests are matched one to one, by equal names and results, then equal names, then names
of one test in Osler's table: then the name is right. Tests that are left and share more than two
thirds of the words of their names are compared too, and their name is wrong. Another field of
matched tests is right if it says the same, numbers by value and units by their UCUM code;
F1 of each field over all tests of all reports, and the mean over fields.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osler.prepare.chat import THOUGHT_END
from osler.readers.document_names import lab_tests, squeezed
from osler.readers.document_units import ucum_of

FIELDS = ("name", "result", "unit", "specimen", "method", "sample_collection_time")
_NUMBER = re.compile(r"[<>≤≥]?[+-]?\d+(?:\.\d+)?")
_WORD = re.compile(r"[^\W_]+|[#%+]")
_ALIKE = 2 / 3
"""Above it, since "LDL cholesterol, calculated" shares two thirds of its words with that of HDL."""

Test = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Two tests that are compared.

    Args:
        wanted: Place of the one. said: Place of the other.
        named: Whether their names say that they are the same test; else they are only alike.
    """

    wanted: int
    said: int
    named: bool


def read_tests(text: str) -> list[dict[str, str]]:
    """Reads every object with a name from an answer; an answer that was cut off gives those before the cut."""
    said = text.rsplit(THOUGHT_END, 1)[-1]
    decoder = json.JSONDecoder()
    found: list[dict[str, str]] = []
    place = said.find("{")
    while place >= 0:
        try:
            record, end = decoder.raw_decode(said, place)
        except (ValueError, RecursionError):
            record, end = None, place + 1
        if isinstance(record, dict) and "name" in record:
            found.append(plain_test(record))
        else:
            end = place + 1  # what it holds may be tests
        place = said.find("{", end)
    return found


def plain_test(record: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a test as trimmed text; ``null`` is empty."""
    return {name: "" if record[name] is None else str(record[name]).strip() for name in FIELDS if name in record}


def matched(wanted: Sequence[Test], said: Sequence[Test]) -> list[Match]:
    """Pairs tests, each once: those of one name first, then those whose names are alike."""
    phases: tuple[Callable[[Test, Test], float], ...] = (
        lambda one, other: _same_name(one, other) and same_value("result", one, other),
        _same_name,
        _same_test,
        _alike,
    )
    found: list[Match] = []
    for phase in phases:
        taken, used = {match.wanted for match in found}, {match.said for match in found}
        likely = [
            (phase(one, other), -first, -second)
            for first, one in enumerate(wanted)
            for second, other in enumerate(said)
            if first not in taken and second not in used
        ]
        for likeness, first, second in sorted(likely, reverse=True):
            if likeness > 0 and -first not in taken and -second not in used:
                taken.add(-first)
                used.add(-second)
                found.append(Match(wanted=-first, said=-second, named=phase is not _alike))
    return found


def field_counts(wanted: Sequence[Test], said: Sequence[Test]) -> dict[str, tuple[float, float]]:
    """Twice the right values, and wanted and said values together, of each field that the wanted tests have."""
    matches = matched(wanted, said)
    counts = {}
    for name in FIELDS:
        if any(test.get(name) for test in wanted):
            right = sum(
                one.named if name == "name" else same_value(name, wanted[one.wanted], said[one.said]) for one in matches
            )
            given = sum(bool(test.get(name)) for test in (*wanted, *said))
            counts[name] = (2.0 * right, float(given))
    return counts


def same_value(field: str, one: Test, other: Test) -> bool:
    """Whether two tests say the same in a field."""
    first, second = one.get(field, ""), other.get(field, "")
    if not first or not second:
        return False
    if field == "unit" and (code := ucum_of(first)):
        return code == ucum_of(second)
    if field == "sample_collection_time":
        return [int(part) for part in re.findall(r"\d+", first)] == [int(part) for part in re.findall(r"\d+", second)]
    if field == "result" and (numbers := [_number(text) for text in (first, second)]) and None not in numbers:
        return numbers[0] == numbers[1]
    return squeezed(first) == squeezed(second)


def _number(text: str) -> tuple[str, float] | None:
    """A comparator and a number, of text that is nothing else."""
    compact = text.replace(" ", "")
    if not _NUMBER.fullmatch(compact):
        return None
    sign = compact[0] if compact[0] in "<>≤≥" else ""
    return sign, float(compact.removeprefix(sign))


def _same_name(one: Test, other: Test) -> bool:
    name = squeezed(one.get("name", ""))
    return bool(name) and name == squeezed(other.get("name", ""))


def _same_test(one: Test, other: Test) -> bool:
    known = lab_tests().get(squeezed(one.get("name", "")))
    return known is not None and known == lab_tests().get(squeezed(other.get("name", "")))


def _alike(one: Test, other: Test) -> float:
    """How far the share of words that two names have in common lies above that which is needed; else 0."""
    words, others = (Counter(_WORD.findall(test.get("name", "").lower())) for test in (one, other))
    in_all = words.total() + others.total()
    return max(2 * (words & others).total() / in_all - _ALIKE - 1e-9, 0.0) if in_all else 0.0
