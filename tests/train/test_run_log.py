"""The log of a run has each update once, also after a kill."""

from __future__ import annotations

import json
from pathlib import Path

from osler.train.run_log import RunLog


def _steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_updates_after_the_last_checkpoint_are_written_again(tmp_path: Path) -> None:
    heard: list[float] = []
    log = RunLog(tmp_path, listener=lambda metrics: heard.append(metrics["loss"]))
    for step in range(5):
        log.write(step=step, loss=1.5)
    with log.path.open("a") as file:
        file.write('{"step": 5, "lo')
    again = RunLog(tmp_path, first=4)
    again.write(step=4, loss=2.0)
    assert _steps(log.path) == [0, 1, 2, 3, 4]
    assert heard == [1.5] * 5
