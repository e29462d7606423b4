"""What a run says while it goes: one JSON line an update, and a line for the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from osler.errors import CheckpointError
from osler.train.distributed import Place
from osler.weights.cache import whole_file


class RunLog:
    """Appends metrics to ``metrics.jsonl`` and hands them to a listener.

    Args:
        folder: Of the run.
        first: Update that the run goes on with; lines of that one and later ones, of an interrupted
            run, are taken out.
        listener: Called with the metrics of each update (the command draws its table from it).
        name: Of the file.

    Raises:
        CheckpointError: If the folder cannot be written or is full.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first: int = 0,
        listener: Callable[[Mapping[str, float]], None] | None = None,
        name: str = "metrics.jsonl",
    ) -> None:
        self.path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.path.is_file():
                lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
                kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < first]
                with whole_file(self.path) as out:
                    out.write("".join(kept).encode())
        except OSError as error:
            raise self._unwritable(error) from error
        self.listener = listener
        self.started = time.monotonic()

    def write(self, **metrics: float) -> None:
        """Adds one line; ``seconds`` since the start of this process is added.

        Raises:
            CheckpointError: If the file cannot be written or the disk is full.
        """
        row = {**metrics, "seconds": round(time.monotonic() - self.started, 2)}
        self._add({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
        if self.listener is not None:
            self.listener(row)

    def note(self, *, step: int, **entries: object) -> None:
        """Adds one line that is not of numbers.

        Raises:
            CheckpointError: If the file cannot be written or the disk is full.
        """
        self._add({"step": step, **entries})

    def _add(self, row: Mapping[str, object]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"Cannot write {str(self.path)!r}: {error.strerror or error}.",
            allowed="The state that was saved last is whole.",
            next_step="Make room and give the same command again: it goes on from there.",
        )


def open_ledger(folder: Path, *, first: int, place: Place) -> RunLog:
    """Opens the log of the samples that each update took, a file for each process.

    Lines of updates that are done again are cut, in the files of all processes that ever took part.

    Raises:
        CheckpointError: If the folder cannot be written or is full.
    """
    if place.first:
        for path in folder.glob("samples-*.jsonl"):
            RunLog(folder, first=first, name=path.name)
    place.wait()
    return RunLog(folder, first=first, name=f"samples-{place.rank}.jsonl")
