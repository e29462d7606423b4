"""Slides follow the facts of a histology exam."""

from __future__ import annotations

import numpy as np
import pytest

from osler.errors import RequestError
from osler.synth.draw import draw_facts
from osler.synth.facts import Acquisition, Anatomy, Exam, FindingFact, PatientFacts
from osler.synth.histology import render_tile, slide_spec
from osler.synth.histology.spec import tumor_depth

ANATOMY = Anatomy(
    height_cm=170, weight_kg=70, half_width_mm=160, half_depth_mm=105, trunk_mm=620, head_mm=(68, 85, 60), knee_mm=78,
    shape=5,
)  # fmt: skip


def exam(organ: str, *findings: FindingFact, number: int = 0) -> Exam:
    acquisition = Acquisition(
        device="WSI-20", rows=8192, columns=8192, slices=1, pixel_mm=0.0005, stain="H&E", magnification=20
    )
    return Exam(
        number=number, day=0, protocol=f"he-{organ}", modality="SM", region="chest", indication="mass",
        acquisition=acquisition, findings=findings,
    )  # fmt: skip


def patient(*exams: Exam) -> PatientFacts:
    return PatientFacts(
        seed=1, number=2, sex="female", age=60, anatomy=ANATOMY, conditions=(), exams=exams, labs=(), medications=()
    )


def finding(key: str, **facts: object) -> FindingFact:
    return FindingFact(**{"key": key, "lesion": 0, "certainty": "present", **facts})


@pytest.mark.parametrize(
    ("organ", "key", "severity", "pattern"),
    [
        ("colon", "colorectal-adenocarcinoma", "mild", "colon-grade-1"),
        ("breast", "invasive-ductal-carcinoma", "severe", "breast-grade-3"),
        ("prostate", "prostate-adenocarcinoma", "mild", "prostate-gleason-3"),
        ("prostate", "prostate-adenocarcinoma", "severe", "prostate-gleason-5"),
        ("lung", "small-cell-lung-carcinoma", "none", "lung-small-cell"),
    ],
)
def test_a_tumor_has_the_pattern_of_its_grade(organ: str, key: str, severity: str, pattern: str) -> None:
    one = exam(organ, finding(key, severity=severity, size_mm=9))
    spec = slide_spec(patient(one), exam=one)
    assert [place.pattern for place in spec.tumors] == [pattern]
    x, y = (round(mm / spec.pixel_mm) for mm in spec.tumors[0].center_mm)
    assert render_tile(spec, column=x - 150, row=y - 150, width=300, height=300).counts["tumor"] > 15


def test_a_small_tumor_is_shown_at_its_size() -> None:
    one = exam("colon", finding("tubular-adenoma", size_mm=1))
    spec = slide_spec(patient(one), exam=one)
    x, y = np.meshgrid(np.arange(0, 2048, 4.0), np.arange(0, 2048, 4.0))
    inside = tumor_depth(spec, spec.tumors[0], x=x, y=y) > 0
    assert 700 < 4 * inside.any(axis=0).sum() < 1350


def test_denied_and_resolved_findings_are_not_drawn() -> None:
    denied = FindingFact(key="colorectal-adenocarcinoma", lesion=0, certainty="absent")
    gone = finding("chronic-active-colitis", change="resolved")
    one = exam("colon", denied, gone)
    spec = slide_spec(patient(one), exam=one)
    assert spec.tumors == ()
    assert spec.inflammation == 1.0


def test_necrosis_inflammation_and_soot_follow_their_findings() -> None:
    cancer = finding("lung-adenocarcinoma", severity="moderate", size_mm=8)
    one = exam("lung", cancer, finding("tumor-necrosis", severity="severe"), finding("anthracosis", severity="severe"))
    spec = slide_spec(patient(one), exam=one)
    assert spec.tumors[0].necrosis > 0.3
    assert spec.pigment > 0
    plain = exam("lung", cancer)
    less = slide_spec(patient(plain), exam=plain)
    tiles = [render_tile(each, column=1500, row=1500, width=800, height=800) for each in (spec, less)]
    assert tiles[0].counts["debris"] > tiles[1].counts["debris"]
    assert (tiles[0].pixels.max(axis=-1) < 60).sum() > (tiles[1].pixels.max(axis=-1) < 60).sum()


def test_another_exam_is_another_slide() -> None:
    first, second = exam("colon", number=0), exam("colon", number=1)
    person = patient(first, second)
    assert slide_spec(person, exam=first) == slide_spec(person, exam=first)
    assert slide_spec(person, exam=first).key != slide_spec(person, exam=second).key


def test_every_drawn_slide_renders() -> None:
    table = draw_facts(seed=4, patients=np.arange(300))
    slides = [
        (person, one) for person in map(table.patient, range(300)) for one in person.exams if one.modality == "SM"
    ]
    assert len(slides) > 10
    for person, one in slides[:20]:
        spec = slide_spec(person, exam=one)
        tile = render_tile(spec, column=int(1.0 / spec.pixel_mm), row=int(1.0 / spec.pixel_mm), width=64, height=64)
        assert tile.pixels.shape == (64, 64, 3)


def test_another_exam_has_no_slide() -> None:
    one = exam("liver")
    with pytest.raises(RequestError, match=r"'he-liver' has no slide.*he-breast, he-colon"):
        slide_spec(patient(one), exam=one)
