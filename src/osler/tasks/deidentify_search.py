"""What identifies a patient in an input file, and whether any of it is left in an output.

The last line of defense: whatever the table of the profile says, a file is not written while one of
these values can be found in its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from osler.tasks.deidentify_words import allowed_words

_ENCODINGS = (
    "utf-8", "latin-1", "utf-16-le", "utf-16-be", "iso2022_jp", "euc_kr", "gb18030", "iso8859_2", "iso8859_5",
    "iso8859_6", "iso8859_7", "iso8859_8", "iso8859_9", "shift_jis",
)  # fmt: skip
_LEAST_LETTERS, _LEAST_DIGITS, _LEAST_IN_PIXELS = 4, 6, 8
_LEAST_WORD = 3
_SPACES = " \t\r\n\x00"


@dataclass(slots=True)
class Identifiers:
    """Values that must not be found again.

    Args:
        names: Parts of the names of people.
        numbers: Numbers of patients, visits, devices, and other identifying texts.
        uids: Unique identifiers.
        dates: Dates, eight digits.
    """

    names: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    dates: set[str] = field(default_factory=set)

    def add_name(self, text: str) -> None:
        """Takes the parts of a person's name."""
        for part in re.split(r"[\^=\\\s,.]+", text):
            part = part.strip(_SPACES)
            if len(part) >= _LEAST_WORD or (part and not part.isascii()):
                self.names.add(part)

    def add_text(self, text: str) -> None:
        """Takes a number or another identifying text."""
        text = text.strip(_SPACES)
        if len(text) >= _LEAST_WORD and any(character.isalnum() for character in text):
            self.numbers.add(text)

    def add_date(self, text: str) -> None:
        """Takes a date."""
        digits = re.sub(r"[.\-]", "", text.strip(_SPACES))[:8]
        if len(digits) == 8 and digits.isdecimal():
            self.dates.add(digits)

    def words(self) -> frozenset[str]:
        """All words of names and numbers in lower case, for cleaning texts."""
        parts = (word for text in (*self.names, *self.numbers) for word in re.split(r"[\W_]+", text.lower()))
        return frozenset(word for word in parts if len(word) >= _LEAST_WORD) | {text.lower() for text in self.numbers}

    def merge(self, other: Identifiers) -> None:
        """Adds the names of another file and those of its numbers that are no common word or count by chance."""
        self.names |= other.names
        self.numbers |= {
            text
            for text in other.numbers
            if (digits := sum(character.isdecimal() for character in text)) >= _LEAST_IN_PIXELS
            or (digits and any(character.isalpha() for character in text))
        }

    def in_text(self, text: str, *, coded: bool) -> bool:
        """Whether a text holds one of the values.

        Args:
            text: The value of an element.
            coded: Whether it is a code string, in which words such as HEAD are terms and no names.
        """
        lower = text.lower()
        words = set(re.split(r"[\W_]+", lower))
        for name in self.names:
            part = name.lower()
            if (part in words or (not part.isascii() and part in lower)) and not (coded and part in allowed_words()):
                return True
        for number in self.numbers:
            part = number.lower()
            if coded and part in allowed_words():
                continue
            if _stands_in(lower, part):
                return True
        plain = re.sub(r"[.\-/]", "", text)
        return any(date in plain for date in self.dates) or any(_stands_in(text, uid) for uid in self.uids)


def _stands_in(text: str, part: str) -> bool:
    """Whether a part stands in a text with no letter or digit beside it."""
    start = text.find(part)
    while start >= 0:
        end = start + len(part)
        if not (start and text[start - 1].isalnum()) and not (end < len(text) and text[end].isalnum()):
            return True
        start = text.find(part, start + 1)
    return False


def find_left(data: bytes, *, pixels_at: int, identifiers: Iterable[Identifiers]) -> str:
    """Searches the bytes of an output for identifying values, in every character set that DICOM knows.

    Args:
        data: The file.
        pixels_at: Where its pixels begin; short values occur in pixels by chance and are not searched there.
        identifiers: What to search for.

    Returns:
        The kind of what was found first, never the value; empty if there is none.
    """
    head, tail = data[:pixels_at].lower(), data[pixels_at:]
    lower_tail = tail.lower()
    for known in identifiers:
        for kind, text in _searched(known):
            for encoded in _encoded(text):
                if _bytes_in(head, encoded.lower()):
                    return kind
                if len(encoded) >= _LEAST_IN_PIXELS and _bytes_in(lower_tail, encoded.lower()):
                    return kind
    return ""


def _searched(known: Identifiers) -> Iterator[tuple[str, str]]:
    """What is long enough not to occur by chance."""
    for name in known.names:
        if (len(name) >= _LEAST_LETTERS or not name.isascii()) and name.lower() not in allowed_words():
            yield "a part of a name", name
    for number in known.numbers:
        least = _LEAST_DIGITS if re.fullmatch(r"[\d.\- ]+", number) else _LEAST_LETTERS
        if len(number) >= least and number.lower() not in allowed_words():
            yield "an identifying number or text", number
    yield from (("a unique identifier", uid) for uid in known.uids if len(uid) >= _LEAST_DIGITS)
    yield from (("a date", date) for date in known.dates)


def _encoded(text: str) -> set[bytes]:
    found = set()
    for encoding in _ENCODINGS:
        try:
            found.add(text.encode(encoding))
        except UnicodeEncodeError:
            continue
    # ISO 2022 escapes stand around a word, not in it.
    return {encoded for encoded in found if len(encoded) >= _LEAST_WORD}


def _bytes_in(data: bytes, part: bytes) -> bool:
    start = data.find(part)
    while start >= 0:
        end = start + len(part)
        before = data[start - 1 : start]
        after = data[end : end + 1]
        if not (before.isalnum() or after.isalnum()):
            return True
        start = data.find(part, start + 1)
    return False
