"""Exact duplicates among any number of reports, in bounded memory.

Each report becomes 64 bits of BLAKE2b over its words (case, spaces and punctuation do
not count). The hashes go to 256 files by their first byte, and each file is sorted by
itself: 50 million reports are 400 MB on disk and some MB in memory. Among n reports two
different ones share a hash with a probability of about n**2 / 2**65: 7e-5 at 50 million.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_BUCKETS = 256
_SEPARATORS = bytes(code if code >= 128 or chr(code).isalnum() else 32 for code in range(256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """What repeats.

    Args:
        reports: All. distinct: Different ones.
        groups: Texts that stand there more than once.
        largest: Copies of the commonest texts, most first: (hash, copies), at most ten.
    """

    reports: int
    distinct: int
    groups: int
    largest: tuple[tuple[int, int], ...]

    @property
    def repeated(self) -> int:
        """Reports that repeat another one: what would go if each text was kept once."""
        return self.reports - self.distinct

    @property
    def share(self) -> float:
        """Of all reports."""
        return self.repeated / self.reports if self.reports else 0.0


def text_hashes(texts: Sequence[str]) -> np.ndarray:
    """Hashes reports by their words.

    Args:
        texts: Reports.

    Returns:
        (N,) uint64.
    """
    blake = hashlib.blake2b
    digests = b"".join(
        blake(b" ".join(text.lower().encode("utf-8", "replace").translate(_SEPARATORS).split()), digest_size=8).digest()
        for text in texts
    )
    return np.frombuffer(digests, dtype="<u8")


def find_duplicates(
    batches: Iterable[np.ndarray], *, folder: Path | None = None, progress: Callable[[int], None] | None = None
) -> Duplicates:
    """Counts reports that repeat another one.

    Args:
        batches: Hashes of `text_hashes`, in any portions.
        folder: Where the sorted files lie meanwhile; they are removed. Default: the system's temporary folder.
        progress: Called with the number of hashes of each portion.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        paths = [Path(name, f"{bucket:02x}") for bucket in range(_BUCKETS)]
        _sort_into(paths, batches=batches, progress=progress or (lambda count: None))
        reports = distinct = groups = 0
        largest: list[tuple[int, int]] = []
        for path in paths:
            values, counts = np.unique(np.fromfile(path, dtype="<u8"), return_counts=True)
            reports += int(counts.sum())
            distinct += len(values)
            groups += int((counts > 1).sum())
            top = np.argsort(-counts, kind="stable")[:10]
            largest += [(int(values[i]), int(counts[i])) for i in top if counts[i] > 1]
    largest.sort(key=lambda entry: -entry[1])
    return Duplicates(reports=reports, distinct=distinct, groups=groups, largest=tuple(largest[:10]))


def _sort_into(paths: Sequence[Path], *, batches: Iterable[np.ndarray], progress: Callable[[int], None]) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for hashes in batches:
            ordered = np.sort(np.asarray(hashes, dtype="<u8"))
            bounds = np.searchsorted(ordered, np.arange(1, _BUCKETS, dtype=np.uint64) << np.uint64(56))
            for file, part in zip(files, np.split(ordered, bounds), strict=True):
                part.tofile(file)
            progress(len(ordered))
