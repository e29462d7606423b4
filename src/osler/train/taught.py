"""What a fine-tuning run learns from: samples with their images, in an order that is known beforehand.

Dimensions: B samples, L tokens, N images, S side (px), T soft tokens of an image, M of all images,
D width of the decoder, Q boxes, P patches, V width of the tower.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from osler.train.parts_reading import Reading
from osler.train.samples import Batch, Sample, collate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taught:
    """One sample.

    Args:
        name: Where it comes from, such as ``"line 3"``; named when its loss is not a number.
        token_ids: (L,). answer_mask: (L,), True where the loss is.
        images: Soft tokens (N, T, D), or one each (M, 1, D), where the tower is frozen, else 8-bit pixels
            (N, S, S, 3); ``None`` without.
        boxes_Q6: A box for each box token of the answer, in 0 to 1; ``None`` without.
        seen_PV: What the box head reads them off; ``None`` without.
        reading: What parts that learn, and an adapter, read of the images; ``None`` without such parts.
    """

    name: str
    token_ids: np.ndarray
    answer_mask: np.ndarray
    images: Tensor | None = None
    boxes_Q6: Tensor | None = None
    seen_PV: Tensor | None = None
    reading: Reading | None = None


class Source(Protocol):
    """Numbered samples; number i is the same whenever it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> Taught: ...


class Joined:
    """Several sources one after the other (a `Source`).

    Args:
        sources: In order; the numbers of each go on where those of the one before end.
    """

    def __init__(self, *sources: Source) -> None:
        self.sources = sources
        self._ends = list(accumulate(len(source) for source in sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> Taught:
        """The sample of the source in whose range the number lies."""
        place = bisect_right(self._ends, number)
        return self.sources[place][number - (self._ends[place - 1] if place else 0)]


class Places(Protocol):
    """Which sample stands at a place of the run."""

    def __getitem__(self, place: int) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicroBatch:
    """Samples that go through the network together; ``wanted`` counts the tokens that are asked for.

    ``boxes_Q6`` are those of all box tokens, sample by sample, ``seen_BPV`` what the box head reads of each sample;
    ``None`` where no sample has a box token. ``readings`` are of each sample, whose first soft token in ``images``
    ``starts`` says.
    """

    names: tuple[str, ...]
    batch: Batch
    images: Tensor | None
    wanted: int
    boxes_Q6: Tensor | None = None
    seen_BPV: Tensor | None = None
    readings: tuple[Reading | None, ...] = ()
    starts: tuple[int, ...] = ()


def micro_batch(samples: Sequence[Taught], *, pad: int) -> MicroBatch:
    """Packs samples: tokens padded to the longest, the images of all in one row, however many each has."""
    batch = collate([Sample(token_ids=s.token_ids, answer_mask=s.answer_mask) for s in samples], pad=pad)
    shown = _alike([s.images for s in samples])
    images = [one for one in shown if one is not None]
    boxes = [s.boxes_Q6 for s in samples if s.boxes_Q6 is not None]
    counts = [0 if one is None else len(one) for one in shown]
    some = next((s.seen_PV for s in samples if s.seen_PV is not None), None)
    return MicroBatch(
        names=tuple(s.name for s in samples),
        batch=batch,
        images=torch.cat(images) if images else None,
        wanted=int(batch.wanted_BL.sum()),
        boxes_Q6=torch.cat(boxes) if boxes else None,
        seen_BPV=None
        if some is None
        else torch.stack([torch.zeros_like(some) if s.seen_PV is None else s.seen_PV for s in samples]),
        readings=tuple(s.reading for s in samples),
        starts=(0, *accumulate(counts[:-1])),
    )


def _alike(shown: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The images of each sample; where some come as one soft token a row, (M, 1, D), all do."""
    if len({one.shape[1:] for one in shown if one is not None}) <= 1:
        return list(shown)
    return [None if one is None else one.flatten(0, 1)[:, None] for one in shown]


class Order:
    """The order of the samples: epoch after epoch, each a seeded shuffle, without end.

    Place p of the run is a function of the seed alone, so a run that goes on and a run on
    more machines see the same samples in the same updates, each once an epoch.

    Args:
        count: Samples. seed: Of the shuffles.
    """

    def __init__(self, count: int, *, seed: int) -> None:
        self.count, self.seed = count, seed
        self._epoch, self._shuffled = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, place: int) -> int:
        """The number of the sample at a place."""
        epoch, index = divmod(place, self.count)
        if epoch != self._epoch:
            self._epoch, self._shuffled = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)
        return int(self._shuffled[index])


class ChosenOrder:
    """The order of some samples of a source; see `Order`.

    Args:
        numbers: Of the samples. seed: Of the shuffles.
    """

    def __init__(self, numbers: Sequence[int], *, seed: int) -> None:
        self.numbers = tuple(numbers)
        self.count = len(self.numbers)
        self._order = Order(self.count, seed=seed)

    def __getitem__(self, place: int) -> int:
        """The number of the sample at a place."""
        return self.numbers[self._order[place]]


def numbers_of_update(order: Places, step: int, *, batch: int, rank: int = 0, world: int = 1) -> list[int]:
    """Numbers of the samples of update ``step`` that fall to one of ``world`` processes."""
    return [order[place] for place in range(step * batch + rank, (step + 1) * batch, world)]
