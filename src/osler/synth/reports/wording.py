"""The phrase tables of one language, compiled to numbers."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from osler.synth.fact_table import CERTAINTIES, CHANGES, SIDES
from osler.synth.ontology import Finding, load_ontology
from osler.synth.reports.patterns import Patterns, compile_patterns
from osler.synth.reports.phrases import PhraseBook, Phrases
from osler.synth.reports.voices import LANGUAGES, STYLES

KINDS = tuple(f"{change}-{kind}" for change in CHANGES for kind in ("u", "m"))
SECTIONS = ("indication", "technique", "comparison", "findings", "impression")
COUNTED, PLURAL, MASS = 0, 1, 2
MOST_MM = 999
MOST_DAYS = 20_000
_GENDERS = 5
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
    """

    choices: Choices
    phrase: np.ndarray
    grammar: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wording:
    """All phrases of a language.

    Args:
        sentences: Patterns of the Findings and Impression sections; ``sentence_start`` and
            ``sentence_count`` have a row for each style (the impression last), kind and certainty.
        negatives: Ways to say that something is absent, see ``en.toml``; by style.
        words: Slot -> (choices, 2) phrases for a single thing and for several.
        places: Choices by `place_row`, with a leading space; ``lead_ins`` and ``comma_places`` are the same
            at the beginning of a sentence and in a list; ``attributes`` as an adjective.
        organs: Heading for each organ, by heading style. organ_of: Organ of each finding.
        attributive: Whether the place may stand before the finding's noun.
        care: Index of ``advice`` for each finding; the smaller the more urgent.
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
    lead_ins: np.ndarray
    comma_places: np.ndarray
    attributes: Choices
    organs: np.ndarray
    organ_of: np.ndarray
    attributive: np.ndarray
    care: np.ndarray
    advice: Choices
    whole: np.ndarray
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
    findings = tomllib.loads(_read("findings.toml"))
    return _compile(language, table=table, findings=findings)


def _compile(language: str, *, table: dict[str, Any], findings: dict[str, Any]) -> Wording:
    ontology = load_ontology()
    book = PhraseBook()
    sentences, start, count = _sentences(table, book=book)
    entries = [findings["finding"].get(finding.key, {}) for finding in ontology.findings]
    organs = list(findings["organs"])
    organ_of = [_organ(finding, entry=entry) for finding, entry in zip(ontology.findings, entries, strict=True)]
    cares = list(table["advice"])
    header = compile_patterns(table["header"], book=book)
    words = {name: _word(texts, book=book) for name, texts in table["words"].items()}
    words |= {f"sex.{name}": _word(texts, book=book) for name, texts in table["sexes"].items()}
    words |= {f"certainty.{name}": _word(texts, book=book) for name, texts in table["certainty"].items()}
    words |= {f"severity.{name}": _word(texts, book=book) for name, texts in table["severity"].items()}
    words |= {
        f"severity.{name}_after": _word([f", {text.strip()}" for text in texts], book=book)
        for name, texts in table["severity"].items()
    }
    words["normal"] = _word(table["impression_negative"]["sentences"], book=book)
    negatives = _negatives(table, book=book)
    places = _places(language)
    parts = dict(
        since=np.stack([book.add_all(row["texts"]) for row in table["since"]]),
        nouns=_nouns(entries, language=language, book=book),
        places=_choices(places, book=book),
        lead_ins=book.add_all(f"{text.strip()}, " if text else "" for row in places for text in row),
        comma_places=book.add_all(f", {text.strip()}" if text else "" for row in places for text in row),
        attributes=_choices(_attributes(language), book=book),
        organs=np.stack([_organ_headings(findings["organs"][organ][language], book=book) for organ in organs]),
        advice=_choices(list(table["advice"].values()), book=book),
        item_numbers=(book.add_all(f"{k}. " for k in range(1, 10)), book.add_all(f"\n{k}. " for k in range(1, 10))),
        headings=np.stack([book.add_all(table["headings"][section]) for section in SECTIONS]),
        names={
            "protocol": book.add_all(_named(ontology.protocols, table=table["protocols"], default="name")),
            "indication": book.add_all(_named(ontology.indications, table=table["indications"], default="text")),
            "acquisition": book.add_all(_acquisition_words(table["acquisition"])),
        },
    )
    numbers = _numbers(book, decimal=table["grammar"]["decimal"])
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
        organ_of=np.array([organs.index(organ) for organ in organ_of]),
        attributive=np.array([entry.get("attributive", False) for entry in entries]),
        care=np.array([cares.index(entry.get("care", "treat")) for entry in entries]),
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
    return np.array([[book.add(form) for form in (text.split("|") * 2)[:2]] for text in texts], dtype=np.int32)


def _negatives(table: dict[str, Any], *, book: PhraseBook) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]:
    """All ways, one for each end of the sentence; and which of them each style uses."""
    ways = [(row, after) for row in table["negative"] for after in row["after"]]
    between = table["negative_between"]
    numbers = {
        "before": np.stack([_by_gender(row["before"], book=book) for row, _ in ways]),
        "after": np.stack([_word([after], book=book)[0] for _, after in ways]),
        "comma": np.stack([_by_gender(between["comma"], book=book)]),
        "last": np.stack([_by_gender(forms, book=book) for forms in between["last"]]),
    }
    use = tuple(
        np.array([i for i, (row, _) in enumerate(ways) if ("narrative" if style == "structured" else style) in row["use"]])
        for style in STYLES[:3]
    )
    return numbers, use


def _by_gender(forms: str, *, book: PhraseBook) -> np.ndarray:
    """Forms for no gender, masculine, feminine, neuter and plural nouns; one form stands for all."""
    texts = forms.split("|")
    return np.array([book.add_wording(text) for text in (texts if len(texts) == _GENDERS else texts * _GENDERS)])


def _choices(rows: Sequence[Sequence[str]], *, book: PhraseBook) -> Choices:
    count = np.array([len(row) for row in rows], dtype=np.int64)
    return Choices(
        numbers=book.add_all(text for row in rows for text in row), start=np.cumsum(count) - count, count=count
    )


def _nouns(entries: Sequence[dict[str, Any]], *, language: str, book: PhraseBook) -> Nouns:
    phrase, grammar, count = [], [], []
    for finding, entry in zip(load_ontology().findings, entries, strict=True):
        nouns = entry.get(language, [finding.name])
        count.append(len(nouns))
        for noun in nouns:
            text, number = _noun(noun)
            phrase.append(book.add(text))
            grammar.append(number)
    count = np.array(count, dtype=np.int64)
    return Nouns(
        choices=Choices(numbers=np.arange(len(phrase)), start=np.cumsum(count) - count, count=count),
        phrase=np.array(phrase, dtype=np.int32),
        grammar=np.array(grammar),
    )


def _noun(text: str) -> tuple[str, int]:
    """Splits ``"+gallstones"`` or ``"Rundherd|m"`` into the noun and its grammar."""
    text, _, gender = text.partition("|")
    number = _MARKS.get(text[0], COUNTED)
    return text.lstrip("+~"), number + 10 * (" mfn".index(gender) if gender else 0)


def _organ_headings(names: Sequence[str], *, book: PhraseBook) -> np.ndarray:
    """(styles, 2): at the beginning of the section, and later."""
    texts = [text for name in names for text in (f"{name}: ", f"{name.upper()}: ")]
    return np.array([[book.add(text), book.add(f"\n{text}")] for text in texts], dtype=np.int32)


def _organ(finding: Finding, *, entry: dict[str, Any]) -> str:
    return entry.get("organ", "other")


def _site_rows() -> dict[str, dict[str, str]]:
    return {row["key"]: row for row in csv.DictReader(_read("sites.csv").splitlines())}


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
_KNEE = {"en": " of the {} knee", "de": " des {} Kniegelenks"}
_GENITIVE = {"left": "linken", "right": "rechten"}


def _places(language: str) -> list[list[str]]:
    """By site (none, each, none in a knee) and side: where a finding is, with a leading space."""
    table, ontology = _site_rows(), load_ontology()
    sides = _SIDE_IN[language]
    rows = [sides[side] for side in SIDES]
    for site in ontology.sites:
        row = table[site.key]
        texts = [f" {text}" for text in row[language].split("|")]
        if language == "en":
            texts.append(f" in {row['short']}" if row["short"] != row["short"].lower() else texts[0])
        for side in SIDES:
            rows.append([*_sided(texts, side=side, site_side=site.side, region=site.region, language=language)])
    return rows + [_of_knee(["", *sides[side][:1]], side=side, language=language)[1:] for side in SIDES]


def _sided(texts: list[str], *, side: str, site_side: str, region: str, language: str) -> list[str]:
    if side in ("none", "midline") or side == site_side:
        return texts
    if region == "knee":
        return texts + _of_knee(texts[:1], side=side, language=language)
    return [text + _SIDE_IN[language][side][0] for text in texts]


def _of_knee(texts: list[str], *, side: str, language: str) -> list[str]:
    """Places in a knee; the side is that of the exam, so it need not be said again."""
    word = {"en": side, "de": _GENITIVE.get(side, "")}[language]
    return [text + _KNEE[language].format(word) for text in texts] if side in ("left", "right") else texts


def _attributes(language: str) -> list[list[str]]:
    """As `_places`, but before the noun: "right upper lobe "; a single empty text where it cannot stand there."""
    table, ontology = _site_rows(), load_ontology()
    plain = [[_SIDE_ATTRIBUTE[side]] if language == "en" else [""] for side in SIDES]
    rows = list(plain)
    for site in ontology.sites:
        for side in SIDES:
            stands = language == "en" and (side in ("none", "midline", site.side) or site.region == "knee")
            rows.append([f"{table[site.key]['attribute']} "] if stands else [""])
    return rows + [[""] for _ in SIDES]


def _named(entries: Sequence[Any], *, table: dict[str, str], default: str) -> list[str]:
    return [table.get(entry.key, getattr(entry, default)) for entry in entries]


def _acquisition_words(table: dict[str, str]) -> list[str]:
    from osler.synth.fact_table import ACQUISITION_WORDS

    return [table.get(word, word) for word in ACQUISITION_WORDS]


def _numbers(book: PhraseBook, *, decimal: str) -> dict[str, np.ndarray]:
    whole = book.add_all(str(value) for value in range(MOST_DAYS))
    tenths = book.add_all(f"{value / 10:g}".replace(".", decimal) for value in range(20_000))
    hundredths = book.add_all(f"{value / 100:g}".replace(".", decimal) for value in range(2_000))
    mm = [f"{value} mm" for value in range(MOST_MM + 1)]
    cm = [f"{value // 10}{decimal}{value % 10} cm" for value in range(MOST_MM + 1)]
    sizes = np.stack([book.add_all(mm), book.add_all(cm)])
    hyphened = np.stack([book.add_all(text.replace(" ", "-") for text in texts) for texts in (mm, cm)])
    return {
        "whole": whole,
        "tenths": tenths,
        "hundredths": hundredths,
        "sizes": sizes,
        "sizes_before_noun": np.stack([sizes, hyphened], axis=1),
    }


