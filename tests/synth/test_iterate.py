"""Reports as a stream: no files, every report once over all ranks and workers."""

from __future__ import annotations

from itertools import islice

import pytest

from osler.errors import RequestError
from osler.synth import iterate_reports
from osler.synth.shards import shard_batches


def test_the_stream_is_what_shards_hold() -> None:
    rows = [row for batch in shard_batches(seed=2, first=0, stop=300) for row in batch.to_pylist()]
    samples = list(iterate_reports(seed=2, stop=300))
    assert [(s.patient, s.exam, s.report, s.facts, s.metadata) for s in samples] == [
        (row["patient"], row["exam"], row["report"], row["facts"], row["metadata"]) for row in rows
    ]


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_parts_see_every_report_once(parts: int) -> None:
    together = {(s.patient, s.exam) for s in iterate_reports(start=100, stop=1500)}
    seen = [
        (s.patient, s.exam)
        for part in range(parts)
        for s in iterate_reports(start=100, stop=1500, part=part, parts=parts)
    ]
    assert len(seen) == len(set(seen))
    assert set(seen) == together


def test_without_a_stop_it_goes_on() -> None:
    assert len(list(islice(iterate_reports(start=10**9), 1000))) == 1000


def test_an_empty_range_is_empty() -> None:
    assert list(iterate_reports(start=5, stop=5)) == []


@pytest.mark.parametrize(
    "settings", [{"start": -1}, {"start": 5, "stop": 4}, {"part": 2, "parts": 2}, {"part": -1}, {"parts": 0}]
)
def test_wrong_ranges_are_refused_at_once(settings: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="0 <= "):
        iterate_reports(**settings)
