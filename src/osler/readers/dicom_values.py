"""Turns DICOM element values into plain Python ones, or into nothing if they are not usable."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def as_text(value: Any) -> str:
    """Returns a value as text, empty for an absent one."""
    return "" if value is None else str(value).strip(" \x00")


def as_number(value: Any) -> float | None:
    """Returns a finite number; the first one of several; ``None`` if there is none."""
    if value is not None and not isinstance(value, str | bytes) and isinstance(value, Iterable):
        value = next(iter(value), None)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_int(value: Any) -> int | None:
    """Returns a whole number; ``None`` if the value is none."""
    number = as_number(value)
    return None if number is None else int(number)


def as_numbers(value: Any, *, count: int) -> tuple[float, ...] | None:
    """Returns exactly ``count`` finite numbers, else ``None``."""
    if value is None or isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return None
    numbers = [as_number(part) for part in value]
    if len(numbers) != count or any(number is None for number in numbers):
        return None
    return tuple(number for number in numbers if number is not None)
