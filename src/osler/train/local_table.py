"""The user's table: a CSV with a question and an answer, or a label and a box, for each scan.

Questions: columns ``path, question, answer``. Boxes: ``path, label, x0, y0, x1, y1`` in
pixels of the file's own image (level 0 of a slide), and with ``z0, z1`` in patient
millimeters (LPS) for a volume; a label without edges says that it is not there. One table
may hold both. Optional columns: ``patient`` (who it is, for keeping patients apart) and
``split`` (``train`` or ``kept-out``). A path is a file or a folder, relative to the table. A
row that cannot be used is listed with its reason; no other row takes its place.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from osler.errors import CheckpointError, DataError, RequestError
from osler.prepare import MAX_QUESTION
from osler.study import Box2D, Box3D
from osler.tasks.box_text import LABEL_LIMIT
from osler.weights.cache import whole_file

QUESTION_COLUMNS = ("path", "question", "answer")
BOX_COLUMNS = ("path", "label", "x0", "y0", "x1", "y1")
_DEPTH = ("z0", "z1")
_OPTIONAL = (*_DEPTH, "patient", "split")
_SPLITS = ("", "train", "kept-out")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRow:
    """One row of the table.

    Args:
        line: Of the file, the header being line 1.
        path: Of the scan.
        question: Empty for a box. answer: Empty for a box.
        label: Name of what is boxed; empty for a question.
        box: In pixels of the file, or in patient mm (LPS); ``None`` for a question, and for a label that is not there.
        patient: Who it is, as the table says; may be empty.
        split: As the table says; empty where the hash decides.
    """

    line: int
    path: Path
    question: str = ""
    answer: str = ""
    label: str = ""
    box: Box2D | Box3D | None = None
    patient: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A row that is not used, and why."""

    line: int
    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTable:
    """The rows of a table; ``digest`` is the SHA-256 of the file."""

    rows: tuple[LocalRow, ...]
    unreadable: tuple[Unreadable, ...]
    digest: str


def read_local_table(path: Path) -> LocalTable:
    """Reads the table; scans are not opened yet.

    Raises:
        RequestError: If the file is absent, or lacks columns.
        DataError: If it is not a CSV in UTF-8, or has no rows.
    """
    if not path.is_file():
        raise RequestError(f"No table at {str(path)!r}.", allowed="A CSV file.", next_step="Check the path.")
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines(keepends=True)
        reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
        _check_columns(reader.fieldnames or (), source=path)
        rows: list[LocalRow] = []
        bad: list[Unreadable] = []
        for values in reader:
            made = _row(values, line=reader.line_num, folder=path.parent)
            (rows if isinstance(made, LocalRow) else bad).append(made)  # type: ignore[arg-type]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{str(path)!r} is not a CSV file: {error}.", allowed="Comma-separated values in UTF-8, a header first."
        ) from error
    if not rows and not bad:
        raise DataError(f"{str(path)!r} has no rows.", allowed="A row a question or a box, under the header.")
    return LocalTable(rows=tuple(rows), unreadable=tuple(bad), digest=hashlib.sha256(content).hexdigest())


def is_kept_out(key: str, *, share: float) -> bool:
    """Whether a patient is kept out of training, by a hash of the key: the same on every machine."""
    number = int.from_bytes(hashlib.sha256(f"osler finetune {key}".encode()).digest()[:8], "big")
    return number < share * 2**64


def list_unreadable(path: Path, *, entries: Sequence[Unreadable]) -> None:
    """Writes which rows were not used, and why.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("line", "path", "reason"))
    writer.writerows((entry.line, entry.path, entry.reason) for entry in entries)
    try:
        with whole_file(path) as out:
            out.write(text.getvalue().encode())
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {str(path)!r}: {error}.", next_step="Choose a folder with room."
        ) from error


def _check_columns(names: Iterable[str], *, source: Path) -> None:
    found = [name.strip() for name in names if name]
    if set(QUESTION_COLUMNS) <= set(found) or set(BOX_COLUMNS) <= set(found):
        return
    known = dict.fromkeys((*QUESTION_COLUMNS, *BOX_COLUMNS, *_OPTIONAL))
    odd = [name for name in found if name not in known]
    close = {name: match[0] for name in odd if (match := get_close_matches(name.lower(), known, n=1))}
    raise RequestError(
        f"{str(source)!r} has the columns {', '.join(found) or 'none'}.",
        allowed=f"Questions need {', '.join(QUESTION_COLUMNS)}; boxes need {', '.join(BOX_COLUMNS)}.",
        next_step="; ".join(f"Did you mean {match!r} by {name!r}?" for name, match in close.items()),
    )


def _row(values: Mapping[str | None, str | list[str] | None], *, line: int, folder: Path) -> LocalRow | Unreadable:
    texts = {key.strip(): value.strip() for key, value in values.items() if key and isinstance(value, str)}
    place = texts.get("path", "")

    def bad(reason: str) -> Unreadable:
        return Unreadable(line=line, path=place, reason=reason)

    if None in values:
        return bad("more values than columns")
    if not place:
        return bad("the path is empty")
    if "\0" in place or len(place) > 4096:
        return bad("the path is not one")
    split = texts.get("split", "")
    if split not in _SPLITS:
        return bad(f"split is {split!r}, not train or kept-out")
    common = {"line": line, "path": folder / place, "patient": texts.get("patient", ""), "split": split}
    question, answer, label = (texts.get(name, "") for name in ("question", "answer", "label"))
    if label and not question:
        if len(label) > LABEL_LIMIT:
            return bad(f"the label has {len(label)} characters, at most {LABEL_LIMIT} are read")
        edges = any(texts.get(name) for name in (*BOX_COLUMNS[2:], *_DEPTH))
        box = _box(texts) if edges else None
        return bad(box) if isinstance(box, str) else LocalRow(**common, label=" ".join(label.split()), box=box)  # type: ignore[arg-type]
    if not question or not answer:
        return bad("the question is empty" if not question else "the answer is empty")
    if max(len(question), len(answer)) > MAX_QUESTION:
        return bad(f"question or answer has more than {MAX_QUESTION:,} characters")
    return LocalRow(**common, question=question, answer=answer)  # type: ignore[arg-type]


def _box(texts: Mapping[str, str]) -> Box2D | Box3D | str:
    """The box of a row, or what is wrong with it."""
    names = ["x0", "y0", "x1", "y1", *(name for name in _DEPTH if texts.get(name))]
    edges: dict[str, float] = {}
    for name in names:
        try:
            edges[name] = float(texts.get(name, ""))
        except ValueError:
            return f"{name} is {texts.get(name, '')!r}, not a number"
        if not math.isfinite(edges[name]):
            return f"{name} is not finite"
    axes = ("x", "y", "z") if "z0" in edges and "z1" in edges else ("x", "y")
    if len(edges) == 5:
        return "only one of z0 and z1 is given"
    for axis in axes:
        if edges[f"{axis}0"] >= edges[f"{axis}1"]:
            return f"{axis}0 is not below {axis}1"
    if len(axes) == 2:
        return Box2D(x0=edges["x0"], y0=edges["y0"], x1=edges["x1"], y1=edges["y1"])
    low, high = (tuple(edges[f"{axis}{end}"] for axis in axes) for end in (0, 1))
    return Box3D(low=low, high=high)  # type: ignore[arg-type]
