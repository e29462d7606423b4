"""Reading, preparing and encoding the next studies while the present one is answered.

Decoding files and resizing slices run outside the interpreter's lock, and the
network's products do too. What is ready before its turn is bounded, the order
stays, and each result is what it would have been one after the other.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch

from osler.engine.device import Choice
from osler.errors import OslerError
from osler.prepare import PreparedImages, Preprocess, prepare_images
from osler.readers import open_study
from osler.study import Study

Item = TypeVar("Item")
Made = TypeVar("Made")
Turn = Literal["ahead", "in turn"]

Request = tuple[Study | str | Path | None, str]
"""A study, a path to one or nothing, and a question."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ready:
    """A request whose study is read and prepared.

    Args:
        study: ``None`` for a question without images.
        question: As asked.
        prepared: Its images; ``None`` without a study.
        seconds: Spent on reading and preparing; empty where the study was ready before.
    """

    study: Study | None
    question: str
    prepared: PreparedImages | None
    seconds: dict[str, float]


def run_ahead(items: Iterable[Item], work: Callable[[Item], Made], *, ahead: int = 1) -> Generator[Made, None, None]:
    """Yields ``work(item)`` in order, doing what follows in a thread.

    Closing it, or an exception in ``work``, ends the thread after the piece of work that it is at; the exception
    comes up in its item's turn.

    Args:
        items: Taken as they are needed, at most ``ahead`` before their turn.
        work: Called in one thread, one item at a time.
        ahead: Results that are held ready.
    """
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="osler-ahead")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def draw_ahead(source: Generator[Made, None, None], *, ahead: int) -> Generator[Made, None, None]:
    """Yields what a generator gives, drawn from it in a thread before its turn; see `run_ahead`.

    Args:
        source: Runs in that thread; it is closed with the result.
        ahead: Results that are held ready.
    """
    end = object()

    def turns() -> Iterator[None]:
        while True:
            yield None

    with closing(source), closing(run_ahead(turns(), lambda _: next(source, end), ahead=ahead)) as drawn:
        for made in drawn:
            if made is end:
                return
            yield made  # type: ignore[misc]


def when_to_encode(device: torch.device, *, threads: int | None = None, cores: int | None = None) -> Choice[Turn]:
    """Chooses whether images are encoded while others are answered.

    Args:
        device: Where the network is.
        threads: That a product of the network uses; ``None`` for PyTorch's.
        cores: That this process may use; ``None`` for all of them.

    Returns:
        ``"ahead"`` only where a core is free for it: `benchmarks/ask_many.md` has the figures.
    """
    if device.type != "cpu":
        return Choice("in turn", f"{device.type} does one product after the other")
    threads = torch.get_num_threads() if threads is None else threads
    cores = _usable_cores() if cores is None else cores
    if threads < cores:
        return Choice("ahead", f"the network uses {threads} of {cores} cores")
    return Choice("in turn", f"the network uses all {cores} cores")


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_ahead(
    requests: Iterable[Request],
    *,
    preprocess: Preprocess,
    ahead: int = 1,
    looked_at: Callable[[Study], Study] | None = None,
) -> Generator[Ready | OslerError, None, None]:
    """Yields requests in order, reading and preparing those that follow in a thread.

    Requests on the same study that follow each other read it once.

    Args:
        requests: Taken as they are needed, at most ``ahead`` before their turn.
        preprocess: The contract of the weights.
        ahead: Studies that are held ready.
        looked_at: Takes a study and returns it with those series alone whose images are wanted; all by default.

    Yields:
        The request, or what was wrong with its files.
    """
    return run_ahead(requests, _Reader(preprocess=preprocess, looked_at=looked_at).ready, ahead=ahead)


class _Reader:
    """Reads and prepares studies, remembering the last."""

    def __init__(self, *, preprocess: Preprocess, looked_at: Callable[[Study], Study] | None) -> None:
        self._preprocess = preprocess
        self._looked_at = looked_at
        self._last: tuple[Study | str | Path | None, Study, PreparedImages] | None = None

    def ready(self, request: Request) -> Ready | OslerError:
        asked, question = request
        if asked is None:
            return Ready(study=None, question=question, prepared=None, seconds={})
        if self._last is not None and (self._last[0] is asked or self._last[0] == asked):
            _, study, prepared = self._last
            return Ready(study=study, question=question, prepared=prepared, seconds={})
        self._last = None
        try:
            started = time.perf_counter()
            study = open_study(asked) if isinstance(asked, str | Path) else asked
            opened = time.perf_counter()
            shown = study if self._looked_at is None else self._looked_at(study)
            prepared = prepare_images(shown, preprocess=self._preprocess)
        except OslerError as error:
            return error
        seconds = {"read": opened - started, "prepare": time.perf_counter() - opened}
        self._last = (asked, study, prepared)
        return Ready(study=study, question=question, prepared=prepared, seconds=seconds)
