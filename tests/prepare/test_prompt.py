from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace

import pytest

from osler.prepare.chat import ImageSlot
from osler.prepare.prompt import ShownSeries, slice_numbers, study_parts

DAY1, DAY2 = dt.date(2021, 3, 5), dt.date(2021, 9, 5)


def shown(images: int = 1, *, kind: str = "image", timepoint: int = 0, date: dt.date | None = None) -> ShownSeries:
    return ShownSeries(timepoint=timepoint, date=date, images=images, kind=kind)


def parts(*series: ShownSeries, style: str = "labeled") -> list[str]:
    made = study_parts(series, style=style, instruction="Review.", question="Why?")
    return ["<image>" if isinstance(part, ImageSlot) else part for part in made]


@pytest.mark.parametrize("style", ["labeled", "published"])
def test_one_xray_is_image_then_question(style):
    assert parts(shown(), style=style) == ["<image>", "Why?"]


def test_a_caption_stands_before_its_image():
    figures = [replace(shown(), caption=f"Figure {letter}") for letter in "AB"]
    assert parts(*figures, style="published") == ["Figure A", "<image>", "Figure B", "<image>", "Why?"]
    assert parts(figures[0]) == ["Figure A", "<image>", "Why?"]
    assert parts(*figures)[::2] == ["SERIES 1\n\nFigure A", "SERIES 2\n\nFigure B", "Why?"]


def test_text_only_is_the_question():
    assert parts() == ["Why?"]


def test_published_volume_runs_the_question_into_the_last_slice_text():
    """As published: the template trims texts and puts nothing between them."""
    assert parts(shown(2, kind="volume"), style="published") == [
        "Review.", "<image>", "SLICE 1", "<image>", "SLICE 2", "Why?",
    ]  # fmt: skip


def test_labeled_volume_puts_a_blank_line_before_the_question():
    assert parts(shown(2, kind="volume")) == ["Review.", "<image>", "SLICE 1", "<image>", "SLICE 2\n\nWhy?"]


def test_published_pair_is_told_apart_by_order_only():
    pair = (shown(date=DAY1), shown(timepoint=1, date=DAY2))
    assert parts(*pair, style="published") == ["<image>", "<image>", "Why?"]


def test_labeled_pair_has_dates_and_the_gap():
    assert parts(shown(date=DAY1), shown(timepoint=1, date=DAY2)) == [
        "STUDY 1 (2021-03-05)", "<image>", "STUDY 2 (2021-09-05, 184 days later)", "<image>", "Why?",
    ]  # fmt: skip


def test_one_day_is_a_day_and_unknown_dates_are_not_made_up():
    assert parts(
        shown(date=DAY1), shown(timepoint=1, date=DAY1 + dt.timedelta(days=1)), shown(timepoint=2)
    ) == [
        "STUDY 1 (2021-03-05)", "<image>", "STUDY 2 (2021-03-06, 1 day later)", "<image>", "STUDY 3", "<image>",
        "Why?",
    ]  # fmt: skip


def test_several_series_are_numbered_within_their_time_point():
    made = parts(shown(1, kind="volume", date=DAY1), shown(timepoint=1, date=DAY2), shown(timepoint=1, date=DAY2))
    assert made == [
        "Review.\n\nSTUDY 1 (2021-03-05)", "<image>",
        "SLICE 1\n\nSTUDY 2 (2021-09-05, 184 days later)\nSERIES 1", "<image>",
        "SERIES 2", "<image>", "Why?",
    ]  # fmt: skip


@pytest.mark.parametrize(("style", "numbers"), [("labeled", (1, 2, None, 1)), ("published", (1, 2, None, 3))])
def test_slice_numbers_are_those_in_the_text(style, numbers):
    series = (shown(2, kind="volume"), shown(), shown(1, kind="volume"))
    assert slice_numbers(series, style=style) == numbers
    text = " ".join(parts(*series, style=style))
    assert re.findall(r"SLICE (\d+)", text) == [str(number) for number in numbers if number is not None]
