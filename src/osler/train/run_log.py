"""What a run says while it goes: one JSON line an update, and a line for the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from osler.weights.cache import whole_file


class RunLog:
    """Appends metrics to ``metrics.jsonl`` and hands them to a listener.

    Args:
        folder: Of the run.
        first: Update that the run goes on with; lines of that one and later ones, of an interrupted
            run, are taken out.
        listener: Called with the metrics of each update (the command draws its table from it).
    """

    def __init__(
        self, folder: Path, *, first: int = 0, listener: Callable[[Mapping[str, float]], None] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "metrics.jsonl"
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < first]
            with whole_file(self.path) as out:
                out.write("".join(kept).encode())
        self.listener = listener
        self.started = time.monotonic()

    def write(self, **metrics: float) -> None:
        """Adds one line; ``seconds`` since the start of this process is added."""
        row = {**metrics, "seconds": round(time.monotonic() - self.started, 2)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n")
        if self.listener is not None:
            self.listener(row)
