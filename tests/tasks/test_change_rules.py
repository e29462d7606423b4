"""When a measured change counts."""

from __future__ import annotations

import pytest

from osler.study import ClinicalEvent, Evidence, ReferenceRange
from osler.tasks.change_rules import is_finding, lab_change, size_change
from osler.tasks.measurements import LONGEST_EDGE, PIXELS, VOLUME, Measurement


def sized(value: float, *, finding: str = "lung nodule", measure: str = LONGEST_EDGE, unit: str = "mm") -> Measurement:
    return Measurement(finding=finding, measure=measure, value=value, unit=unit, evidence=Evidence(kind="box"))


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (20, 24.0, "stable"),  # 20%, but 4 mm
        (30, 36, "worsened"),
        (30, 35.9, "stable"),
        (30, 21, "improved"),
        (30, 21.1, "stable"),
        (0, 10, "cannot tell"),
    ],
)
def test_longest_edges(before: float, now: float, change: str) -> None:
    assert size_change(sized(before), sized(now)) == change


def test_pixels_have_no_least_growth_and_units_must_agree() -> None:
    assert size_change(sized(20, unit=PIXELS), sized(24, unit=PIXELS)) == "worsened"
    assert size_change(sized(20, unit=PIXELS), sized(24)) == "cannot tell"
    assert size_change(sized(20), sized(24, measure=VOLUME, unit="mL")) == "cannot tell"


@pytest.mark.parametrize(("now", "change"), [(12.5, "worsened"), (12.4, "stable"), (7.5, "improved"), (7.6, "stable")])
def test_volumes(now: float, change: str) -> None:
    before, later = (sized(value, measure=VOLUME, unit="mL") for value in (10, now))
    assert size_change(before, later) == change


def test_larger_is_worse_only_for_a_finding() -> None:
    assert size_change(sized(100, finding="right lung"), sized(150, finding="right lung")) == "cannot tell"
    assert size_change(sized(100, finding="right lung"), sized(101, finding="right lung")) == "stable"
    assert is_finding("Pleural effusion")
    assert not is_finding("label 2")


def lab(value: float | str, *, low: float | None = None, high: float | None = None, **more: str) -> ClinicalEvent:
    reference = None if low is None and high is None else ReferenceRange(low=low, high=high)
    known = {"name": "x", "unit": "mg/L", **more}
    return ClinicalEvent(kind="observation", value=value, reference=reference, **known)


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (lab(12, high=5), lab(80, high=5), "worsened"),
        (lab(80, high=5), lab(12, high=5), "improved"),
        (lab(80, high=5), lab(85, high=5), "stable"),
        (lab(1, high=5), lab(4, high=5), "stable"),
        (lab(140, low=120), lab(80, low=120), "worsened"),
        (lab(80, low=120), lab(130, low=120), "improved"),
        (lab(12, code="1988-5"), lab(80, code="1988-5"), "worsened"),
        (lab(80, code="1988-5"), lab(12, code="1988-5"), "improved"),
        (lab(12), lab(80), "cannot tell"),
        (lab(12), lab(13), "stable"),
        (lab(12, unit="mg/dL"), lab(80), "cannot tell"),
        (lab("positive"), lab(80), "cannot tell"),
        (lab(0, high=5), lab(6, high=5), "worsened"),
    ],
)
def test_laboratory_values(before: ClinicalEvent, now: ClinicalEvent, change: str) -> None:
    assert lab_change(before, now) == change
