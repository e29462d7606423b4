"""Reading the next study while the present one is encoded and answered.

Decoding files and resizing slices run outside the interpreter's lock, and the
network's products do too, so that a batch of studies keeps both cores busy.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from osler.errors import OslerError
from osler.prepare import PreparedImages, Preprocess, prepare_images
from osler.readers import open_study
from osler.study import Study

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


def read_ahead(requests: Iterable[Request], *, preprocess: Preprocess, ahead: int = 1) -> Iterator[Ready | OslerError]:
    """Yields requests in order, reading and preparing those that follow in a thread.

    Requests on the same study that follow each other read it once.

    Args:
        requests: Taken as they are needed, at most ``ahead`` before their turn.
        preprocess: The contract of the weights.
        ahead: Studies that are held ready.

    Yields:
        The request, or what was wrong with its files.
    """
    reader = _Reader(preprocess=preprocess)
    waiting: deque[Future[Ready | OslerError]] = deque()
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="osler-read-ahead")
    try:
        for request in requests:
            waiting.append(pool.submit(reader.ready, request))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Reader:
    """Reads and prepares studies, remembering the last."""

    def __init__(self, *, preprocess: Preprocess) -> None:
        self._preprocess = preprocess
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
            prepared = prepare_images(study, preprocess=self._preprocess)
        except OslerError as error:
            return error
        seconds = {"read": opened - started, "prepare": time.perf_counter() - opened}
        self._last = (asked, study, prepared)
        return Ready(study=study, question=question, prepared=prepared, seconds=seconds)
