"""Distinct n-grams, lengths and vocabularies."""

from __future__ import annotations

from collections import Counter

import numpy as np

from osler.evaluate.report_diversity import DistinctCount, distinct_curve, lengths, overlap, vocabulary


def test_the_curve_counts_as_a_set_does() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "b", "c", "d"], size=12)) for _ in range(100)]
    points = distinct_curve([texts[:30], texts[30:]], marks=(10, 50))
    assert [point.reports for point in points] == [10, 50, 100]
    for point in points:
        pieces = [text.split() for text in texts[: point.reports]]
        grams = [tuple(words[i : i + 4]) for words in pieces for i in range(len(words) - 3)]
        assert (point.words, point.grams, point.distinct) == (12 * point.reports, len(grams), len(set(grams)))


def test_a_bounded_count_is_close_and_stays_small() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**64, size=300_000, dtype=np.uint64)
    count = DistinctCount(room=20_000)
    for part in np.array_split(np.concatenate([values, values]), 40):
        count.add(part)
    assert abs(count.value() / 300_000 - 1) < 0.03


def test_lengths_leave_out_empty_texts() -> None:
    found = lengths(["one two three", "", "one"])
    assert (found.count, found.mean, found.p50) == (2, 2.0, 2)
    assert lengths([]).count == 0


def test_vocabularies_meet_in_running_words() -> None:
    real = vocabulary(["The XXXX heart is normal.", "The lungs are clear; heart normal"])
    ours = Counter(heart=3, lungs=1, qqq=4)
    found = overlap(ours, theirs=real)
    assert real["heart"] == 2
    assert "xxxx" not in real
    assert found.covered == 0.3
    assert found.foreign == 0.5
    assert found.missing[:2] == ("the", "normal")
