"""Prompts are cut between images and after the last one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from osler.engine.chunks import chunk_ends, study_length

IMAGE = 9


def test_an_image_is_never_cut() -> None:
    ids = [1, 1, 1, IMAGE, IMAGE, IMAGE, 2, 1, 1]
    assert chunk_ends(ids, image_token=IMAGE, chunk=4) == [3, 7, 9]


def test_an_image_longer_than_a_part_makes_a_longer_part() -> None:
    ids = [1, *[IMAGE] * 10, 2, 1]
    assert chunk_ends(ids, image_token=IMAGE, chunk=4) == [1, 11, 12, 13]


def test_there_is_a_cut_after_the_last_image() -> None:
    ids = [1, IMAGE, IMAGE, 2, 5, 5, 5]
    assert chunk_ends(ids, image_token=IMAGE, chunk=100) == [4, 7]
    assert study_length(ids, image_token=IMAGE) == 4


def test_text_is_cut_evenly() -> None:
    assert chunk_ends([1] * 10, image_token=IMAGE, chunk=4) == [4, 8, 10]
    assert study_length([1] * 10, image_token=IMAGE) == 0


@given(
    parts=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 8)), max_size=6),
    tail=st.integers(1, 9),
    chunk=st.integers(1, 12),
)
def test_cuts_cover_the_prompt_and_spare_every_image(parts: list[tuple[int, int]], tail: int, chunk: int) -> None:
    ids: list[int] = []
    for text, image in parts:
        ids += [1] * text + [5] + [IMAGE] * image + [6]
    ids += [1] * tail
    ends = chunk_ends(ids, image_token=IMAGE, chunk=chunk)
    assert ends[-1] == len(ids)
    assert all(low < high for low, high in zip([0, *ends], ends, strict=False))
    array = np.array(ids)
    assert not any(end < len(ids) and array[end - 1] == IMAGE == array[end] for end in ends)
    if parts:
        assert study_length(ids, image_token=IMAGE) in ends
