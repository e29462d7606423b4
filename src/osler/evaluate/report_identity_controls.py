"""Identifiers planted into copies of records: what a scan for identity must find.

The names are made of syllables here, so no list of names can know them; numbers and
dates are drawn in the forms that real reports and headers hold them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from osler.evaluate.report_identity import KINDS, Hit, IdentityScan

_ONSETS = (
    "Bra",
    "Cal",
    "Dor",
    "Fen",
    "Gal",
    "Hov",
    "Jar",
    "Kel",
    "Lom",
    "Mar",
    "Nol",
    "Quin",
    "Rav",
    "Sel",
    "Tov",
    "Ves",
)
_MIDDLES = ("", "a", "den", "i", "len", "mo", "ri", "sta", "to", "vi")
_ENDS = ("berg", "dale", "ez", "ford", "gren", "ini", "kov", "lund", "ney", "quist", "sson", "wicz", "worth", "zadeh")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "October", "November", "December")


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """An identifier to plant: its kind and the sentence or header line that holds it."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlResult:
    """How many planted identifiers were found.

    Args:
        planted: By kind. found: By kind.
        missed: The sentences that were not.
    """

    planted: dict[str, int]
    found: dict[str, int]
    missed: tuple[str, ...]


def make_controls(count: int, *, seed: int) -> list[Control]:
    """Draws identifiers of every kind in turn.

    Args:
        count: How many in all.
        seed: The same seed gives the same.
    """
    rng = _Draws(seed)
    makers = (_name, _address, _phone, _uid, _date, _identifier)
    return [Control(kind=KINDS[i % len(KINDS)], text=makers[i % len(KINDS)](rng)) for i in range(count)]


def check_controls(records: Sequence[str], *, controls: Sequence[Control]) -> ControlResult:
    """Scans records once more with one identifier planted in each copy.

    Args:
        records: Clean records of the collection.
        controls: Each is planted into the middle of a record, in turn.
    """
    scan = IdentityScan()
    scan.add(records)
    scan.add([_plant(records[i % len(records)], text=control.text) for i, control in enumerate(controls)])
    found_at = {(hit.kind, hit.record - len(records)) for hit in _new(scan.finish(), before=len(records))}
    found = [(control.kind, place) in found_at for place, control in enumerate(controls)]
    planted = Counter(control.kind for control in controls)
    hits = Counter(control.kind for control, ok in zip(controls, found, strict=True) if ok)
    return ControlResult(
        planted={kind: planted[kind] for kind in KINDS},
        found={kind: hits[kind] for kind in KINDS},
        missed=tuple(control.text for control, ok in zip(controls, found, strict=True) if not ok),
    )


def _new(hits: Sequence[Hit], *, before: int) -> Iterator[Hit]:
    return (hit for hit in hits if hit.record >= before)


def _plant(record: str, *, text: str) -> str:
    lines = record.split("\n")
    middle = len(lines) // 2
    return "\n".join([*lines[:middle], text, *lines[middle:]])


class _Draws(random.Random):
    """Draws that give no name twice: the scan says only where a word stood first."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._used: set[str] = set()

    def name(self) -> str:
        while True:
            name = self.choice(_ONSETS) + self.choice(_MIDDLES) + self.choice(_MIDDLES) + self.choice(_ENDS)
            if name not in self._used:
                self._used.add(name)
                return name

    def digits(self, count: int) -> str:
        return "".join(str(self.randrange(10)) for _ in range(count))


def _name(rng: _Draws) -> str:
    first, last = rng.name(), rng.name()
    return rng.choice(
        (
            f"Findings were discussed with {first} {last} by telephone.",
            f"{last} was seen in the emergency department.",
            f"Dr. {last} was informed of the result.",
            f"Electronically signed by {first} {last}, MD",
            f'"PatientName": "{last.upper()}^{first.upper()}"',
            f"The patient, {first[0]}. {last}, has known disease.",
        )
    )


def _address(rng: _Draws) -> str:
    name, number = rng.name(), rng.randrange(1, 2000)
    return rng.choice(
        (
            f"Lives at {number} {name} Street.",
            f"Address {number} {name} Rd, Apt {rng.randrange(1, 30)}",
            f"Seen before at {name} Memorial Hospital.",
            f"{number} {name} avenue",
            f"P.O. Box {number}",
            f"{name}, OH {10000 + rng.randrange(80000)}",
        )
    )


def _phone(rng: _Draws) -> str:
    area = str(rng.randrange(2, 10)) + rng.digits(2)
    return rng.choice(
        (
            f"Call {area}-{rng.digits(3)}-{rng.digits(4)} for questions.",
            f"({area}) {rng.digits(3)}-{rng.digits(4)}",
            f"Reached at +{rng.randrange(1, 99)} {rng.digits(3)} {rng.digits(3)} {rng.digits(4)}.",
            f"pager: {rng.digits(5)}",
            f"Tel. 0{rng.digits(3)}/{rng.digits(6)}",
        )
    )


def _uid(rng: _Draws) -> str:
    roots = ("1.2.840.113619.2.55", "1.3.12.2.1107.5.1.4", "1.2.276.0.7230010.3", "2.16.840.1.114362.1")
    return f'"StudyInstanceUID": "{rng.choice(roots)}.{rng.randrange(10**6, 10**15)}.{rng.randrange(1, 10**6)}"'


def _date(rng: _Draws) -> str:
    year, month, day = rng.randrange(1930, 2030), rng.randrange(1, 13), rng.randrange(1, 29)
    name = rng.choice(_MONTHS)
    return rng.choice(
        (
            f"Comparison: CT of {month}/{day}/{year}.",
            f"Compared with {day}.{month}.{year}",
            f"Prior study dated {year}-{month:02d}-{day:02d}.",
            f'"StudyDate": "{year}{month:02d}{day:02d}"',
            f"Stable since {name} {day}, {year}.",
            f"Seen on {day} {name} {year}.",
            f"Surgery in {year}.",
            f"Prior of {month}/{day}/{year % 100:02d}.",
        )
    )


def _identifier(rng: _Draws) -> str:
    return rng.choice(
        (
            f"MRN: {rng.digits(8)}",
            f'"AccessionNumber": "A{rng.digits(7)}", accession A{rng.digits(7)}',
            f"{rng.digits(3)}-{rng.digits(2)}-{rng.digits(4)}",
            f"write to {rng.name().lower()}@{rng.name().lower()}.org",
            f"https://{rng.name().lower()}.org/{rng.digits(5)}",
        )
    )
