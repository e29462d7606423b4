"""What triage has found so far, on disk: one line a study, so that a stopped run goes on.

A line that was cut by a crash is passed over. Lines of files that have changed
since, or of other weights, do not count.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.errors import FileFormatError, RequestError
from osler.tasks.urgency import LEVELS, Level

_KIND = "osler triage journal 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriagedStudy:
    """One study and its place in the order.

    Args:
        path: Of the study. stamp: Of its files.
        arrived: When it came, seconds since the epoch.
        level: How urgent. reasons: Why, most urgent first.
        weight: Of the most urgent reason.
        notes: What the reader of the list should know.
        failure: Why it could not be looked at.
    """

    path: str
    stamp: str
    arrived: float
    level: Level = "routine"
    reasons: tuple[str, ...] = ()
    weight: float = 0.0
    notes: tuple[str, ...] = ()
    failure: str = ""

    @property
    def order(self) -> tuple[int, float, float, str]:
        """Sorts: level, weight, arrival."""
        return LEVELS.index(self.level), -self.weight, self.arrived, self.path


class TriageJournal:
    """Appends studies to a file and reads them back.

    Args:
        path: The file; made with the first line, readable by its owner only.
        weights: What the findings rest on; lines under another key do not count.
    """

    def __init__(self, path: Path, *, weights: str) -> None:
        self.path = path
        self.weights = weights

    def read(self) -> dict[tuple[str, str], TriagedStudy]:
        """Returns what is known, by path and stamp.

        Raises:
            FileFormatError: If the file is something else.
        """
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise self._foreign() from error
        found: dict[tuple[str, str], TriagedStudy] = {}
        for number, line in enumerate(lines):
            content = _parsed(line)
            if number == 0 and content.get("kind") != _KIND:
                raise self._foreign()
            if content.get("weights") == self.weights and (study := _study(content)) is not None:
                found[study.path, study.stamp] = study
        return found

    def add(self, study: TriagedStudy) -> None:
        """Appends a study.

        Raises:
            RequestError: If the disk is full or the file cannot be written.
        """
        content = {"kind": _KIND, "weights": self.weights, **dataclasses.asdict(study)}
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(handle, "ab") as out:
                start = b"\n" if out.tell() and not _ends_whole(self.path) else b""
                out.write(start + json.dumps(content, ensure_ascii=False).encode() + b"\n")
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise RequestError(
                f"Cannot write {str(self.path)!r}: {error.strerror or type(error).__name__}.",
                next_step="Name a list in a folder with room that you can write to.",
            ) from error

    def _foreign(self) -> FileFormatError:
        return FileFormatError(
            f"{str(self.path)!r} is no journal of `osler triage`.",
            next_step="Name another list, or move this file away.",
        )


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _study(content: Mapping[str, Any]) -> TriagedStudy | None:
    names = [field.name for field in dataclasses.fields(TriagedStudy)]
    if any(name not in content for name in names) or content["level"] not in LEVELS:
        return None
    values = {name: content[name] for name in names}
    return TriagedStudy(**values | {name: tuple(values[name]) for name in ("reasons", "notes")})
