"""What the confidentiality profile of DICOM (PS3.15 Annex E) asks for, element by element.

The table lies in ``deidentify_profile.tsv``, which names its source and edition.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from pydicom.datadict import tag_for_keyword

from osler.errors import RequestError, unknown_name

EDITION = "PS3.15 2026d"
DeidentifyOption = Literal[
    "modified-dates",
    "full-dates",
    "no-dates",
    "patient-characteristics",
    "device-identity",
    "institution-identity",
    "uids",
    "descriptors",
    "safe-private",
]
OPTIONS: tuple[str, ...] = get_args(DeidentifyOption)
_DATES = ("modified-dates", "full-dates", "no-dates")
Action = Literal["remove", "empty", "dummy", "uid", "keep", "clean"]
_ACTIONS: Mapping[str, Action] = {"X": "remove", "Z": "empty", "D": "dummy", "U": "uid", "K": "keep", "C": "clean"}
# Where the standard leaves a choice by the type of the attribute in its object, the one that keeps every object valid.
_CHOICES: Mapping[str, Action] = {
    "X/D": "dummy", "Z/D": "dummy", "X/Z/D": "dummy", "X/Z": "empty", "X/Z/U*": "uid",
}  # fmt: skip
# Numbers of orders that the table does not name: retired, and still written by old systems.
_BEYOND = (
    "PlacerOrderNumberImagingServiceRequestRetired",
    "FillerOrderNumberImagingServiceRequestRetired",
    "PlacerOrderNumberProcedure",
    "FillerOrderNumberProcedure",
)
# CID 7050, De-identification Method.
METHODS: Mapping[str, tuple[str, str]] = {
    "basic": ("113100", "Basic Application Confidentiality Profile"),
    "pixels": ("113101", "Clean Pixel Data Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "full-dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "modified-dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient-characteristics": ("113108", "Retain Patient Characteristics Option"),
    "device-identity": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "safe-private": ("113111", "Retain Safe Private Option"),
    "institution-identity": ("113112", "Retain Institution Identity Option"),
}
# Of Table E.3.10-1, those that tell how an image was made: (group, creator) -> elements within the block.
SAFE_PRIVATE: Mapping[tuple[int, str], frozenset[int]] = {
    (0x7053, "Philips PET Private Group"): frozenset({0x00, 0x09}),
    (0x2001, "Philips Imaging DD 001"): frozenset({0x03, 0x04}),
    (0x0019, "SIEMENS MR HEADER"): frozenset({0x0C, 0x0D, 0x0E, 0x27}),
    (0x0019, "GEMS_ACQU_01"): frozenset({0x23, 0x24, 0x27}),
    (0x0043, "GEMS_PARM_01"): frozenset({0x27, 0x39}),
    (0x0045, "GEMS_HELIOS_01"): frozenset({0x01, 0x02}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table.

    Args:
        tag: Eight hexadecimal digits; ``x`` stands for any digit.
        name: Name of the attribute.
        basic: Action of the basic profile, such as ``"X/Z"``.
        options: Actions of the options, by option.
    """

    tag: str
    name: str
    basic: str
    options: Mapping[str, str]


@cache
def rules() -> tuple[Rule, ...]:
    """Returns the whole table."""
    text = (files("osler.tasks") / "deidentify_profile.tsv").read_text(encoding="utf-8")
    head, *rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    options = head[2:-1]
    return tuple(
        Rule(
            tag=row[0],
            name=row[-1],
            basic=row[1],
            options={option: action for option, action in zip(options, row[2:-1], strict=True) if action},
        )
        for row in rows
    )


class Profile:
    """The basic profile with options: which action an element gets.

    Args:
        options: Names of options; dates are shifted unless one says otherwise.

    Raises:
        RequestError: If an option is unknown or two of them contradict.
    """

    def __init__(self, options: Collection[str] = ()) -> None:
        for option in options:
            if option not in OPTIONS:
                raise unknown_name("option", name=option, known=OPTIONS)
        dates = [option for option in _DATES if option in options] or ["modified-dates"]
        if len(dates) > 1:
            raise RequestError(
                f"The options {' and '.join(dates)} contradict each other.", allowed=f"One of {', '.join(_DATES)}."
            )
        self.dates = dates[0]
        others = [option for option in OPTIONS if option in options and option not in _DATES]
        self.options: tuple[str, ...] = (*(() if self.dates == "no-dates" else dates), *others)
        exact = {rule.tag: self._of(rule) for rule in rules()}
        self._patterns = [
            (re.compile(tag.replace("x", "[0-9A-F]")), action) for tag, action in exact.items() if "x" in tag
        ]
        self._exact: dict[int, Action] = {int(tag, 16): action for tag, action in exact.items() if "x" not in tag}
        self._exact |= {number: "empty" for keyword in _BEYOND if (number := tag_for_keyword(keyword)) is not None}

    def _of(self, rule: Rule) -> Action:
        for option in self.options:
            if option in rule.options:
                return _ACTIONS[rule.options[option]]
        return _CHOICES.get(rule.basic) or _ACTIONS[rule.basic]

    def action(self, tag: int) -> Action | None:
        """Returns what is done with a public element; ``None`` if the table does not name it."""
        found = self._exact.get(tag)
        if found is None and tag >> 24 in (0x50, 0x60):
            text = f"{tag:08X}"
            found = next((action for pattern, action in self._patterns if pattern.fullmatch(text)), None)
        return found

    def keeps_private(self, *, group: int, creator: str, element: int) -> bool:
        """Whether a private element is among the safe ones and the option asks for them."""
        return "safe-private" in self.options and element in SAFE_PRIVATE.get((group, creator), ())

    def methods(self, *, pixels: bool) -> list[tuple[str, str]]:
        """Codes and meanings of what was done (CID 7050)."""
        names = ["basic", *(["pixels"] if pixels else []), *self.options]
        return [METHODS[name] for name in names]
