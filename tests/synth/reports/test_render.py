"""Reports say what the facts say, in many ways, the same in any batch."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

from osler.synth.draw import draw_facts
from osler.synth.fact_table import SIDES
from osler.synth.facts import Exam, FindingFact
from osler.synth.mirror import mirror_site
from osler.synth.ontology import load_ontology
from osler.synth.reports import LANGUAGES, STYLES, render_texts
from osler.synth.reports.phrase_files import read_rows

_HEADS = {
    "en": r"(?:FINDINGS|Findings):(.*?)\n(?:IMPRESSION|Impression|CONCLUSION|Conclusion):(.*)\Z",
    "de": r"(?:BEFUND|Befund):(.*?)\n(?:BEURTEILUNG|Beurteilung|ZUSAMMENFASSUNG|Zusammenfassung):(.*)\Z",
}


@cache
def sample() -> tuple[list[str], list[str], list[str], list[Exam]]:
    """Texts, languages, styles and exams of some patients."""
    table = draw_facts(seed=11, patients=np.arange(700))
    texts, voices = render_texts(table)
    exams = [exam for row in range(700) for exam in table.patient(row).exams]
    return (
        texts.to_pylist(),
        [LANGUAGES[i] for i in voices.language],
        [STYLES[i] for i in voices.style],
        exams,
    )


def sections(text: str, *, language: str) -> tuple[str, str]:
    """Findings and impression."""
    found = re.search(_HEADS[language], text, re.DOTALL)
    assert found, text
    return found[1], found[2]


@cache
def nouns(key: str, *, language: str) -> tuple[str, ...]:
    row = read_rows("findings.csv")[key][language]
    return tuple(noun.lstrip("+~").partition(":")[0].lower() for noun in row.split("/"))


def sizes(fact: FindingFact, *, language: str) -> set[str]:
    """Both ways to write a size."""
    size = fact.size_mm or 0
    centimeters = f"{size // 10}.{size % 10}"
    return {
        f"{size} mm",
        f"{size}-mm",
        f"{centimeters} cm".replace(".", "," if language == "de" else "."),
        f"{centimeters}-cm",
    }


def test_every_finding_is_named_and_every_size_written() -> None:
    texts, languages, _, exams = sample()
    assert len(texts) == len(exams) > 1500
    for text, language, exam in zip(texts, languages, exams, strict=True):
        findings = sections(text, language=language)[0]
        for fact in exam.findings:
            assert any(noun in findings.lower() for noun in nouns(fact.key, language=language)), (fact.key, text)
            if fact.size_mm is not None:
                assert any(size in findings for size in sizes(fact, language=language)), (fact, text)


def test_sentences_are_clean() -> None:
    texts, languages, _, _ = sample()
    for text, language in zip(texts, languages, strict=True):
        assert not re.search(r"[{}|#^\x00]|  |\.\.| [.,]", text), text
        if language == "en":
            assert not re.search(r"\b[Aa] [aeio]\w|\b[Aa]n [bcdfgjkpqtvwyz]\w", text), text
        assert "nan" not in text.split()
        for line in text.splitlines():
            assert line == line.strip(), repr(line)
            assert line


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_begin_with_capitals(language: str) -> None:
    texts, languages, styles, _ = sample()
    for text, spoken, style in zip(texts, languages, styles, strict=True):
        if spoken == language and style != "template":
            body = sections(text, language=language)[0]
            assert not re.search(r"(?:^|[.]\s)[a-zäöü]", body), text


def test_where_all_findings_are_on_one_side_the_other_is_not_named() -> None:
    texts, languages, _, exams = sample()
    checked = 0
    for text, language, exam in zip(texts, languages, exams, strict=True):
        sides = {fact.side for fact in exam.findings} & {"left", "right", "both"}
        if language != "en" or sides not in ({"left"}, {"right"}) or any(map(_one_sided, exam.findings)):
            continue
        said = set(re.findall(r"\b(left|right|[rl][uml]l)\b", sections(text, language=language)[0].lower()))
        assert not said & ({"right", "rul", "rml", "rll"} if sides == {"left"} else {"left", "lul", "lll"}), text
        checked += 1
    assert checked > 200


def test_a_report_is_the_same_in_any_batch() -> None:
    texts = sample()[0]
    together = draw_facts(seed=11, patients=np.arange(700))
    for patient in (0, 13, 699):
        alone = render_texts(draw_facts(seed=11, patients=np.array([patient])))[0].to_pylist()
        first, last = together.patients.exam_start[patient : patient + 2]
        assert alone == texts[first:last]


def test_another_seed_gives_other_reports() -> None:
    other = render_texts(draw_facts(seed=12, patients=np.arange(50)))[0].to_pylist()
    assert not set(other) & set(sample()[0])


def test_no_two_reports_are_alike() -> None:
    texts = sample()[0]
    assert len(set(texts)) == len(texts)


def test_all_styles_and_languages_are_used() -> None:
    _, languages, styles, _ = sample()
    assert set(styles) == set(STYLES)
    share = Counter(languages)["de"] / len(languages)
    assert 0.06 < share < 0.2


def test_the_impression_of_a_normal_exam_names_no_finding() -> None:
    texts, languages, _, exams = sample()
    normal = 0
    for text, language, exam in zip(texts, languages, exams, strict=True):
        if all(fact.certainty == "absent" for fact in exam.findings):
            impression = sections(text, language=language)[1].lower()
            assert not any(noun in impression for fact in exam.findings for noun in nouns(fact.key, language=language))
            normal += 1
    assert normal > 20


def test_the_most_urgent_finding_leads_the_impression() -> None:
    table = read_rows("findings.csv")
    texts, languages, _, exams = sample()
    for text, language, exam in zip(texts, languages, exams, strict=True):
        lasting = [
            fact for fact in exam.findings if fact.certainty != "absent" and fact.change in ("first", "new", "larger")
        ]
        urgent = [fact for fact in lasting if table[fact.key]["care"] == "urgent"]
        if len(urgent) == 1:
            impression = sections(text, language=language)[1].lower()
            first = min(
                ((impression.find(noun), fact.key) for fact in lasting for noun in nouns(fact.key, language=language)
                 if noun in impression),
                default=(0, ""),
            )  # fmt: skip
            assert any(noun in impression for noun in nouns(urgent[0].key, language=language)), (first, text)


_SWAPPED = {"left": "right", "Left": "Right", "LUL": "RUL", "LLL": "RLL", "LEFT": "RIGHT",
            "links": "rechts", "Links": "Rechts", "linken": "rechten", "linke": "rechte"}  # fmt: skip


def swap_words(text: str) -> str:
    both = _SWAPPED | {there: here for here, there in _SWAPPED.items()}
    return re.sub("|".join(rf"\b{word}\b" for word in both), lambda found: both[found[0]], text)


def test_the_report_of_a_mirrored_patient_is_the_mirrored_report() -> None:
    table = draw_facts(seed=11, patients=np.arange(700))
    ontology = load_ontology()
    keys = [site.key for site in ontology.sites]
    partner = np.array([keys.index(mirror_site(key)) for key in keys] + [-1])
    side = np.array([SIDES.index({"left": "right", "right": "left"}.get(name, name)) for name in SIDES])
    findings = dataclasses.replace(
        table.findings,
        site=partner[table.findings.site].astype(np.int16),
        side=side[table.findings.side].astype(np.int8),
    )
    exams = dataclasses.replace(table.exams, side=side[table.exams.side].astype(np.int8))
    mirrored = render_texts(dataclasses.replace(table, findings=findings, exams=exams))[0].to_pylist()
    texts, _, _, facts = sample()
    compared = 0
    for text, other, exam in zip(texts, mirrored, facts, strict=True):
        if not any(_one_sided(fact) for fact in exam.findings) and not re.search("(?i)quadrant|bauch", text):
            assert swap_words(text) == other
            compared += 1
    assert compared > 800


def _one_sided(fact: FindingFact) -> bool:
    """Whether left and right have words of their own, or one side does not exist."""
    return fact.key == "right-heart-strain" or fact.site in (
        "right-middle-lobe",
        "lingula",
        "ascending-colon",
        "descending-colon",
        "cecum",
        "appendix",
    )
