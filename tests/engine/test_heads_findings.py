"""Probabilities of findings: calibrated where they are, none where there is no ground for one."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

import numpy as np
import pytest
import torch

from osler.engine.session import Session
from osler.engine.words import Words
from osler.errors import RequestError
from osler.model.config import HeadsConfig
from osler.prepare import prepare_images
from osler.study import Affine, Study, TimePoint
from osler.weights import Checkpoint
from tests.engine.films import film, film_study, noise_volume

BOTH = ["pleural effusion", "pneumothorax"]


@pytest.fixture
def session(parts_checkpoint: Checkpoint) -> Session:
    head = parts_checkpoint.model.heads.findings  # type: ignore[union-attr]
    head.scale.fill_(torch.nan)
    head.shift.zero_()
    return Session(parts_checkpoint)


def told(session: Session, study: Study) -> dict[str, float | None]:
    return dict(session.heads["findings"].probabilities(session, study, findings=BOTH))


def test_names_are_those_people_ask_for(session: Session) -> None:
    assert session.heads["findings"].findings == frozenset(BOTH)


def test_a_head_that_was_never_calibrated_says_so(session: Session) -> None:
    assert not session.heads["findings"].calibrated
    raw = told(session, film_study(None))
    assert all(p is not None and 0 < p < 1 for p in raw.values())
    head = session.model.heads.findings  # type: ignore[union-attr]
    head.scale[0], head.shift[0] = 2.0, 0.5
    assert session.heads["findings"].calibrated
    found = told(session, film_study(None))
    logit = np.log(raw[BOTH[0]] / (1 - raw[BOTH[0]]))  # type: ignore[operator]
    assert found[BOTH[0]] == pytest.approx(1 / (1 + np.exp(-(2 * logit + 0.5))), rel=1e-4)
    assert found[BOTH[1]] is None


def test_between_the_bounds_of_being_unsure_it_cannot_tell(session: Session) -> None:
    model = session.model
    assert model.heads is not None
    model.heads.findings.scale.fill_(0.0)
    model.heads.findings.shift.copy_(torch.logit(torch.tensor([0.4, 0.8])))
    assert told(session, film_study(None)) == pytest.approx(dict(zip(BOTH, (0.4, 0.8), strict=True)))
    model.heads.config = dataclasses.replace(model.heads.config, unsure=(0.3, 0.6))
    found = told(session, film_study(None))
    assert found[BOTH[0]] is None
    assert found[BOTH[1]] == pytest.approx(0.8)


def test_what_is_no_frontal_xray_is_not_read(session: Session) -> None:
    nothing = dict.fromkeys(BOTH)
    assert told(session, Study(timepoints=(TimePoint(series=(noise_volume(affine=Affine(np.eye(4))),)),))) == nothing
    for series in (film(1, view="LL"), film(1, modality="US"), film(1, modality="CT")):
        assert told(session, Study(timepoints=(TimePoint(series=(series,)),))) == nothing
    assert told(session, Study(timepoints=())) == nothing


def test_the_last_date_with_a_frontal_film_counts(session: Session) -> None:
    days = [dt.date(2024, 1, 1), dt.date(2024, 3, 1)]
    early, late = film(1), film(2)
    points = tuple(TimePoint(series=(series,), date=day) for series, day in zip((early, late), days, strict=True))
    alone = told(session, Study(timepoints=(points[1],)))
    assert told(session, Study(timepoints=points)) == pytest.approx(alone)
    side = dataclasses.replace(points[1], series=(film(3, view="LATERAL"),))
    assert told(session, Study(timepoints=(points[0], side))) == pytest.approx(
        told(session, Study(timepoints=(points[0],)))
    )


def test_what_it_does_not_look_at_need_not_be_prepared(session: Session) -> None:
    days = [dt.date(2024, 1, 1), dt.date(2024, 3, 1), dt.date(2024, 5, 1)]
    volume = noise_volume(affine=Affine(np.eye(4)))
    shown = [(film(1), volume), (film(2), film(3, view="LL"), film(4), volume), (volume,)]
    study = Study(timepoints=tuple(TimePoint(series=series, date=day) for series, day in zip(shown, days, strict=True)))
    less = session.heads["findings"].looked_at(study)
    assert [[one.series for one in point.series] for point in less.timepoints] == [[], ["film-2", "film-4"], []]
    assert [point.date for point in less.timepoints] == days
    seen = session.showing(study, prepare_images(less, preprocess=session.checkpoint.preprocess))
    assert told(seen, study) == told(session, study) != dict.fromkeys(BOTH)
    assert not any(session.heads["findings"].looked_at(Study(timepoints=(TimePoint(series=(volume,)),))).series())


def test_a_picture_without_the_witness_is_not_read(session: Session) -> None:
    heads = session.model.heads
    assert heads is not None
    heads.config = dataclasses.replace(heads.config, witness=("right lung", "left lung"))
    heads.boxes.presence.weight.zero_()
    heads.boxes.presence.bias.fill_(-5.0)
    assert told(session, film_study(None)) == dict.fromkeys(BOTH)
    heads.boxes.presence.bias.fill_(5.0)
    assert all(p is not None for p in told(session, film_study(None)).values())


def prompt(session: Session, study: Study | None, record: str = "") -> list[int]:
    words = Words(question="Is there an effusion?", record=record)
    return np.asarray(session._inputs(study, words, on_progress=None).token_ids).tolist()


def test_the_decoder_is_told_what_it_was_trained_to_be_told(session: Session) -> None:
    study = film_study(None)
    plain, heads = prompt(session, study), session.model.heads
    assert heads is not None
    heads.config = dataclasses.replace(heads.config, told=(heads.config.findings[0],))
    telling = Session(session.checkpoint)
    line = telling.heads["findings"].told(telling, study)
    assert re.fullmatch(r"The findings head reads: pleural effusion: [a-z ]+\.", line)
    assert prompt(telling, study) == prompt(session, study, line) != plain
    assert prompt(telling, study, "Creatinine 1.2.") == prompt(session, study, f"{line}\n\nCreatinine 1.2.")
    for other in (None, Study(timepoints=(TimePoint(series=(film(1, view="LL"),)),))):
        assert prompt(telling, other) == prompt(session, other)


def test_only_findings_of_the_head_can_be_told() -> None:
    with pytest.raises(RequestError, match="told of 'gout'"):
        HeadsConfig(findings=("pneumothorax",), told=("gout",))
