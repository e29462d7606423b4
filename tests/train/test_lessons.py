"""VQA-RAD questions that are taught are of training images and name no side."""

from __future__ import annotations

import re

import numpy as np

from osler.model.config import get_config
from osler.prepare import preprocess_for
from osler.train.emphasis import Emphasis
from osler.train.lessons import LessonBook, LessonConfig, radiology_questions
from osler.train.pictures import Labels, split_of
from osler.train.samples import SampleMaker
from osler.train.text_questions import open_text_book
from osler.train.volume_renders import Stack
from tests.shared_data import SHARED_DATA, needs_shared_data


@needs_shared_data
def test_no_held_out_image_and_no_side() -> None:
    assert SHARED_DATA is not None
    found = radiology_questions(SHARED_DATA)
    assert len(found) > 100
    assert all(split_of("vqa-rad", patient=name) == "train" for name in found)
    texts = [f"{e.question} {e.answer}" for entries in found.values() for e in entries]
    assert not any(re.search(r"\b(left|right)\b", text, re.IGNORECASE) for text in texts)


def _book(*, blank: float, emphasis: Emphasis) -> LessonBook:
    labels = (
        Labels(modality="xray", region="chest", plane="frontal"),
        Labels(modality="mr", region="head", plane="axial"),
    )
    config = get_config("debug")
    return LessonBook(
        maker=SampleMaker(tokenizer=_Letters(), tokens=config.tokens, preprocess=preprocess_for(config)),
        labels=labels,
        names=(("nih", "1"), ("vqa-rad", "2")),
        stacks=(Stack(first=0, count=4, labels=labels[1]),),
        stack_offset=2,
        blank_rows=range(6, 9),
        text=open_text_book(None),
        radiology={},
        config=LessonConfig(blank=blank),
        emphasis=emphasis,
    )


class _Letters:
    def encode(self, text: str, *, specials: str = "text") -> list[int]:
        return [150 + byte % 100 for byte in text.encode()]

    def decode(self, ids: object) -> str:
        return str(ids)


def test_blank_rows_come_as_often_as_the_recipe_says() -> None:
    rng = np.random.default_rng(0)
    book = _book(blank=0.25, emphasis=Emphasis())
    rows = [book.picture(rng).rows[0] for _ in range(400)]
    assert 60 < sum(row >= 6 for row in rows) < 140
    volumes = [book.volume(rng, most=3).rows for _ in range(200)]
    assert 25 < sum(row[0] >= 6 for row in volumes) < 80
    assert all(len(set(row)) == 1 for row in volumes if row[0] >= 6)
    assert all(max(row) < 6 for row in volumes if row[0] < 6)


def test_emphasis_changes_what_is_taken() -> None:
    rng = np.random.default_rng(0)
    even, tilted = (_book(blank=0.0, emphasis=e) for e in (Emphasis(), Emphasis(xray=0.2, vqa_sections=1.8)))
    shares = [sum(book.picture(rng).rows[0] == 1 for _ in range(400)) / 400 for book in (even, tilted)]
    assert abs(shares[0] - 0.5) < 0.1
    assert shares[1] > 0.8
