"""Change over dates: dates as such do not count, the record does, and nothing is made up."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

import pytest

from osler.engine.heads_progression import event_table, relative_value
from osler.engine.session import Session
from osler.model.heads import CHANGES
from osler.study import ReferenceRange, Study
from osler.weights import Checkpoint
from tests.engine.films import film_study, lab

BOTH = ["pleural effusion", "pneumothorax"]
DAYS = (dt.date(2024, 1, 1), dt.date(2024, 2, 11))
LABS = (lab("crp", 30.0, date=DAYS[0]), lab("wbc", 4.0, date=DAYS[1]), lab("bnp", 9.0, date=DAYS[1]))


@pytest.fixture
def session(parts_checkpoint: Checkpoint) -> Session:
    return Session(parts_checkpoint)


def told(session: Session, study: Study) -> dict[str, tuple[str, float]]:
    found = session.heads["progression"].changes(session, study, findings=BOTH)
    return {entry.finding: (entry.change, entry.probability) for entry in found}


def close(one: dict[str, tuple[str, float]], other: dict[str, tuple[str, float]]) -> bool:
    return one.keys() == other.keys() and all(
        one[name][0] == other[name][0] and one[name][1] == pytest.approx(other[name][1], abs=1e-5) for name in one
    )


def moved(study: Study, *, days: int) -> Study:
    """The same course some time later."""
    shift = dt.timedelta(days=days)
    points = tuple(dataclasses.replace(p, date=p.date and p.date + shift) for p in study.timepoints)
    events = tuple(dataclasses.replace(e, date=e.date and e.date + shift) for e in study.events)
    return dataclasses.replace(study, timepoints=points, events=events)


def force(session: Session, change: str) -> None:
    bias = session.model.heads.progression.mlp[-1].bias  # type: ignore[union-attr]
    bias.zero_()
    bias[CHANGES.index(change)] = 30.0


def test_shifting_all_dates_and_the_order_within_a_day_change_nothing(session: Session) -> None:
    study = film_study(*DAYS, events=LABS)
    expected = told(session, study)
    assert expected
    assert close(told(session, moved(study, days=4000)), expected)
    assert close(told(session, dataclasses.replace(study, events=(LABS[0], LABS[2], LABS[1]))), expected)


def test_the_record_counts_up_to_the_day(session: Session) -> None:
    expected = told(session, film_study(*DAYS))
    late = lab("crp", 90.0, date=DAYS[1] + dt.timedelta(days=1))
    assert close(told(session, film_study(*DAYS, events=(late,))), expected)
    undated = lab("crp", 90.0, date=None)
    assert close(told(session, film_study(*DAYS, events=(undated,))), expected)
    assert not close(told(session, film_study(*DAYS, events=LABS)), expected)


def test_missing_dates_are_read(session: Session) -> None:
    for dates in ((None, None), (DAYS[0], None), (None, DAYS[1])):
        for _, probability in told(session, film_study(*dates, events=LABS)).values():
            assert 0 < probability <= 1


@pytest.mark.parametrize("change", ["new", "resolved", "worsened", "improved", "stable"])
def test_the_likeliest_change_is_told(session: Session, change: str) -> None:
    force(session, change)
    assert {found for found, _ in told(session, film_study(*DAYS)).values()} == {change}


def test_a_finding_absent_at_both_dates_has_no_entry(session: Session) -> None:
    force(session, "absent")
    assert told(session, film_study(*DAYS)) == {}


def test_a_finding_known_to_be_there_gets_the_likeliest_of_the_changes(session: Session) -> None:
    force(session, "absent")
    session.model.heads.progression.mlp[-1].bias[CHANGES.index("resolved")] = 20.0  # type: ignore[union-attr]
    found = session.heads["progression"].changes(session, film_study(*DAYS), findings=BOTH, known="there")
    assert [(entry.finding, entry.change) for entry in found] == [(name, "resolved") for name in BOTH]
    assert all(entry.probability > 0.9 for entry in found)


def test_without_two_dates_it_cannot_tell(session: Session) -> None:
    for study in (film_study(DAYS[0]), film_study()):
        assert told(session, study) == dict.fromkeys(BOTH, ("cannot tell", 0.0))


def test_values_are_scaled_by_their_range() -> None:
    normal = ReferenceRange(low=2.0, high=10.0)
    assert [relative_value(v, reference=normal) for v in (6.0, 10.0, 2.0)] == [0.0, 1.0, -1.0]
    assert relative_value(5.0, reference=ReferenceRange(high=5.0)) == 1.0
    assert math.isnan(relative_value(5.0, reference=None))
    assert math.isnan(relative_value(5.0, reference=ReferenceRange(low=1.0)))


def test_the_latest_values_are_kept(session: Session) -> None:
    many = [lab("crp", 4.0, date=DAYS[0] + dt.timedelta(days=n)) for n in range(60)]
    table = event_table(session, many, zero=DAYS[1], last=DAYS[0] + dt.timedelta(days=50))
    assert table is not None
    assert table.day_BE.shape == (1, 40)
    assert float(table.day_BE.max()) == (DAYS[0] + dt.timedelta(days=50) - DAYS[1]).days
    assert event_table(session, many, zero=DAYS[1], last=None) is None
    assert event_table(session, [], zero=DAYS[1], last=DAYS[1]) is None
