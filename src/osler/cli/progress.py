"""Progress on standard error while a command reads, encodes and answers."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_TITLES = {
    "read": "Reading",
    "load": "Loading the model",
    "prepare": "Preparing images",
    "images": "Preparing images",
    "encode": "Encoding images",
    "prefill": "Reading the question",
    "answer": "Answering",
    "draw": "Drawing the picture",
    "index": "Indexing studies",
    "quantize": "Quantizing",
    "samples": "Making samples",
    "calibrate": "Quantizing layers",
    "export": "Writing tensors",
}


class StageProgress:
    """A bar for the running stage; draws only on a terminal, and always on standard error.

    Args:
        quiet: Draws nothing at all.

    Example:
        >>> with StageProgress() as progress:
        ...     progress.update("read", 1, 64)
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._draw = not quiet and sys.stderr.isatty()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def update(self, stage: str, done: int, total: int) -> None:
        """Shows that ``done`` of ``total`` steps of a stage are finished; a total of 0 means unknown."""
        if not self._draw:
            return
        if self._bar is None:
            self._bar = self._start()
        title = _TITLES.get(stage, stage.capitalize())
        if stage != self._stage or self._task is None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(title, total=total or None)
            self._stage = stage
        self._bar.update(self._task, completed=done, total=total or None)

    def clear(self) -> None:
        """Takes the bar off the terminal; text may follow."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._task = None

    def give_way(self) -> None:
        """Takes the bar away for good: from here on the answer itself shows the progress."""
        self.clear()
        self._draw = False

    @staticmethod
    def _start() -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        bar.start()
        return bar
