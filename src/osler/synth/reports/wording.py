"""The phrase tables of one language, compiled to numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from osler.synth.fact_table import ACQUISITION_WORDS, CERTAINTIES, CHANGES, SIDES
from osler.synth.ontology import load_ontology
from osler.synth.reports.patterns import Patterns, compile_patterns
from osler.synth.reports.phrase_files import read_rows, read_table
from osler.synth.reports.phrases import PhraseBook, Phrases
from osler.synth.reports.places import apart, attributes, places
from osler.synth.reports.voices import STYLES

KINDS = (*(f"{change}-{kind}" for change in CHANGES for kind in ("u", "m")), "removed")
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
        device: Whether it is put in and taken out.
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
    device: np.ndarray
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


@cache
def load_wording(language: str) -> Wording:
    """Loads and compiles the phrase tables of a language of `LANGUAGES`."""
    return _compile(language, table=read_table(f"{language}.toml"))


def _compile(language: str, *, table: dict[str, Any]) -> Wording:
    book = PhraseBook()
    sentences, start, count = _sentences(table, book=book)
    negatives, use = _negatives(table, book=book)
    parts = {
        "sentences": sentences,
        "sentence_start": start,
        "sentence_count": count,
        "header": compile_patterns(table["header"], book=book),
        "words": _words(table, book=book),
        "since": np.stack([book.add_all(row["texts"]) for row in table["since"]]),
        "negatives": negatives,
        "negative_use": use,
        "advice": _choices(list(table["advice"].values()), book=book),
        "item_numbers": (book.add_all(f"{k}. " for k in range(1, 10)), book.add_all(f"\n{k}. " for k in range(1, 10))),
        "headings": np.stack([book.add_all(table["headings"][section]) for section in SECTIONS]),
        "names": _names(table, book=book),
        "single": {name: book.add(text) for name, text in table["single"].items()},
    }
    parts |= _findings(language, cares=list(table["advice"]), book=book)
    parts |= _places(language, there=table["grammar"]["there"], book=book)
    parts |= _numbers(book, grammar=table["grammar"])
    return Wording(language=language, phrases=book.close(slips=table["slips"]), **parts)


def _words(table: dict[str, Any], *, book: PhraseBook) -> dict[str, np.ndarray]:
    """Slots that are filled with one of several words; those with a dot in their name are no slots of their own."""
    texts: dict[str, list[str]] = dict(table["words"])
    texts |= {f"sex.{name}": words for name, words in table["sexes"].items()}
    texts |= {f"certainty.{name}": words for name, words in table["certainty"].items()}
    for kind in ("severity", "grade"):
        after = table.get(f"{kind}_after", table[kind])
        texts |= {f"{kind}.{name}": words for name, words in table[kind].items()}
        texts |= {f"{kind}.{name}_after": [f", {word.strip()}" for word in words] for name, words in after.items()}
    texts["nothing"] = table["nothing"]["sentences"]
    texts["normal"] = table["impression_negative"]["sentences"]
    texts["normal-slide"] = table["impression_negative_slide"]["sentences"]
    return {name: _word(words, book=book) for name, words in texts.items()}


def _findings(language: str, *, cares: list[str], book: PhraseBook) -> dict[str, Any]:
    """What findings are called, where they stand and how much they matter."""
    ontology, table, organs = load_ontology(), read_rows("findings.csv"), read_rows("organs.csv")
    entries = [table[finding.key] for finding in ontology.findings]
    headings = [_organ_headings(organ[language].split("/"), book=book) for organ in organs.values()]
    return {
        "nouns": _nouns(entries, language=language, book=book),
        "organs": np.stack(headings),
        "organ_of": np.array([list(organs).index(entry["organ"]) for entry in entries]),
        "care": np.array([cares.index(entry["care"]) for entry in entries]),
        "device": np.array([entry["organ"] == "devices" for entry in entries]),
        "graded": np.array([finding.measure is not None for finding in ontology.findings]),
    }


def _places(language: str, *, there: str, book: PhraseBook) -> dict[str, Any]:
    """Where findings are, in the forms that sentences need."""
    rows = places(language)
    plain = [apart(text, row=row) for row in rows for text in row]
    return {
        "places": _choices(rows, book=book),
        "plain_places": book.add_all(f" {text}" if text else "" for text in plain),
        "fronts": book.add_all(text or there for text in plain),
        "lead_ins": book.add_all(f"{text}, " if text else "" for text in plain),
        "comma_places": book.add_all(f", {text}" if text else "" for text in plain),
        "attributes": _choices(attributes(language), book=book),
    }


def _names(table: dict[str, Any], *, book: PhraseBook) -> dict[str, np.ndarray]:
    """Names of the ontology's entries: protocols by side, indications, words of the acquisition."""
    ontology = load_ontology()
    return {
        "protocol": np.stack([book.add_all(_protocols(table, side=side)) for side in SIDES], axis=1),
        "indication": book.add_all(_named(ontology.indications, table=table["indications"], default="text")),
        "acquisition": book.add_all(table["acquisition"].get(word, word) for word in ACQUISITION_WORDS),
    }


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
    spoken = ("narrative", "terse", "narrative")  # by the three styles that have sentences
    return numbers, tuple(np.array([i for i, (row, _) in enumerate(ways) if name in row["use"]]) for name in spoken)


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


def _named(entries: Sequence[Any], *, table: dict[str, str], default: str) -> list[str]:
    return [table.get(entry.key, getattr(entry, default)) for entry in entries]


def _protocols(table: dict[str, Any], *, side: str) -> list[str]:
    names = _named(load_ontology().protocols, table=table["protocols"], default="name")
    return [name.replace("{side}", table["exam_side"][side]) for name in names]


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
