"""What other patients have, without looking: the ground under *majority* and *mean box*."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from osler.evaluate.sets.types import Setting


class OtherPatients:
    """Means over the patients that a baseline may learn from, never with the one that is asked about.

    Args:
        setting: Says who may be learned from.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(1))
        self._counts: Counter[str] = Counter()
        self._own: dict[tuple[str, str], tuple[np.ndarray, int]] = {}

    def add(self, key: str, values: float | tuple[float, ...], *, source: str, patient: str) -> None:
        """Notes what a patient has.

        Args:
            key: What it is, such as a finding.
            values: 1 or 0, or the edges of a box.
            source: Data set. patient: Key within it.
        """
        if not self._setting.learns(source, patient=patient, asked=""):
            return
        array = np.atleast_1d(np.asarray(values, dtype=float))
        self._sums[key] = self._sums[key] + array
        self._counts[key] += 1
        total, count = self._own.get((key, f"{source}:{patient}"), (np.zeros(1), 0))
        self._own[key, f"{source}:{patient}"] = (total + array, count + 1)

    def mean(self, key: str, *, source: str, patient: str) -> np.ndarray | None:
        """The mean over all but one patient; ``None`` where nobody else has it."""
        total, count = self._own.get((key, f"{source}:{patient}"), (np.zeros(1), 0))
        left = self._counts[key] - count
        return (self._sums[key] - total) / left if left else None
