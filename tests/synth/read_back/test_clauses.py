"""Scopes within a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from osler.synth.read_back.clauses import Mention, read_sentence


def values(mention: Mention) -> dict[str, Any]:
    empty = Mention()
    return {
        name: getattr(mention, name)
        for name in ("certainty", "side", "size_mm", "prior_mm", "percent", "severity", "change")
        if getattr(mention, name) != getattr(empty, name)
    }


def read(text: str, language: str = "en") -> list[tuple[str, dict[str, Any]]]:
    return [
        (mention.keys[0] if mention.keys else "", values(mention)) for mention in read_sentence(text, language=language)
    ]


@pytest.mark.parametrize(
    ("text", "size", "prior"),
    [
        ("pulmonary nodule of 12 mm", 12, None),
        ("1.2 x 0.9 cm pulmonary nodule", 12, None),
        ("pulmonary nodule, 9 x 12 mm", 12, None),
        ("12-mm pulmonary nodule, previously 9 mm", 12, 9),
        ("pulmonary nodule, 9 mm before, 12 mm now", 12, 9),
        ("pulmonary nodule has grown from 9 to 12 mm", 12, 9),
        ("pulmonary nodule increased from 0.9 cm to 1.2 cm", 12, 9),
        ("pulmonary nodule was 9 mm and now measures 12 mm", 12, 9),
        ("since the exam 30 days earlier the pulmonary nodule measures 12 mm (prior 9 mm)", 12, 9),
        ("compared with 30 days ago, pulmonary nodule measures 12 mm", 12, None),
        ("the pulmonary nodule of 9 mm has resolved", None, 9),
        ("pulmonary nodule measuring twelve mm", 12, None),
    ],
)
def test_sizes_now_and_before(text: str, size: float | None, prior: float | None) -> None:
    (mention,) = read_sentence(text)
    assert (mention.size_mm, mention.prior_mm) == (size, prior)


@pytest.mark.parametrize(
    "text",
    [
        "no pneumothorax, pleural effusion or consolidation",
        "pneumothorax, pleural effusion and consolidation are absent",
        "without evidence of pneumothorax, pleural effusion, or consolidation",
        "neither pneumothorax nor pleural effusion nor consolidation is seen",
    ],
)
def test_a_negation_holds_for_the_whole_list(text: str) -> None:
    assert read(text) == [
        (key, {"certainty": "absent"}) for key in ("pneumothorax", "pleural-effusion", "consolidation")
    ]


def test_a_negation_ends_with_its_clause() -> None:
    assert read("no pneumothorax but there is a small left pleural effusion") == [
        ("pneumothorax", {"certainty": "absent"}),
        ("pleural-effusion", {"side": "left", "severity": "mild"}),
    ]
    assert read("pleural effusion: none; pneumothorax: yes")[1] == ("pneumothorax", {})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("pneumonia cannot be excluded", {"certainty": "possible"}),
        ("possible pneumonia", {"certainty": "possible"}),
        ("findings suspicious for pneumonia", {"certainty": "probable"}),
        ("pneumonia is likely", {"certainty": "probable"}),
        ("pneumonia is no longer seen", {"change": "resolved"}),
        ("no change in the pneumonia", {"change": "stable"}),
        ("pneumonia is not significantly changed", {"change": "stable"}),
        ("pneumonia has partially cleared", {"change": "smaller"}),
        ("pneumonia was not present on the prior exam", {"change": "new"}),
        ("the pneumonia has resolved", {"change": "resolved"}),
        ("severe pneumonia, worse than before", {"severity": "severe", "change": "larger"}),
    ],
)
def test_certainty_and_change(text: str, values: dict[str, Any]) -> None:
    assert read(text) == [("pneumonia", values)]


def test_attributes_go_to_the_nearest_finding() -> None:
    assert read("12 mm pulmonary nodule and moderate right pleural effusion, unchanged") == [
        ("pulmonary-nodule", {"size_mm": 12}),
        ("pleural-effusion", {"side": "right", "severity": "moderate", "change": "stable"}),
    ]


def test_a_change_behind_are_holds_for_all() -> None:
    assert [found["change"] for _, found in read("pneumonia and pleural effusion are unchanged")] == [
        "stable",
        "stable",
    ]


def test_several_places_with_sizes_are_several_lesions() -> None:
    first, second = read_sentence("pulmonary nodules in the right upper lobe (5 mm) and in the lingula (7 mm)")
    assert (first.size_mm, second.size_mm) == (5, 7)
    assert (first.sites[0][0], second.sites[0][0]) == ("right-upper-lobe", "lingula")


def test_a_label_names_nothing_itself() -> None:
    assert read("lymph nodes and vessels: aortic calcification") == [("aortic-calcification", {})]
    assert read("pleural effusion: none") == [("pleural-effusion", {"certainty": "absent"})]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("kein pleuraerguss", {"certainty": "absent"}),
        ("pleuraerguss nicht nachweisbar", {"certainty": "absent"}),
        ("pleuraerguss nicht auszuschließen", {"certainty": "possible"}),
        ("pleuraerguss nicht mehr abgrenzbar", {"change": "resolved"}),
        (
            "ausgeprägter pleuraerguss links, nicht verändert",
            {"severity": "severe", "side": "left", "change": "stable"},
        ),
        ("pleuraerguss beidseits, geringer ausgeprägt", {"side": "both", "change": "smaller"}),
    ],
)
def test_german(text: str, values: dict[str, Any]) -> None:
    assert read(text, "de") == [("pleural-effusion", values)]


def test_german_sizes() -> None:
    (mention,) = read_sentence("lungenrundherd von 0,9 cm auf 1,2 cm größenprogredient (+33%)", language="de")
    assert (mention.size_mm, mention.prior_mm, mention.percent, mention.change) == (12, 9, 33, "larger")


@pytest.mark.parametrize(
    "text", ["the chest tube has been removed", "interval removal of the chest tube", "chest tube removed"]
)
def test_a_removed_device_is_gone(text: str) -> None:
    assert read(text) == [("chest-tube", {"change": "resolved"})]
