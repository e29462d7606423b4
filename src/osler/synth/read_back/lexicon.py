"""The reader's words: phrases of findings, sites and cues, found by longest match.

The phrases stand in the TOML files beside this one. A finding's or site's own name in
the ontology counts as a phrase too, and so do its spelling variants: plural and singular,
British and American, with and without hyphen, one wrong letter in a long word.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from itertools import product
from typing import Any, Literal

from osler.synth.ontology import load_ontology

_TOKEN = re.compile(
    r"(?P<number>(?<!\d)[0-9]{1,6}(?:[.,][0-9]{1,6})?(?!\d))|(?P<word>[^\W\d_]+(?:'[^\W\d_]+|[0-9]{1,2}(?![\d.,]))?)|(?P<mark>[^\w\s]|_)"
)
_KEEP_S = ("ss", "us", "is", "as", "os", "ous", "'s")
Language = Literal["en", "de"]
_SEVERAL = ("finding", "site", "denial", "prior")
"""Kinds whose phrases may have several values at once."""
_FIRST = ("finding", "denial")
_GERMAN_ENDINGS = ("em", "en", "er", "es", "e", "s")
_SHORTEST_STEM = 4
_UMLAUTS = str.maketrans({"ä": "a", "ö": "o", "ü": "u"})
_FUZZY_FROM = 7


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number or mark of a sentence, in its normal form."""

    form: str
    start: int
    end: int
    number: bool


@dataclass(frozen=True, slots=True)
class Item:
    """A phrase that was found.

    Args:
        kind: ``"finding"``, ``"site"``, or the name of a group of cues.
        value: What it stands for.
        first: Place of its first token. past: One past its last.
    """

    kind: str
    value: Any
    first: int
    past: int


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    meanings: list[tuple[str, Any]] = field(default_factory=list)


def tokenize(text: str, *, language: Language) -> list[Token]:
    """Splits a sentence into tokens; hyphens between words are dropped, so ``12-mm`` is ``12 mm``."""
    tokens = []
    for match in _TOKEN.finditer(text):
        raw = match[0]
        if match.lastgroup == "mark":
            if raw == "-" and _is_hyphen(text, place=match.start()):
                continue
            tokens.append(Token(raw, match.start(), match.end(), False))
        elif match.lastgroup == "number":
            tokens.append(Token(raw.replace(",", "."), match.start(), match.end(), True))
        else:
            form = _normal(raw, language)
            tokens.append(Token(form, match.start(), match.end(), form.isascii() and form.isdecimal()))
    return tokens


def find_items(tokens: list[Token], *, language: Language) -> list[Item]:
    """Finds the longest phrases, left to right, without overlap.

    Findings go first: in ``left thyroid nodule`` the site "left thyroid" must not take a word of the finding.
    """
    lexicon = _lexicon(language)
    free = [True] * len(tokens)
    return [*_longest(tokens, root=lexicon.findings, free=free), *_longest(tokens, root=lexicon.others, free=free)]


def _longest(tokens: list[Token], *, root: _Node, free: list[bool]) -> list[Item]:
    items: list[Item] = []
    place, count = 0, len(tokens)
    while place < count:
        node, best, past = root, None, place
        for ahead in range(place, count):
            node = node.children.get(tokens[ahead].form) if free[ahead] else None
            if node is None:
                break
            if node.meanings:
                best, past = node.meanings, ahead + 1
        if best:
            items.extend(Item(kind, value, place, past) for kind, value in best)
            free[place:past] = [False] * (past - place)
            place = past
        else:
            place += 1
    return items


def _is_hyphen(text: str, *, place: int) -> bool:
    return 0 < place < len(text) - 1 and text[place - 1].isalnum() and text[place + 1].isalnum()


@lru_cache(maxsize=65536)
def _normal(word: str, language: Language) -> str:
    """The form under which a word stands in the lexicon; a word with one wrong letter is put right."""
    form = base_form(word, language=language)
    lexicon = _lexicon(language)
    if form in lexicon.words or len(form) < _FUZZY_FROM:
        return form
    candidates = {right for key in _deletions(form) for right in lexicon.nearly.get(key, ())}
    close = [right for right in candidates if one_edit(form, right)]
    return close[0] if len(close) == 1 else form


@lru_cache(maxsize=65536)
def base_form(word: str, *, language: Language = "en") -> str:
    """The form of a word without its ending, in one spelling."""
    return _german_form(word) if language == "de" else _english_form(word)


def _german_form(word: str) -> str:
    """Takes endings off until none is left, so that all cases of a word meet: ``schwere``, ``schweres``, ``schwer``."""
    irregular = _word_forms()["german"]
    if word in irregular:
        return irregular[word]
    word = word.translate(_UMLAUTS).replace("ß", "ss")
    while True:
        ending = next((ending for ending in _GERMAN_ENDINGS if word.endswith(ending)), "")
        if not ending or len(word) - len(ending) < _SHORTEST_STEM or word.endswith("ss"):
            return word
        word = word.removesuffix(ending)


def _english_form(word: str) -> str:
    forms = _word_forms()
    if word in forms["numbers"]:
        return forms["numbers"][word]
    for british, american in forms["spellings"].items():
        if british in word:
            word = word.replace(british, american)
    if word in forms["plurals"]:
        return forms["plurals"][word]
    if word.endswith("'s"):
        word = word[:-2]
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word[-1] == "s" and not word.endswith(_KEEP_S):
        return word[:-1]
    return word


def _deletions(word: str) -> Iterator[str]:
    yield word
    for place in range(len(word)):
        yield word[:place] + word[place + 1 :]


def one_edit(a: str, b: str) -> bool:
    """Whether one letter changed, added, lost or swapped with its neighbor makes ``a`` to ``b``."""
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1:
        return False
    same = 0
    while same < len(a) and a[same] == b[same]:
        same += 1
    if len(a) < len(b):
        return a[same:] == b[same + 1 :]
    swapped = a[:same] + a[same + 1 : same + 2] + a[same : same + 1] + a[same + 2 :]
    return a[same + 1 :] == b[same + 1 :] or swapped == b


@dataclass(frozen=True, slots=True)
class _Lexicon:
    findings: _Node
    others: _Node
    words: frozenset[str]
    nearly: dict[str, tuple[str, ...]]


@cache
def _lexicon(language: Language) -> _Lexicon:
    findings, others = _Node(), _Node()
    words: set[str] = set()
    meanings: dict[tuple[str, ...], dict[str, list[Any]]] = {}
    for kind, value, phrase in _phrases(language):
        forms = tuple(_forms(phrase, language=language))
        words.update(forms)
        values = meanings.setdefault(forms, {}).setdefault(kind, [])
        if value not in values:
            values.append(value)
    for forms, kinds in meanings.items():
        for root, first in ((findings, True), (others, False)):
            found = [
                (kind, tuple(values) if kind in _SEVERAL else values[0])
                for kind, values in kinds.items()
                if (kind in _FIRST) == first
            ]
            if found:
                node = root
                for form in forms:
                    node = node.children.setdefault(form, _Node())
                node.meanings = found
    nearly: dict[str, list[str]] = {}
    for word in words:
        if language == "en" and len(word) >= _FUZZY_FROM and word.isalpha():
            for key in _deletions(word):
                nearly.setdefault(key, []).append(word)
    return _Lexicon(findings, others, frozenset(words), {key: tuple(values) for key, values in nearly.items()})


def _phrases(language: Language) -> Iterator[tuple[str, Any, str]]:
    """Kinds, values and phrases of a language; the ontology's own names, which are English, come first."""
    ontology = load_ontology()
    said, places = _table("findings", language=language), _table("sites", language=language)
    if language == "en":
        for finding in ontology.findings:
            yield "finding", finding.key, finding.name
            yield "finding", finding.key, finding.key.replace("-", " ")
    for finding in ontology.findings:
        entry = said.get(finding.key, {})
        yield from (("finding", finding.key, plain) for phrase in entry.get("say", ()) for plain in expand(phrase))
        yield from (("denial", finding.key, plain) for phrase in entry.get("denied", ()) for plain in expand(phrase))
    for site in ontology.sites:
        base = _without_side(site.key)
        names = (site.key.replace("-", " "), base.replace("-", " ")) if language == "en" else ()
        for phrase in (*names, *places.get(base, ()), *(places.get(site.key, ()) if base != site.key else ())):
            yield from (("site", site.key, plain) for plain in expand(phrase))
    for kind, values in _table("cues", language=language).items():
        for value, phrases in values.items():
            for phrase in phrases:
                yield from ((kind, value, plain) for plain in expand(phrase))


def lexicon_words() -> frozenset[str]:
    """Every word of the lexicon, in its normal form."""
    return _lexicon("en").words | _lexicon("de").words


def expand(phrase: str) -> list[str]:
    """Writes out the alternatives of a phrase: ``(is|are) seen`` is ``is seen`` and ``are seen``."""
    parts = [part.split("|") for part in re.split(r"[()]", phrase)]
    return [" ".join("".join(choice).split()) for choice in product(*parts)]


def _without_side(key: str) -> str:
    return key.removeprefix("right-").removeprefix("left-")


@cache
def _word_forms() -> dict[str, dict[str, str]]:
    return _table("forms", language="en")


def _table(name: str, *, language: Language) -> dict[str, Any]:
    name = f"{name}.toml" if language == "en" else f"{name}_{language}.toml"
    return tomllib.loads(files("osler.synth.read_back").joinpath(name).read_text("utf-8"))


def _forms(phrase: str, *, language: Language) -> Iterable[str]:
    for match in _TOKEN.finditer(phrase.lower()):
        if match.lastgroup == "mark":
            if not (match[0] == "-" and _is_hyphen(phrase, place=match.start())):
                yield match[0]
        else:
            yield match[0] if match.lastgroup == "number" else base_form(match[0], language=language)
