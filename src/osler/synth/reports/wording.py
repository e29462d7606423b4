"""The phrase tables of one language, compiled to numbers."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from osler.synth.anatomy import Site
from osler.synth.fact_table import ACQUISITION_WORDS, CERTAINTIES, CHANGES, SIDES
from osler.synth.ontology import load_ontology
from osler.synth.reports.patterns import Patterns, compile_patterns
from osler.synth.reports.phrases import PhraseBook, Phrases
from osler.synth.reports.voices import LANGUAGES, STYLES

KINDS = tuple(f"{change}-{kind}" for change in CHANGES for kind in ("u", "m"))
SECTIONS = ("indication", "technique", "comparison", "findings", "impression")
COUNTED, PLURAL, MASS = 0, 1, 2
MOST_MM = 999
MOST_DAYS = 20_000
_GENDERS = 5
_INNER = re.compile(r" (?:of|in|within|to|with|after) ")
_MARKS = {"+": PLURAL, "~": MASS}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choices:
    """Rows of choices of several lengths: ``numbers[start[row] + k]`` for ``k`` below ``count[row]``."""

    numbers: np.ndarray
    start: np.ndarray
    count: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nouns:
    """What findings are called.

    Args:
        choices: For each finding, places in ``phrase`` and ``grammar``.
        phrase: Phrase number of each noun.
        grammar: `COUNTED`, `PLURAL` or `MASS`; in German 10 times the gender (1 m, 2 f, 3 n) is added.
        attributive: Whether the place may stand before it: "right upper lobe nodule".
    """

    choices: Choices
    phrase: np.ndarray
    grammar: np.ndarray
    attributive: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wording:
    """All phrases of a language.

    Args:
        sentences: Patterns of the Findings and Impression sections; ``sentence_start`` and
            ``sentence_count`` have a row for each style (the impression last), kind and certainty.
        negatives: Ways to say that something is absent, see ``en.toml``; by style.
        words: Slot -> (choices, 5) phrases by gender, see `_forms`.
        places: Choices by `place_row`, with a leading space. In the same order, ``plain_places`` after a verb,
            ``fronts`` and ``lead_ins`` at the beginning of a sentence, ``comma_places`` in a list.
        attributes: Choices by `place_row`, before the noun.
        organs: Heading for each organ, by heading style. organ_of: Organ of each finding.
        care: Index of ``advice`` for each finding; the smaller the more urgent.
        graded: Whether the finding's severity is the grade of a tumor.
    """

    language: str
    phrases: Phrases
    sentences: Patterns
    sentence_start: np.ndarray
    sentence_count: np.ndarray
    header: Patterns
    words: Mapping[str, np.ndarray]
    since: np.ndarray
    negatives: Mapping[str, np.ndarray]
    negative_use: tuple[np.ndarray, ...]
    nouns: Nouns
    places: Choices
    plain_places: np.ndarray
    fronts: np.ndarray
    lead_ins: np.ndarray
    comma_places: np.ndarray
    attributes: Choices
    organs: np.ndarray
    organ_of: np.ndarray
    care: np.ndarray
    graded: np.ndarray
    advice: Choices
    whole: np.ndarray
    days: np.ndarray
    tenths: np.ndarray
    hundredths: np.ndarray
    sizes: np.ndarray
    sizes_before_noun: np.ndarray
    headings: np.ndarray
    item_numbers: tuple[np.ndarray, np.ndarray]
    names: Mapping[str, np.ndarray]
    single: Mapping[str, int]


def place_row(site: np.ndarray, *, side: np.ndarray, knee: np.ndarray) -> np.ndarray:
    """Row of ``places`` for a site, a side and whether the exam shows one knee."""
    sites = len(load_ontology().sites)
    return np.where((site < 0) & knee, sites + 1, site + 1) * len(SIDES) + side


@cache
def load_wording(language: str) -> Wording:
    """Loads and compiles the phrase tables of a language of `LANGUAGES`."""
    table = tomllib.loads(_read(f"{language}.toml"))
    return _compile(language, table=table)


def _compile(language: str, *, table: dict[str, Any]) -> Wording:
    ontology = load_ontology()
    book = PhraseBook()
    sentences, start, count = _sentences(table, book=book)
    table_of = _rows("findings.csv")
    entries = [table_of[finding.key] for finding in ontology.findings]
    organs = _rows("organs.csv")
    cares = list(table["advice"])
    header = compile_patterns(table["header"], book=book)
    words = {name: _word(texts, book=book) for name, texts in table["words"].items()}
    words |= {f"sex.{name}": _word(texts, book=book) for name, texts in table["sexes"].items()}
    words |= {f"certainty.{name}": _word(texts, book=book) for name, texts in table["certainty"].items()}
    for kind in ("severity", "grade"):
        after = table.get(f"{kind}_after", table[kind])
        words |= {f"{kind}.{name}": _word(texts, book=book) for name, texts in table[kind].items()}
        words |= {
            f"{kind}.{name}_after": _word([f", {text.strip()}" for text in texts], book=book)
            for name, texts in after.items()
        }
    words["nothing"] = _word(table["nothing"]["sentences"], book=book)
    words["normal"] = _word(table["impression_negative"]["sentences"], book=book)
    negatives = _negatives(table, book=book)
    places = _places(language)
    plain = [_apart(text, row=row) for row in places for text in row]
    parts = dict(
        since=np.stack([book.add_all(row["texts"]) for row in table["since"]]),
        nouns=_nouns(entries, language=language, book=book),
        places=_choices(places, book=book),
        plain_places=book.add_all(f" {text}" if text else "" for text in plain),
        fronts=book.add_all(text or table["grammar"]["there"] for text in plain),
        lead_ins=book.add_all(f"{text}, " if text else "" for text in plain),
        comma_places=book.add_all(f", {text}" if text else "" for text in plain),
        attributes=_choices(_attributes(language), book=book),
        organs=np.stack([_organ_headings(organ[language].split("/"), book=book) for organ in organs.values()]),
        advice=_choices(list(table["advice"].values()), book=book),
        item_numbers=(book.add_all(f"{k}. " for k in range(1, 10)), book.add_all(f"\n{k}. " for k in range(1, 10))),
        headings=np.stack([book.add_all(table["headings"][section]) for section in SECTIONS]),
        names={
            "protocol": np.stack([book.add_all(_protocols(table, side=side)) for side in SIDES], axis=1),
            "indication": book.add_all(_named(ontology.indications, table=table["indications"], default="text")),
            "acquisition": book.add_all(_acquisition_words(table["acquisition"])),
        },
    )
    numbers = _numbers(book, grammar=table["grammar"])
    single = {name: book.add(text) for name, text in table["single"].items()}
    return Wording(
        language=language,
        phrases=book.close(slips=table["slips"]),
        sentences=sentences,
        sentence_start=start,
        sentence_count=count,
        header=header,
        words=words,
        negatives=negatives[0],
        negative_use=negatives[1],
        organ_of=np.array([list(organs).index(entry["organ"]) for entry in entries]),
        care=np.array([cares.index(entry["care"]) for entry in entries]),
        graded=np.array([finding.measure is not None for finding in ontology.findings]),
        single=single,
        **parts,
        **numbers,
    )


def _read(name: str) -> str:
    return (files("osler.synth.reports") / "phrases" / name).read_text(encoding="utf-8")


def _sentences(table: dict[str, Any], *, book: PhraseBook) -> tuple[Patterns, np.ndarray, np.ndarray]:
    groups: dict[str, list[str]] = {}
    styles = (*STYLES, "impression")
    for style in styles:
        source = "narrative" if style == "structured" else style
        for kind in KINDS:
            for certainty in CERTAINTIES:
                more = table.get(f"{source}-{certainty}", {}).get(kind, [])
                groups[f"{style}.{kind}.{certainty}"] = ["{lead}" + text for text in [*table[source][kind], *more]]
    groups["negative"] = ["{lead}{neg_before}{noun}{neg_after}"]
    groups["negative-template"] = ["{lead}{box_no}{^}{noun}: {no}"]
    groups["normal"] = ["{lead}{^}{normal}"]
    patterns = compile_patterns(groups, book=book, macros=table["macros"])
    names = [f"{style}.{kind}.{certainty}" for style in styles for kind in KINDS for certainty in CERTAINTIES]
    start, count = patterns.ranges(names)
    shape = (len(styles), len(KINDS), len(CERTAINTIES))
    return patterns, start.reshape(shape), count.reshape(shape)


def _word(texts: Sequence[str], *, book: PhraseBook) -> np.ndarray:
    return np.array([[book.add(form) for form in _forms(text)] for text in texts], dtype=np.int32)


def _forms(text: str) -> list[str]:
    """Forms for no gender, masculine, feminine, neuter and plural, from "all", "one|many" or "m|f|n|many"."""
    forms = text.split("|")
    if len(forms) == 1:
        return forms * _GENDERS
    if len(forms) == 2:
        return [forms[0]] * (_GENDERS - 1) + [forms[1]]
    return [forms[0], *forms]


def _negatives(table: dict[str, Any], *, book: PhraseBook) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]:
    """All ways, one for each end of the sentence; and which of them each style uses."""
    ways = [(row, after) for row in table["negative"] for after in row["after"]]
    between = table["negative_between"]
    numbers = {
        "before": np.stack([_word([row["before"]], book=book)[0] for row, _ in ways]),
        "after": np.stack([_word([after], book=book)[0] for _, after in ways]),
        "comma": np.stack([_word([between["comma"]], book=book)[0]]),
        "last": _word(between["last"], book=book),
    }
    use = tuple(
        np.array([i for i, (row, _) in enumerate(ways) if ("narrative" if style == "structured" else style) in row["use"]])
        for style in STYLES[:3]
    )
    return numbers, use


def _choices(rows: Sequence[Sequence[str]], *, book: PhraseBook) -> Choices:
    count = np.array([len(row) for row in rows], dtype=np.int64)
    return Choices(
        numbers=book.add_all(text for row in rows for text in row), start=np.cumsum(count) - count, count=count
    )


def _nouns(entries: Sequence[dict[str, str]], *, language: str, book: PhraseBook) -> Nouns:
    nouns = [entry[language].split("/") for entry in entries]
    count = np.array([len(row) for row in nouns], dtype=np.int64)
    split = [_noun(noun) for row in nouns for noun in row]
    before = [entry["attribute"] == "yes" for entry, row in zip(entries, nouns, strict=True) for _ in row]
    return Nouns(
        choices=Choices(numbers=np.arange(len(split)), start=np.cumsum(count) - count, count=count),
        phrase=book.add_all(text for text, _ in split),
        grammar=np.array([number for _, number in split]),
        attributive=np.array(
            [stands and not _INNER.search(text) for stands, (text, _) in zip(before, split, strict=True)]
        ),
    )


def _noun(text: str) -> tuple[str, int]:
    """Splits ``"+gallstones"`` or ``"Rundherd:m"`` into the noun and its grammar."""
    text, _, gender = text.partition(":")
    number = _MARKS.get(text[0], COUNTED)
    return text.lstrip("+~"), number + 10 * (" mfnp".index(gender) if gender else 0)


def _organ_headings(names: Sequence[str], *, book: PhraseBook) -> np.ndarray:
    """(styles, 2): at the beginning of the section, and later."""
    texts = [text for name in names for text in (f"{name}: ", f"{name.upper()}: ")]
    return np.array([[book.add(text), book.add(f"\n{text}")] for text in texts], dtype=np.int32)


def _rows(name: str) -> dict[str, dict[str, str]]:
    return {row["key"]: row for row in csv.DictReader(_read(name).splitlines())}


_SIDE_IN = {
    "en": {
        "left": [" on the left", " on the left side"],
        "right": [" on the right", " on the right side"],
        "both": [" bilaterally", " on both sides"],
        "midline": [" in the midline"],
        "none": [""],
    },
    "de": {
        "left": [" links"],
        "right": [" rechts"],
        "both": [" beidseits"],
        "midline": [" in der Mittellinie"],
        "none": [""],
    },
}
_SIDE_ATTRIBUTE = {"left": "left ", "right": "right ", "both": "bilateral ", "midline": "midline ", "none": ""}
_SHIFTED = {"en": " to the {}", "de": " nach {}"}  # of the midline
_KNEE = {"en": " of the {} knee", "de": " des {} Kniegelenks"}
_GENITIVE = {"left": "linken", "right": "rechten"}


def _places(language: str) -> list[list[str]]:
    """By site (none, each, none in a knee) and side: where a finding is, with a leading space."""
    table, ontology = _rows("sites.csv"), load_ontology()
    sides = _SIDE_IN[language]
    rows = [sides[side] for side in SIDES]
    for site in ontology.sites:
        row = table[site.key]
        texts = [f" {text}" for text in row[language].split("|")]
        if language == "en":
            texts.append(f" in {row['short']}" if row["short"] != row["short"].lower() else texts[0])
        for side in SIDES:
            rows.append(_sided(texts, side=side, site=site, language=language))
    return rows + [_of_knee(["", *sides[side][:1]], side=side, language=language)[1:] for side in SIDES]


def _sided(texts: list[str], *, side: str, site: Site, language: str) -> list[str]:
    if side in ("none", "midline") or side == site.side:
        return texts
    if site.key == "falx":
        return [_SHIFTED[language].format(_SIDE_IN[language][side][0].split()[-1])]
    if site.region == "knee":
        return texts + _of_knee(texts[:1], side=side, language=language)
    return [text + _SIDE_IN[language][side][0] for text in texts]


def _apart(text: str, *, row: list[str]) -> str:
    """The place as it stands apart from the noun: "in the liver" where "of the liver" would not do."""
    return (row[0] if text.startswith(" of ") else text).strip()


def _of_knee(texts: list[str], *, side: str, language: str) -> list[str]:
    """Places in a knee; the side is that of the exam, so it need not be said again."""
    word = {"en": side, "de": _GENITIVE.get(side, "")}[language]
    return [text + _KNEE[language].format(word) for text in texts] if side in ("left", "right") else texts


def _attributes(language: str) -> list[list[str]]:
    """As `_places`, but before the noun: "right upper lobe "; a single empty text where it cannot stand there."""
    table, ontology = _rows("sites.csv"), load_ontology()
    plain = [[_SIDE_ATTRIBUTE[side]] if language == "en" else [""] for side in SIDES]
    rows = list(plain)
    for site in ontology.sites:
        for side in SIDES:
            stands = language == "en" and (side in ("none", "midline", site.side) or site.region == "knee")
            rows.append([f"{table[site.key]['attribute']} "] if stands else [""])
    return rows + [[""] for _ in SIDES]


def _named(entries: Sequence[Any], *, table: dict[str, str], default: str) -> list[str]:
    return [table.get(entry.key, getattr(entry, default)) for entry in entries]


def _protocols(table: dict[str, Any], *, side: str) -> list[str]:
    names = _named(load_ontology().protocols, table=table["protocols"], default="name")
    return [name.replace("{side}", table["exam_side"][side]) for name in names]


def _acquisition_words(table: dict[str, str]) -> list[str]:
    return [table.get(word, word) for word in ACQUISITION_WORDS]


def _numbers(book: PhraseBook, *, grammar: dict[str, str]) -> dict[str, np.ndarray]:
    days = [grammar["days"].format(value) for value in range(MOST_DAYS)]
    days[1] = grammar["day"].format(1)
    decimal = grammar["decimal"]
    whole = book.add_all(str(value) for value in range(MOST_DAYS))
    tenths = book.add_all(f"{value / 10:g}".replace(".", decimal) for value in range(20_000))
    hundredths = book.add_all(f"{value / 100:g}".replace(".", decimal) for value in range(2_000))
    mm = [f"{value} mm" for value in range(MOST_MM + 1)]
    cm = [f"{value // 10}{decimal}{value % 10} cm" for value in range(MOST_MM + 1)]
    sizes = np.stack([book.add_all(mm), book.add_all(cm)])
    hyphened = np.stack([book.add_all(text.replace(" ", "-") for text in texts) for texts in (mm, cm)])
    return {
        "whole": whole,
        "days": book.add_all(days),
        "tenths": tenths,
        "hundredths": hundredths,
        "sizes": sizes,
        "sizes_before_noun": np.stack([sizes, hyphened], axis=1),
    }


