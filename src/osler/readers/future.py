"""Days that have not come: a clock that was wrong, a slip of the pen, or a date that was shifted on purpose."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

_OTHER_TIME_ZONE = dt.timedelta(days=1)


def future_days(dates: Iterable[dt.date | None], *, today: dt.date | None = None) -> tuple[str, ...]:
    """Returns the days later than tomorrow, in order, each once, as ISO writes them.

    Args:
        dates: Of studies or documents; ``None`` where one has no date.
        today: The day to compare with; that of the machine by default.
    """
    last = (today or dt.date.today()) + _OTHER_TIME_ZONE
    return tuple(day.isoformat() for day in sorted({date for date in dates if date is not None and date > last}))
