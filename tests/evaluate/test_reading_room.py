"""The simulated reading room against queueing theory, and what an order by urgency can and cannot do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from osler.errors import RequestError
from osler.evaluate.reading_room import (
    FIRST_COME,
    Flagging,
    ReadingRoom,
    compare,
    draw_arrivals,
    reading_starts,
    simulate,
)

pytest.importorskip("simpy", reason="the simulation needs simpy")

PERFECT = Flagging(sensitivity=1.0, specificity=1.0)
ROOM = ReadingRoom(days=12.0)


def test_one_reader_waits_as_pollaczek_and_khinchine_say() -> None:
    room = ReadingRoom(readers=1, utilization=0.7, days=400.0)
    waits = simulate(room, draw_arrivals(room, seed=1), flagging=FIRST_COME)
    mean = np.concatenate((waits.urgent, waits.others)).mean()
    expected = 0.7 / (1 - 0.7) * room.reading_mean * (1 + room.reading_spread**2) / 2
    assert mean == pytest.approx(expected, rel=0.05)


def test_priority_waits_as_cobham_says() -> None:
    room = ReadingRoom(readers=1, utilization=0.8, urgent_share=0.2, days=400.0, bound=1e9, model_minutes=0.0)
    waits = simulate(room, draw_arrivals(room, seed=2), flagging=PERFECT)
    residual = 0.8 * room.reading_mean * (1 + room.reading_spread**2) / 2
    assert waits.urgent.mean() == pytest.approx(residual / (1 - 0.8 * 0.2), rel=0.06)
    assert waits.others.mean() == pytest.approx(residual / ((1 - 0.8 * 0.2) * (1 - 0.8)), rel=0.12)


def test_reading_times_have_the_stated_mean_and_spread() -> None:
    reading = draw_arrivals(ReadingRoom(days=400.0), seed=3).reading
    assert reading.mean() == pytest.approx(15.84, rel=0.02)
    assert reading.std() / reading.mean() == pytest.approx(0.48, rel=0.04)


def test_a_model_that_flags_nothing_or_everything_changes_nothing() -> None:
    arrivals = draw_arrivals(ROOM, seed=4)
    plain = simulate(ROOM, arrivals, flagging=FIRST_COME)
    room = dataclasses.replace(ROOM, model_minutes=0.0)
    everything = simulate(room, arrivals, flagging=Flagging(sensitivity=1.0, specificity=0.0))
    np.testing.assert_array_equal(plain.urgent, everything.urgent)
    np.testing.assert_array_equal(plain.others, everything.others)


def test_a_perfect_model_saves_most_and_chance_nothing() -> None:
    perfect, good, chance = compare(
        ROOM,
        flaggings=[
            PERFECT,
            Flagging(sensitivity=0.8, specificity=0.9),
            Flagging(sensitivity=0.3, specificity=0.7),
        ],
        runs=6,
    )
    assert perfect.saved > good.saved > 0.15
    assert chance.saved_interval[0] < 0.1
    assert perfect.saved_interval[0] < perfect.saved < perfect.saved_interval[1]
    assert perfect.others_now >= perfect.others_before  # nobody gains for nothing


def test_nobody_is_overtaken_after_the_bound() -> None:
    room = dataclasses.replace(ROOM, utilization=0.95, bound=45.0, urgent_share=0.3)
    arrivals = draw_arrivals(room, seed=5)
    starts = reading_starts(room, arrivals, flagging=PERFECT)
    overtaken = 0
    for number, time in enumerate(arrivals.time):
        later = starts[number + 1 :]
        before = later[later < starts[number]]
        overtaken += len(before)
        assert (before - time < room.bound).all()
    assert overtaken > 100
    zero = compare(dataclasses.replace(room, bound=0.0), flaggings=[PERFECT], runs=2)[0]
    assert zero.saved == 0


@pytest.mark.parametrize(
    "options", [{"utilization": 1.0}, {"readers": 0}, {"urgent_share": 0.0}, {"days": 1.0}, {"reading_mean": -1.0}]
)
def test_absurd_rooms_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=rf"A reading room with {next(iter(options))}"):
        ReadingRoom(**options)
    with pytest.raises(RequestError, match="At least 2"):
        compare(ROOM, flaggings=[PERFECT], runs=1)
