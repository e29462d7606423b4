"""Vectors of images and texts in one space."""

from __future__ import annotations

import numpy as np

from osler.engine.embedding import image_vectors
from osler.engine.session import Session
from osler.weights import Checkpoint
from tests.engine.films import film_study


def test_images_and_texts_share_a_space(parts_checkpoint: Checkpoint) -> None:
    session = Session(parts_checkpoint)
    head = session.heads["embeddings"]
    prepared = session.prepare(film_study(*[None] * 9))
    images, text = head.images(prepared), head.text(session, "a small effusion")
    assert images.shape == (9, 16)
    assert text.shape == (16,)
    np.testing.assert_allclose(np.linalg.norm([*images, text], axis=1), 1, atol=1e-5)
    assert np.ptp(images @ text) > 1e-4
    np.testing.assert_array_equal(head.text(session, "word " * 400), head.text(session, "word " * 200))
    np.testing.assert_array_equal(image_vectors(session, prepared), images)


def test_untrained_heads_are_not_used_for_search(parts_checkpoint: Checkpoint) -> None:
    import dataclasses

    session = Session(dataclasses.replace(parts_checkpoint, trained=frozenset({"answers"})))
    assert image_vectors(session, session.prepare(film_study(None))).shape == (1, 64)
