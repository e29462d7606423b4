"""A scan of records for what could identify a person: names, addresses, numbers, UIDs, dates.

Two nets. Patterns find what has a form: dates, telephone numbers, addresses, UIDs,
titles before names. Names without a form are found by exclusion: a capitalized word that
is nowhere in lower case, in no list of medical words and no eponym is suspect, so a name
needs to be in no list to be found. `report_identity_controls` plants identifiers that the
scan must find; a scan is reported together with its controls.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from pydicom.datadict import keyword_dict

from osler.synth.ontology import load_ontology
from osler.synth.read_back.lexicon import base_form, lexicon_words, one_edit

KINDS = ("name", "address", "phone", "uid", "date", "identifier")
_MONTHS = (
    "Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    "Nov(?:ember)?|Dec(?:ember)?|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember"
)
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d\d"
_STREETS = r"street|avenue|boulevard|highway|parkway|crescent"
_STREETS_CAPITAL = (
    r"St|Rd|Road|Ave|Lane|Ln|Drive|Dr|Blvd|Court|Ct|Way|Place|Pl|Square|Sq|Terrace|Close|Hwy|Pkwy|Row|Walk"
)
_NUMBERED = "mrn|medical record|accession|hospital|nhs|ssn|insurance"
_ROLES = (
    r"patient(?:['’]s)?[ _]?name|dictated by|signed by|reported by|read by|transcribed by|reviewed by|approved by|"
    r"referring physician|referring doctor|attending|reporting radiologist|performing physician|operator|requested by"
)
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("name", r"\b(?:Dr|Mr|Mrs|Ms|Miss|Prof|Professor|Doctor|Herr|Frau|Señora?)\b\.? +[A-Z][\w'’-]+"),
    ("name", r"\b(?:DR|MRS|PROF)\b\.? +[A-Z]{3,}"),
    ("name", r"\b(?:dr|mrs|prof)\b\.? +[a-z]{3,}"),
    ("name", r"\b[A-Za-z][\w'’-]+\^[A-Za-z][\w'’-]*"),
    ("name", rf'(?i:\b(?:{_ROLES})\b)["\s:=]*(?!OSLER)[A-Z][\w\'’-]{{2,}}'),
    ("name", r"\b[A-Z][a-z]+, (?:[A-Z]\.|M\.?D\b|DO\b|FRCR\b)"),
    ("address", rf"\b\d{{1,5}}[a-zA-Z]? (?:[\w'’.-]+ ){{1,3}}?(?i:{_STREETS})\b"),
    ("address", rf"\b\d{{1,5}}[a-zA-Z]? (?:[A-Z][\w'’.-]+ ){{1,3}}?(?:{_STREETS_CAPITAL})\b"),
    ("address", r"\b[A-ZÄÖÜ][\wäöüß-]+(?:straße|strasse|gasse|platz|allee|weg) \d{1,4}"),
    ("address", r"(?i:\bp\.?[\s]?o\.? box \d+)"),
    ("address", r"\b[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}\b"),
    ("address", r"\b[A-Z][a-z]+,? [A-Z]{2} \d{5}(?:-\d{4})?\b"),
    ("address", r"\b[A-Z][\w'’]+ (?:[A-Z][a-z]+ ){0,2}(?:Hospital|Clinic|Infirmary)\b"),
    ("phone", r"(?<![\w.])\+\d[\d ().-]{7,18}\d"),
    ("phone", r"(?<![\w.])\(\d{3}\) ?\d{3}[ .-]\d{4}(?!\d|\.\d)"),
    ("phone", r"(?<![\w.-])\d{3}[ .-]\d{3}[ .-]\d{4}(?![\w-]|\.\d)"),
    ("phone", r"(?<![\w.-])0\d{2,5}[ /-]\d{3,8}(?:[ -]\d{2,6}){0,2}(?![\w-]|\.\d)"),
    ("phone", r"(?<![\w.-])[2-9]\d{2}-\d{4}(?![\w-]|\.\d)"),
    ("phone", r"(?i:\b(?:tel|telephone|phone|fax|mobile|pager|bleep|ext)\b)[ .:#\"]*\+?[\d(][\d ().-]{2,18}\d"),
    ("uid", r"(?<![\w.])[0-2](?:\.\d{1,40}){3,}(?![\w])"),
    ("uid", r"(?<![\w.])2\.(?!25\b)\d{1,3}\.\d{10,}(?![\w])"),
    ("date", rf"(?<![\d./-]){_YEAR}([-/.]){_MONTH}\1{_DAY}(?![\d/-])"),
    ("date", rf"(?<![\d./-]){_DAY}([-/.]){_MONTH}\1{_YEAR}(?![\d/-])"),
    ("date", rf"(?<![\d./-]){_MONTH}([-/.]){_DAY}\1{_YEAR}(?![\d/-])"),
    ("date", rf"(?<![\d./-])(?:{_DAY}([/-]){_MONTH}|{_MONTH}[/-]{_DAY})[/-]\d\d(?![\d/-]|\.\d)"),
    ("date", rf"\b(?:{_MONTHS}|May)\.? {_DAY}(?:st|nd|rd|th)?,? {_YEAR}\b"),
    ("date", rf"\b{_DAY}(?:st|nd|rd|th|\.)?[ -](?:of )?(?i:{_MONTHS}|may)\.?,?[ -](?:{_YEAR}|\d\d)\b"),
    ("date", rf"\b(?:{_MONTHS}|May),? (?:of )?{_YEAR}\b"),
    ("date", rf"\b(?:{_MONTHS})\.? {_DAY}(?:st|nd|rd|th)?\b"),
    ("date", rf"(?<![\d.A-Za-z]){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[0-2]\d[0-5]\d[0-5]\d)?(?!\d|\.\d)"),
    ("date", rf"(?i:\b(?:in|since|from|dated|year|of|until)) {_YEAR}(?!\d|\.\d| ?(?:mm|ml|hu|g|mg|cm|m)\b)"),
    ("identifier", r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-]|\.\d)"),
    ("identifier", rf"(?i:\b(?:{_NUMBERED})\b(?: (?:number|no|id))?)[ #:.\"]*[A-Z]{{0,3}}\d{{4,}}"),
    ("identifier", r"[\w.+-]+@[\w-]+\.[\w.]+"),
    ("identifier", r"(?:https?://|www\.)\S+"),
    ("identifier", r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"),
)  # fmt: skip
_COMPILED = tuple((kind, re.compile(pattern)) for kind, pattern in _PATTERNS)
_AROUND = re.compile(r"\(\?<?!(?:[^()\[\]\\]|\\.|\[(?:[^\]\\]|\\.)*\]|\((?:[^()\\]|\\.)*\))*\)")
# What Python's classes hold, as RE2 writes it between brackets.
_UNICODE = {r"\w": r"\pL\pM\pN_", r"\d": r"\p{Nd}", r"\s": r"\pZ\x09-\x0d\x1c-\x1f\x{85}"}
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_STANDARD_ROOT = "1.2.840.10008."
"""DICOM's own UIDs: names of formats, never of a patient."""
_SEEN_OFTEN = 3
_SHORTEST_SLIP = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """Something that may identify a person.

    Args:
        kind: One of `KINDS`.
        record: Number of the record it was (first) found in.
        text: What was found.
    """

    kind: str
    record: int
    text: str


@dataclass(slots=True, kw_only=True)
class IdentityScan:
    """A scan over records, portion by portion.

    Args:
        records: Scanned so far.
        hits: Of the patterns and the list of names; `finish` adds the suspect words.
    """

    records: int = 0
    hits: list[Hit] = field(default_factory=list)
    _capitalized: dict[str, int] = field(default_factory=dict)
    _lower: Counter[str] = field(default_factory=Counter)

    def add(self, texts: Sequence[str]) -> None:
        """Scans records.

        Args:
            texts: All text of each record: the report, its facts and its header, joined by line breaks.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        column = pa.array(texts, type=pa.large_string())
        for (kind, pattern), weaker in zip(_COMPILED, weaker_patterns(), strict=True):
            for row in pc.indices_nonzero(pc.match_substring_regex(column, weaker)).to_pylist():
                for match in pattern.finditer(texts[row]):
                    if kind != "uid" or _is_foreign(match[0]):
                        self.hits.append(Hit(kind=kind, record=self.records + row, text=match[0]))
        self._collect_words(texts)
        self.records += len(texts)

    def finish(self) -> list[Hit]:
        """All hits, with the words that may be names."""
        known = known_words()
        suspect = [
            Hit(kind="name", record=record, text=word)
            for word, record in self._capitalized.items()
            if not _is_known(word.lower(), known=known)
            and self._lower[word.lower()] < _SEEN_OFTEN
            and not self._is_slip(word.lower())
        ]
        names = [
            Hit(kind="name", record=self._capitalized.get(word.title(), -1), text=word)
            for word in sorted(self._lower.keys() & common_names())
        ]
        return sorted(self.hits + suspect + names, key=lambda hit: (KINDS.index(hit.kind), hit.record))

    def _is_slip(self, word: str) -> bool:
        """Whether a long word is a frequent one with a wrong letter (``notted``), as dictation makes it."""
        if len(word) < _SHORTEST_SLIP or word in common_names():
            return False
        return any(
            count >= _SEEN_OFTEN and other[0] == word[0] and abs(len(other) - len(word)) < 2 and one_edit(word, other)
            for other, count in self._lower.items()
        )

    def _collect_words(self, texts: Sequence[str]) -> None:
        for number, text in enumerate(texts, start=self.records):
            for word in set(_TOKEN.findall(text)):
                if word.islower():
                    self._lower[word] += 1
                elif len(word) > 2 and word not in self._capitalized:
                    self._capitalized[word] = number


@cache
def weaker_patterns() -> tuple[str, ...]:
    """The patterns for RE2, which is 10 times as fast, each finding all that its own finds, and more.

    RE2 does not look around and knows no references, and its words and their ends are of ASCII.
    """
    plain = [_AROUND.sub("", pattern).replace(r"\1", "[-/.]").replace(r"\b", "") for _, pattern in _PATTERNS]
    for short, long in _UNICODE.items():
        plain = [pattern.replace(short, long) for pattern in plain]
    return tuple(plain)


def count_kinds(hits: Iterable[Hit]) -> dict[str, int]:
    """Counts hits by kind, kinds without any included."""
    counts = Counter(hit.kind for hit in hits)
    return {kind: counts[kind] for kind in KINDS}


@cache
def known_words() -> frozenset[str]:
    """Words that are no names although they may be capitalized: general, medical, eponyms. Lower case."""
    folder = files("osler.evaluate")
    texts = (folder.joinpath(name).read_text("utf-8") for name in ("general_text.txt", "medical_text.txt"))
    listed = {word.lower() for text in texts for word in _TOKEN.findall(text)}
    known = listed | set(_lines("identity_words.txt")) | lexicon_words() | _header_words()
    return frozenset(known - common_names())


@cache
def common_names() -> frozenset[str]:
    """Given names and family names that are no English or medical words, lower case."""
    return frozenset(_lines("identity_names.txt"))


def _is_known(word: str, *, known: frozenset[str]) -> bool:
    return word in known or base_form(word) in known or base_form(word, language="de") in known


def _header_words() -> set[str]:
    """Keywords of DICOM and words of the ontology."""
    ontology = load_ontology()
    tables = (ontology.findings, ontology.conditions, ontology.labs, ontology.medications, ontology.protocols)
    names = [entry.name for table in tables for entry in table] + [entry.text for entry in ontology.indications]
    return {word.lower() for name in names for word in _TOKEN.findall(name)} | {
        keyword.lower() for keyword in keyword_dict
    }


def _lines(name: str) -> list[str]:
    text = files("osler.evaluate").joinpath(name).read_text("utf-8")
    return [word for line in text.splitlines() if not line.startswith("#") for word in line.split()]


def _is_foreign(uid: str) -> bool:
    return not uid.startswith(("2.25.", _STANDARD_ROOT))
