"""Whole reports: as a radiologist might dictate them, as the generator renders them, and anything else."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.synth.draw import draw_facts
from osler.synth.read_back import Factuality, factuality, read_report
from osler.synth.reports.render import render_texts

DICTATED = """EXAMINATION: CT of the chest without contrast
HISTORY: 67-year-old smoker. Rule out pneumonia.
COMPARISON: CT from 92 days ago.

FINDINGS:
Lungs: In the RUL, there's a spiculated 1.4 x 1.1 cm nodule (series 3, image 45), previously 11 mm. A second nodule
in the left lower lobe measures 6 mm and is unchanged. No consolidation or ground-glass opacities.
Pleura: Small left effusion, new. Pneumothorax: none.
Heart size is normal. Mild coronary calcifications.

IMPRESSION:
1. Growing right upper lobe nodule.
2. New small left pleural effusion. Mediastinal lymphadenopathy cannot be excluded."""
ODD = {
    "spaces": " " * 100_000,
    "one word": "a" * 100_000,
    "digits": "1" * 100_000,
    "products": "1 x " * 25_000,
    "headings": "findings\n" * 11_000,
    "brackets": "(" * 100_000,
    "denials": "no nodule, " * 9_000,
    "lesions": "another 5 mm nodule in the right upper lobe. " * 2_200,
    "stars": ("**findings " + " " * 50) * 1_600,
    "control characters": "".join(chr(i % 32) for i in range(100_000)),
    "another language": "右肺上叶结节，大小约12毫米。" * 7_000,
    "surrogates": "\ud800nodule\udfff" * 1_000,
}


def test_a_dictated_report() -> None:
    facts = [
        (f.key, f.certainty, f.side, f.site, f.size_mm, f.prior_size_mm, f.severity, f.change)
        for f in read_report(DICTATED).findings
    ]
    assert facts == [
        ("pulmonary-nodule", "present", "right", "right-upper-lobe", 14, 11, "none", "larger"),
        ("pulmonary-nodule", "present", "left", "left-lower-lobe", 6, None, "none", "stable"),
        ("consolidation", "absent", "none", "", None, None, "none", "first"),
        ("ground-glass-opacity", "absent", "none", "", None, None, "none", "first"),
        ("pleural-effusion", "present", "left", "", None, None, "mild", "new"),
        ("pneumothorax", "absent", "none", "", None, None, "none", "first"),
        ("cardiomegaly", "absent", "none", "", None, None, "none", "first"),
        ("coronary-artery-calcification", "present", "none", "", None, None, "mild", "first"),
        ("mediastinal-lymphadenopathy", "possible", "none", "", None, None, "none", "first"),
    ]


def test_what_is_asked_for_is_not_found() -> None:
    assert read_report("Indication: pneumonia.\nFindings: Unremarkable.\n").findings == ()


def test_the_side_of_a_knee_comes_from_the_title() -> None:
    read = read_report("MR left knee\nFindings: Tear of the medial meniscus.")
    assert read.exam_side == "left"
    assert [(fact.key, fact.side) for fact in read.findings] == [("medial-meniscal-tear", "left")]


def test_a_german_report() -> None:
    text = "MRT Kniegelenk rechts\nBefund: Innenmeniskusriss im Innenmeniskus (8 mm), neu. Kein Gelenkerguss.\n"
    facts = [(f.key, f.certainty, f.side, f.size_mm, f.change) for f in read_report(text).findings]
    assert facts == [
        ("medial-meniscal-tear", "present", "right", 8, "new"),
        ("joint-effusion", "absent", "none", None, "first"),
    ]


def test_rendered_reports_are_read_back() -> None:
    table = draw_facts(seed=4321, patients=np.arange(150))
    texts, _ = render_texts(table)
    total, place = Factuality(), 0
    for row in range(150):
        for exam in table.patient(row).exams:
            total.add(factuality(read_report(texts[place].as_py()), exam.findings))
            place += 1
    assert total.reports == len(texts) > 300
    assert total.recovered() > 0.999, total.failures


def test_a_wrong_report_is_seen_to_be_wrong() -> None:
    table = draw_facts(seed=4321, patients=np.arange(40))
    texts, _ = render_texts(table)
    exams = [exam for row in range(40) for exam in table.patient(row).exams]
    total = Factuality()
    for text, exam in zip(texts.to_pylist(), exams, strict=True):
        flipped = text.replace("left", "~").replace("right", "left").replace("~", "right")
        total.add(factuality(read_report(flipped), exam.findings))
    assert total.score("side").recall < 0.6  # abbreviations and German keep their side
    assert total.failures["wrong side"] > 10


@pytest.mark.parametrize("name", ODD)
def test_any_text_is_read_soon(name: str) -> None:
    read_report("warm up")
    start = time.process_time()
    read_report(ODD[name])
    assert time.process_time() - start < 3


@given(st.text(max_size=300))
def test_no_text_is_an_error(text: str) -> None:
    read_report(text)


def test_shuffled_words_are_no_error() -> None:
    words = DICTATED.split()
    rng = random.Random(0)
    for _ in range(30):
        rng.shuffle(words)
        read_report(" ".join(words))
