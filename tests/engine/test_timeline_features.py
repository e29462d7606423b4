"""Films in a prompt know the films before them and the record, once the gate over time is open."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest
import torch

from osler.engine.head_features import film_of_each_date
from osler.engine.session import Session
from osler.engine.slab_features import token_starts
from osler.model.osler import Osler
from osler.study import Affine, Study, TimePoint
from osler.weights import Checkpoint
from tests.engine.films import film, film_study, lab, noise_volume

DAYS = (dt.date(2024, 1, 1), dt.date(2024, 2, 11), dt.date(2024, 3, 1))
RECORD = (lab("CRP", 30.0, date=DAYS[0]), lab("crp", 8.0, date=DAYS[1]))


def gated(checkpoint: Checkpoint, gate: float) -> Session:
    model = checkpoint.model
    assert isinstance(model, Osler)
    assert model.temporal is not None
    model.temporal.gate.fill_(gate)
    return Session(checkpoint)


def features(session: Session, study: Study) -> torch.Tensor:
    prepared = session.prepare(study)
    alone = session.encode(prepared)
    joined = session._timelines.joined(alone, session=session, study=study, prepared=prepared)
    assert joined is not None
    return joined


def test_a_closed_gate_leaves_the_features_as_they_are(parts_checkpoint: Checkpoint) -> None:
    session = gated(parts_checkpoint, 0.0)
    study = film_study(*DAYS, events=RECORD)
    alone = session.encode(session.prepare(study))
    assert session._timelines.joined(alone, session=session, study=study, prepared=session.prepare(study)) is alone


def test_an_open_gate_gives_the_tokens_of_encode_timeline(parts_checkpoint: Checkpoint) -> None:
    session = gated(parts_checkpoint, 0.7)
    study = film_study(*DAYS)
    pixels = torch.from_numpy(session.prepare(study).pixels.array())
    wanted = session.model.encode_timeline(pixels[None], days_BT=torch.tensor([[-60.0, -19.0, 0.0]]))[0]
    torch.testing.assert_close(features(session, study), wanted)
    alone = session.encode(session.prepare(study))
    assert alone is not None
    assert not torch.allclose(alone[-1], wanted[-1], atol=1e-3)


def test_only_gaps_count_and_the_record_is_read(parts_checkpoint: Checkpoint) -> None:
    session = gated(parts_checkpoint, 0.7)
    first = features(session, film_study(*DAYS, events=RECORD))
    later = dt.timedelta(days=1000)
    moved = tuple(dataclasses.replace(event, date=event.date + later) for event in RECORD if event.date)
    shifted = features(session, film_study(*(day + later for day in DAYS), events=moved))
    torch.testing.assert_close(first, shifted)
    assert not torch.allclose(first, features(session, film_study(*DAYS)), atol=1e-4)
    one = film_study(DAYS[0], events=RECORD)
    assert not torch.equal(features(session, one), session.encode(session.prepare(one)))


def test_answers_follow_the_dates(parts_checkpoint: Checkpoint) -> None:
    session = gated(parts_checkpoint, 4.0)
    near, far = film_study(*DAYS), film_study(DAYS[0] - dt.timedelta(days=3000), *DAYS[1:])
    close = session.score(near, "Better?", ["Yes", "No"]).shares()
    assert not np.allclose(close, session.score(far, "Better?", ["Yes", "No"]).shares())
    np.testing.assert_allclose(close, session.score(near, "Better?", ["Yes", "No"]).shares(), rtol=1e-5)
    assert (
        session.ask(near, "Better?", max_tokens=4).text == session.ask(film_study(*DAYS), "Better?", max_tokens=4).text
    )


@pytest.mark.parametrize("visual_tokens", [None, 8])
def test_other_images_keep_their_places(parts_checkpoint: Checkpoint, visual_tokens: int | None) -> None:
    session = gated(parts_checkpoint, 0.7).seeing(visual_tokens)
    points = film_study(*DAYS[:2]).timepoints
    volume = noise_volume(affine=Affine(np.diag([2.0, 2.0, 5.0, 1.0])))
    study = Study(timepoints=(points[0], TimePoint(series=(volume, film(1), film(2, view="LL")), date=DAYS[1])))
    prepared = session.prepare(study)
    films = film_of_each_date(study, prepared)
    alone = session._slabs.encode_shown(prepared, images=session._features)
    joined = session._timelines.joined(alone, session=session, study=study, prepared=prepared)
    assert alone is not None
    assert joined is not None
    count = session.model.config.image_tokens
    starts = token_starts(prepared, image_tokens=count)
    changed = torch.zeros(alone.flatten(0, 1).shape[0], dtype=torch.bool)
    for _, number in films:
        changed[starts[number] : starts[number] + count] = True
    same = (alone == joined).flatten(0, 1).all(-1)
    assert len(films) == 2
    assert torch.equal(same, ~changed)
