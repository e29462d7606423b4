"""Reports as they are needed, without files: for training and for looking at a few."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from osler.errors import RequestError
from osler.synth.shards import shard_batches

_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSample:
    """One report.

    Args:
        patient: Number of the patient. exam: Of the patient's exam. day: Days since the first.
        facts: JSON, see `osler.synth.reports.read_report_facts`. metadata: JSON, an anonymous header.
    """

    patient: int
    exam: int
    day: int
    language: str
    style: str
    report: str
    facts: str
    metadata: str


def iterate_reports(
    *, seed: int = 0, start: int = 0, stop: int | None = None, part: int = 0, parts: int = 1
) -> Iterator[ReportSample]:
    """Yields the reports of patients ``start`` up to ``stop``, drawn and rendered as they are asked for.

    Args:
        seed: Of the collection.
        stop: First patient that is left out; without it the stream has no end.
        part: Of ``parts``: ranks and loader workers that each take one see every report once, as
            ``part=rank * workers + worker, parts=ranks * workers``.

    Raises:
        RequestError: If the range or the part is not right.
    """
    if start < 0 or (stop is not None and stop < start):
        raise RequestError(f"Patients from {start} to {stop}.", allowed="0 <= start <= stop.")
    if not 0 <= part < parts:
        raise RequestError(f"Part {part} of {parts}.", allowed="0 <= part < parts.")
    return _samples(seed=seed, start=start, stop=stop, part=part, parts=parts)


def _samples(*, seed: int, start: int, stop: int | None, part: int, parts: int) -> Iterator[ReportSample]:
    first = start + part * _BATCH
    while stop is None or first < stop:
        last = first + _BATCH if stop is None else min(first + _BATCH, stop)
        for batch in shard_batches(seed=seed, first=first, stop=last):
            yield from (ReportSample(**row) for row in batch.to_pylist())
        first += parts * _BATCH
