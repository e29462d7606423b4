"""Days that have not come."""

from __future__ import annotations

import datetime as dt

from osler.readers.future import future_days

_TODAY = dt.date(2024, 2, 28)


def test_only_days_after_tomorrow_are_in_the_future() -> None:
    """Tomorrow may be today in another time zone."""
    days = [None, dt.date(2024, 2, 29), dt.date(2024, 3, 1), dt.date(2093, 1, 1), dt.date(2024, 3, 1), _TODAY]
    assert future_days(days, today=_TODAY) == ("2024-03-01", "2093-01-01")
    assert future_days(days[:2], today=_TODAY) == ()


def test_it_is_compared_with_the_day_of_the_machine() -> None:
    assert future_days([dt.date.today() - dt.timedelta(days=1)]) == ()
    assert len(future_days([dt.date.today() + dt.timedelta(days=9)])) == 1
