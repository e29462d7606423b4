"""The stages of a request: how long each took, and whom to tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from osler.progress import Progress


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Notes the seconds that a stage takes."""
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


def staged(on_progress: Progress | None, stage: str) -> Callable[..., None] | None:
    """Returns a callback of one stage; whatever stands before the two counts is left out."""
    if on_progress is None:
        return None
    return lambda *counts: on_progress(stage, counts[-2], counts[-1])
