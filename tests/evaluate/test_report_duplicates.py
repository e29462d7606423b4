"""Exact duplicates: counted as a dictionary counts them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.evaluate.report_duplicates import find_duplicates, text_hashes


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(0, 50), max_size=30), max_size=6))
def test_counts_are_those_of_a_dictionary(batches: list[list[int]]) -> None:
    texts = [[f"Report number {number}." for number in batch] for batch in batches]
    counts = Counter(text for batch in texts for text in batch)
    found = find_duplicates(text_hashes(batch) for batch in texts)
    assert (found.reports, found.distinct) == (counts.total(), len(counts))
    assert found.repeated == counts.total() - len(counts)
    assert found.groups == sum(count > 1 for count in counts.values())
    assert [copies for _, copies in found.largest] == sorted((c for c in counts.values() if c > 1), reverse=True)[:10]


def test_case_spaces_and_punctuation_do_not_make_a_report_new() -> None:
    same = text_hashes(["No nodule; 1.5 cm cyst.", "NO  NODULE\n1.5 cm cyst"])
    assert same[0] == same[1]
    assert len(np.unique(text_hashes(["1.5 cm cyst", "15 cm cyst"]))) == 2


def test_a_million_hashes_leave_nothing_behind(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**64, size=1_000_000, dtype=np.uint64)
    values[-1000:] = values[:1000]
    seen: list[int] = []
    found = find_duplicates(np.array_split(values, 20), folder=tmp_path, progress=seen.append)
    assert (found.reports, found.repeated, found.groups) == (1_000_000, 1000, 1000)
    assert found.share == 0.001
    assert sum(seen) == 1_000_000
    assert list(tmp_path.iterdir()) == []


def test_no_reports_repeat_nothing() -> None:
    found = find_duplicates([])
    assert (found.reports, found.repeated, found.share, found.largest) == (0, 0, 0.0, ())
