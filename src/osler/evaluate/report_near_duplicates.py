"""Near duplicates: reports whose 5-word shingles overlap by more than 90%.

MinHash with banded locality-sensitive hashing (Broder, 1997; Leskovec, Rajaraman and
Ullman, "Mining of Massive Datasets", chapter 3) proposes pairs, the true Jaccard index
of their shingles decides. 128 values in 16 bands of 8: a pair of Jaccard 0.9 is missed
with a probability of 1e-4, one of 0.5 proposed with 6%. In memory stand 128 bytes of
bands for each report; shingles (4 bytes each) lie in a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.evaluate.report_words import ngrams, read_words
from osler.synth.draws import mix

_SHINGLE, _BANDS, _ROWS = 5, 16, 8
_NEIGHBORS = 64
_PAIRS_AT_ONCE = 20_000
_FACTORS = (mix(np.arange(_BANDS * _ROWS, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
_SHIFTS = (mix(np.arange(_BANDS * _ROWS, dtype=np.uint64) + np.uint64(10_000)) >> np.uint64(32)).astype(np.uint32)
_JOIN = mix(np.arange(_ROWS, dtype=np.uint64) + np.uint64(20_000)) | np.uint64(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicates:
    """What nearly repeats.

    Args:
        reports: All. near: Those with a near duplicate before them in the sample.
        too_short: Reports of less than five words; not compared.
        verified: Pairs whose true Jaccard index was computed.
        capped: Places where more than 64 reports shared a band, so that some pairs were not looked at.
        examples: Some pairs: earlier, later (places in the sample), Jaccard index.
    """

    reports: int
    near: int
    too_short: int
    verified: int
    capped: int
    examples: tuple[tuple[int, int, float], ...]

    @property
    def share(self) -> float:
        """Of all reports."""
        return self.near / self.reports if self.reports else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sample:
    shingles: np.ndarray
    starts: np.ndarray
    bands: list[np.ndarray]

    @property
    def sizes(self) -> np.ndarray:
        return np.diff(self.starts)


def find_near_duplicates(
    batches: Iterable[Sequence[str]],
    *,
    jaccard: float = 0.9,
    folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> NearDuplicates:
    """Counts reports that have a near duplicate earlier in the sample.

    Args:
        batches: Reports, in portions of some hundreds or thousands.
        jaccard: A pair is near above this.
        folder: Where the shingles lie meanwhile. Default: the system's temporary folder.
        progress: Called with the number of reports of each portion.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        sample = _read(batches, path=Path(name, "shingles"), progress=progress or (lambda count: None))
        near = np.zeros(len(sample.sizes), dtype=bool)
        verified = capped = 0
        examples: list[tuple[int, int, float]] = []
        for first, second, over in _pairs(sample, jaccard=jaccard, near=near):
            capped += over
            values = true_jaccard(sample.shingles, starts=sample.starts, first=first, second=second)
            verified += len(values)
            hits = values > jaccard
            near[second[hits]] = True
            if len(examples) < 20:
                rows = np.flatnonzero(hits)[: 20 - len(examples)]
                examples += [(int(first[i]), int(second[i]), float(values[i])) for i in rows]
        return NearDuplicates(
            reports=len(near),
            near=int(near.sum()),
            too_short=int((sample.sizes == 0).sum()),
            verified=verified,
            capped=capped,
            examples=tuple(examples),
        )


def shingle_sets(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes the sets of 5-word shingles of reports.

    Args:
        texts: Reports.

    Returns:
        Shingles, uint32, ascending and without repeats within a report; and how many each report has, (N,) int64.
    """
    hashes, report = ngrams(read_words(texts), length=_SHINGLE)
    keys = np.unique((report.astype(np.uint64) << np.uint64(32)) | (hashes >> np.uint64(32)))
    owner = (keys >> np.uint64(32)).astype(np.int64)
    return keys.astype(np.uint32), np.bincount(owner, minlength=len(texts))


def minhash(shingles: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The MinHash values of sets.

    Args:
        shingles: Of all sets, one after the other, uint32.
        sizes: (N,) How many each set has.

    Returns:
        (N, 128) uint32; for an empty set the greatest number.
    """
    values = np.full((len(sizes), _BANDS * _ROWS), np.iinfo(np.uint32).max, dtype=np.uint32)
    filled = np.flatnonzero(sizes)
    if len(filled):
        starts = (np.cumsum(sizes) - sizes)[filled]
        for place, (factor, shift) in enumerate(zip(_FACTORS, _SHIFTS, strict=True)):
            values[filled, place] = np.minimum.reduceat(shingles * factor + shift, starts)
    return values


def true_jaccard(shingles: np.ndarray, *, starts: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The Jaccard index of pairs of sets.

    Args:
        shingles: Of all sets. starts: (N + 1,) where each begins.
        first: (P,) one set of each pair. second: (P,) the other.

    Returns:
        (P,) float64.
    """
    values = np.empty(len(first))
    sizes = np.diff(starts)
    for begin in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(begin, begin + _PAIRS_AT_ONCE)
        a, b = first[part], second[part]
        both = np.concatenate([_tagged(shingles, starts=starts, rows=rows) for rows in (a, b)])
        both.sort()
        shared = both[1:][both[1:] == both[:-1]] >> np.uint64(32)
        common = np.bincount(shared.astype(np.int64), minlength=len(a))
        values[part] = common / np.maximum(sizes[a] + sizes[b] - common, 1)
    return values


def _tagged(shingles: np.ndarray, *, starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Shingles of several sets with the place of their set in ``rows`` in the upper half."""
    sizes = starts[rows + 1] - starts[rows]
    before = np.cumsum(sizes) - sizes
    places = np.repeat(starts[rows] - before, sizes) + np.arange(int(sizes.sum()))
    tags = np.repeat(np.arange(len(rows), dtype=np.uint64) << np.uint64(32), sizes)
    return tags | shingles[places].astype(np.uint64)


def _read(batches: Iterable[Sequence[str]], *, path: Path, progress: Callable[[int], None]) -> _Sample:
    all_sizes, all_bands = [], []
    with path.open("wb") as file:
        for texts in batches:
            shingles, sizes = shingle_sets(texts)
            shingles.tofile(file)
            rows = minhash(shingles, sizes).reshape(len(sizes), _BANDS, _ROWS)
            all_bands.append(mix((rows.astype(np.uint64) * _JOIN).sum(axis=2)))
            all_sizes.append(sizes)
            progress(len(texts))
    sizes = np.concatenate(all_sizes) if all_sizes else np.zeros(0, dtype=np.int64)
    bands = [np.concatenate([part[:, band] for part in all_bands]) for band in range(_BANDS if all_bands else 0)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    shingles = np.memmap(path, dtype=np.uint32, mode="r") if starts[-1] else np.zeros(0, dtype=np.uint32)
    return _Sample(shingles=shingles, starts=starts, bands=bands)


def _pairs(sample: _Sample, *, jaccard: float, near: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Pairs that share a band, the earlier report first; those settled or too unequal in size are left out."""
    sizes = sample.sizes
    filled = np.flatnonzero(sizes)
    for band in sample.bands:
        order = filled[np.argsort(band[filled], kind="stable")]
        values = band[order]
        for distance in range(1, min(_NEIGHBORS, len(order) - 1) + 1):
            same = np.flatnonzero(values[distance:] == values[:-distance])
            if not len(same):
                break
            first, second = order[same], order[same + distance]
            small, large = np.minimum(sizes[first], sizes[second]), np.maximum(sizes[first], sizes[second])
            open_pairs = ~near[second] & (small > jaccard * large)
            over = len(same) if distance == _NEIGHBORS else 0
            yield first[open_pairs], second[open_pairs], over
