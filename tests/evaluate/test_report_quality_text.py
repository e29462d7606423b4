"""The record of the quality benchmark as Markdown and SVG."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from osler.evaluate.report_quality_text import curve_svg, markdown

CURVE = [
    {"reports": reports, "words": 60 * reports, "grams": 57 * reports, "distinct": 900 + 12 * reports}
    for reports in (100, 1000, 5000)
]
RECORD: dict[str, Any] = {
    "command": "python -m benchmarks.synth_quality SHARDS", "commit": "abc", "shards": 3, "reports": 5000,
    "peak_mb": 300,
    "read-back": {
        "reports": 5000, "recovered": 0.99951, "reports_per_second": 1700,
        "kinds": {"side": {"truth": 200, "right": 199, "recall": 0.995, "read": 199, "precision": 1.0}},
        "failures": {"wrong side": 1}, "by_finding": {"wrong side: pneumonia": 1},
    },
    "duplicates": {
        "repeated": 2, "reports": 5000, "share": 0.0004, "groups": 1,
        "commonest": [{"copies": 3, "text": "Normal\n\nexam."}],
    },
    "variety": {
        "curve": CURVE,
        "lengths": {"findings": {"count": 5000, "mean": 50.5, "p5": 10, "p50": 48, "p95": 99}},
    },
    "identity": {
        "records": 5000, "found": {"name": 0, "date": 1}, "planted": {"name": 10, "date": 10},
        "planted_found": {"name": 10, "date": 9}, "examples": [{"kind": "date", "text": "2019-03-14", "record": 7}],
    },
}  # fmt: skip


def test_every_figure_stands_in_the_text() -> None:
    text = markdown(RECORD)
    for part in (
        "**99.951%** of findings", "| side | 200 | 199 | 99.500% | 199 | 100.000% |", "| wrong side | 1 |",
        "2 of 5,000 reports repeat another one: **0.0400%**", "> Normal\n>\n> exam.", "| findings | 5,000 | 50.5 |",
        "| date | **1** | 10 | 9 |", "date '2019-03-14'",
    ):  # fmt: skip
        assert part in text


def test_steps_that_were_not_run_are_left_out() -> None:
    assert "Near duplicates" not in markdown(RECORD)


@pytest.mark.parametrize("points", [0, 1, 3])
def test_the_curve_is_a_picture_with_a_point_for_each_row(points: int) -> None:
    svg = ElementTree.fromstring(curve_svg({"curve": CURVE[:points]}))
    circles = svg.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == max(points, 2)
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= 560
        assert 0 <= float(circle.attrib["cy"]) <= 320
