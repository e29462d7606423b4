"""VQA-RAD questions that are taught are of training images and name no side."""

from __future__ import annotations

import re

from osler.train.lessons import radiology_questions
from osler.train.pictures import split_of
from tests.shared_data import SHARED_DATA, needs_shared_data


@needs_shared_data
def test_no_held_out_image_and_no_side() -> None:
    assert SHARED_DATA is not None
    found = radiology_questions(SHARED_DATA)
    assert len(found) > 100
    assert all(split_of("vqa-rad", patient=name) == "train" for name in found)
    texts = [f"{e.question} {e.answer}" for entries in found.values() for e in entries]
    assert not any(re.search(r"\b(left|right)\b", text, re.IGNORECASE) for text in texts)
