"""Sessions on both backends around the same random weights with every part: answers, scores, heads, volumes."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.engine.backend import to_jax
from osler.engine.embedding import image_vectors
from osler.engine.session import Session
from osler.model.osler import Osler
from osler.prepare import preprocess_for
from osler.study import Affine, Study, TimePoint
from osler.weights import Checkpoint
from osler.weights.tokenizer import GemmaTokenizer
from tests.engine.conftest import config, ct_study, parts_model, tokenizer  # noqa: F401 (fixtures)
from tests.engine.films import film_study, lab, noise_volume

DAYS = (dt.date(2024, 1, 1), dt.date(2024, 2, 11), None)
LABS = (lab("crp", 30.0, date=DAYS[0]), lab("wbc", 4.0, date=DAYS[1]), lab("bnp", 9.0, date=DAYS[1], high=None))
BOTH = ["pleural effusion", "pneumothorax"]


@pytest.fixture(scope="module")
def sessions(parts_model: Osler, tokenizer: GemmaTokenizer) -> tuple[Session, Session]:  # noqa: F811
    """PyTorch and JAX."""
    checkpoint = Checkpoint(
        model=parts_model,
        tokenizer=tokenizer,
        preprocess=preprocess_for(parts_model.config),
        name="debug-parts",
        source=Path("random-weights"),
        licence="none",
        trained=frozenset({"answers", "boxes", "findings", "progression", "embeddings"}),
    )
    twin, runner = to_jax(checkpoint)
    return Session(checkpoint), Session(twin, runner=runner)


def test_both_offer_the_same(sessions: tuple[Session, Session]) -> None:
    theirs, ours = sessions
    assert ours.stamp().backend == "jax"
    assert ours.trained == theirs.trained
    assert ours.heads.keys() == theirs.heads.keys() >= {"boxes", "findings", "progression", "embeddings"}


@pytest.mark.parametrize("visual_tokens", ["slices", 20])
def test_a_volume_slice_by_slice_and_as_slabs(visual_tokens, sessions, ct_study: Study) -> None:  # noqa: F811
    answers = [one.seeing(visual_tokens).ask(ct_study, "what is it?", max_tokens=8) for one in sessions]
    assert answers[0].text == answers[1].text
    assert answers[0].used == answers[1].used
    scores = [one.seeing(visual_tokens).score(ct_study, "and now?", ["yes", "no"]) for one in sessions]
    for theirs, ours in zip(scores[0].scored, scores[1].scored, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=2e-4)


def test_questions_with_and_without_images_in_one_batch(sessions, ct_study: Study) -> None:  # noqa: F811
    pairs = [(ct_study, "where?"), (None, "what is a lung?"), (film_study(None), "which side is it on?")]
    texts = [[answer.text for answer in one.ask_many(pairs, max_tokens=6)] for one in sessions]
    assert texts[0] == texts[1]


def test_findings_and_changes_over_dates(sessions) -> None:
    for study in (film_study(DAYS[0]), film_study(*DAYS[:2], events=LABS), film_study(*DAYS)):
        found = [one.heads["findings"].probabilities(one, study, findings=BOTH) for one in sessions]
        assert found[1] == pytest.approx(found[0], abs=1e-5)
        changes = [one.heads["progression"].changes(one, study, findings=BOTH) for one in sessions]
        for theirs, ours in zip(*changes, strict=True):
            assert (ours.finding, ours.change) == (theirs.finding, theirs.change)
            assert ours.probability == pytest.approx(theirs.probability, abs=1e-5)


def test_boxes_on_films_and_in_volumes(sessions) -> None:
    volume = noise_volume(affine=Affine(np.diag([2.0, 2.0, 5.0, 1.0])))
    study = replace(film_study(DAYS[0]), timepoints=(*film_study(DAYS[0]).timepoints, TimePoint(series=(volume,))))
    found = [
        one.heads["boxes"].locate(one, study, labels=["lung", "heart", "rib", "spine", "liver"]) for one in sessions
    ]
    assert len(found[0]) == len(found[1]) > 0
    for theirs, ours in zip(*found, strict=True):
        assert (ours.label, ours.series, ours.image) == (theirs.label, theirs.series, theirs.image)
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)
        for name in ("box", "patient"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert (one is None) == (other is None)
            if one is not None and name == "box":
                edges = [[getattr(box, edge) for edge in ("x0", "y0", "x1", "y1")] for box in (one, other)]
                assert edges[0] == pytest.approx(edges[1], abs=1e-3)
            elif one is not None:
                assert (*one.low, *one.high) == pytest.approx((*other.low, *other.high), abs=1e-3)


def test_vectors_of_images_and_texts(sessions, ct_study: Study) -> None:  # noqa: F811
    vectors = [image_vectors(one, one.prepare(ct_study)) for one in sessions]
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-5)
    texts = [one.heads["embeddings"].text(one, "a large effusion on the left") for one in sessions]
    assert texts[1] == pytest.approx(texts[0], abs=1e-5)
