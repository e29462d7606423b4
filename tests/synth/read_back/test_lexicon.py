"""Words in their normal form, and the longest phrase."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from osler.synth.ontology import load_ontology
from osler.synth.read_back.lexicon import base_form, expand, find_items, tokenize


def items(text: str, *, language: str = "en") -> list[tuple[str, object]]:
    return [(item.kind, item.value) for item in find_items(tokenize(text, language=language), language=language)]


@pytest.mark.parametrize(
    ("word", "form"),
    [("nodules", "nodule"), ("masses", "mass"), ("oedema", "edema"), ("metastases", "metastasis"), ("twelve", "12"),
     ("biopsies", "biopsy"), ("hydronephrosis", "hydronephrosis")],
)  # fmt: skip
def test_english_words_lose_plural_and_spelling(word: str, form: str) -> None:
    assert base_form(word) == form


@pytest.mark.parametrize("words", [("schwer", "schwere", "schweres"), ("größe", "grösse"), ("Zyste", "Zysten")])
def test_all_cases_of_a_german_word_meet(words: tuple[str, ...]) -> None:
    assert len({base_form(word.lower(), language="de") for word in words}) == 1


def test_hyphens_join_and_decimals_hold() -> None:
    assert [token.form for token in tokenize("12-mm ground-glass 1,5 cm, t4", language="en")] == [
        "12", "mm", "ground", "glass", "1.5", "cm", ",", "t4",
    ]  # fmt: skip


def test_the_longest_phrase_wins_and_findings_go_first() -> None:
    assert items("no longer seen") == [("change", "resolved")]
    assert items("small bowel obstruction") == [("finding", ("small-bowel-obstruction",))]
    assert ("finding", ("thyroid-nodule",)) in items("left thyroid nodule")


def test_one_wrong_letter_in_a_long_word_is_put_right() -> None:
    assert items("hydronephrosiss") == items("hydronephrosis")
    assert items("pnuemothorax") == items("pneumothorax")
    assert items("mess") == []


def test_alternatives_are_written_out() -> None:
    assert expand("(is|are) not (yet|) seen") == ["is not yet seen", "is not seen", "are not yet seen", "are not seen"]


@pytest.mark.parametrize("suffix", ["", "_de"])
def test_every_entry_is_of_the_ontology_and_every_finding_has_words(suffix: str) -> None:
    folder = files("osler.synth.read_back")
    ontology = load_ontology()
    said = tomllib.loads(folder.joinpath(f"findings{suffix}.toml").read_text("utf-8"))
    assert set(said) == {finding.key for finding in ontology.findings}
    places = set(tomllib.loads(folder.joinpath(f"sites{suffix}.toml").read_text("utf-8")))
    keys = {site.key for site in ontology.sites}
    bases = {key.removeprefix("left-").removeprefix("right-") for key in keys}
    assert places <= keys | bases
