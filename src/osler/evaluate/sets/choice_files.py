"""Files of multiple-choice questions, each as its publisher gives it, read to `Choice`.

A record that is damaged becomes an error in its place: it costs one case, and is
counted and named. A file of which nothing can be read is refused.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from osler.errors import FileFormatError, OslerError
from osler.evaluate.published_questions import RETINOPATHY_QUESTION
from osler.evaluate.sets.xrays import read_table
from osler.extras import import_extra

_CHOICES = re.compile(r"\(([A-Z])\)\s")
T = TypeVar("T")
_UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A question with lettered answers.

    Args:
        text: The question with its choices, and what it is about.
        letters: That may be chosen. truth: The right one.
        group: Subject.
        patient: Whose it is; empty for a question about nobody.
        pictures: That it is about, in order.
        brief: The question as results show it, where ``text`` holds a record; empty for ``text``.
        counts: Fields of the rows in which an answer counts.
    """

    text: str
    letters: str
    truth: str
    group: str = "all"
    patient: str = ""
    pictures: tuple[Path, ...] = ()
    brief: str = ""
    counts: tuple[str, ...] = ("generated",)


Entries = dict[str, Choice | OslerError]
"""Questions by name; an error in the place of one that cannot be read."""


def read_choices(path: Path) -> Entries:
    """Reads a file of questions, ``.jsonl`` with lettered choices or PubMedQA's ``.json``.

    Raises:
        FileFormatError: If nothing in it can be read.
    """
    allowed = "Lines of JSON with 'question' and 'label', or the JSON object of PubMedQA."
    if path.suffix == ".jsonl":
        return read_lines(path, lettered, allowed=allowed)
    try:
        records = json.loads(path.read_text(encoding="utf-8")).items()
    except (OSError, *_UNREADABLE) as error:
        raise nothing_read(path, error, allowed=allowed) from error
    return read_records(records, _pubmed, path=path, allowed=allowed)


def read_lines(
    path: Path, read: Callable[[dict[str, Any]], T], *, allowed: str, key: str = "id"
) -> dict[str, T | OslerError]:
    """Reads lines of JSON.

    Args:
        path: The file.
        read: Turns one record into a question.
        allowed: What the file should hold, for errors.
        key: Field with the name of a record; without it, its number is the name.

    Raises:
        FileFormatError: If nothing in it can be read.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise nothing_read(path, error, allowed=allowed) from error
    records: dict[str, Any] = {}
    for number, line in enumerate(lines):
        try:
            record = json.loads(line)
        except _UNREADABLE:
            record = None
        name = str(record.get(key, number)) if isinstance(record, dict) else f"record {number + 1}"
        records[name if name not in records else f"{name} (record {number + 1})"] = record
    return read_records(records.items(), read, path=path, allowed=allowed)


def read_records(
    records: Iterable[tuple[str, Any]], read: Callable[[Any], T], *, path: Path, allowed: str
) -> dict[str, T | OslerError]:
    """Reads records one by one; see `read_lines`."""
    found: dict[str, T | OslerError] = {}
    first: Exception | None = None
    for name, record in records:
        try:
            found[name] = read(record)
        except _UNREADABLE as error:
            first = first or error
            why = f"{type(error).__name__}: {error}"
            found[name] = FileFormatError(
                f"{path.name}, {name!r}: no question that can be read: {why}.", allowed=allowed
            )
    if all(isinstance(entry, OslerError) for entry in found.values()):
        raise nothing_read(path, first or ValueError("it is empty"), allowed=allowed)
    return found


def nothing_read(path: Path, error: Exception, *, allowed: str) -> FileFormatError:
    """Builds the error for a file of which nothing can be read."""
    return FileFormatError(
        f"{path.name} holds no questions that can be read: {type(error).__name__}: {error}.", allowed=allowed
    )


def with_choices(question: str, options: Mapping[str, str]) -> str:
    """A question with its choices behind it, as in MedQA's file."""
    listed = " ".join(f"({letter}) {option}" for letter, option in options.items())
    return f"{question}\nAnswer Choices: {listed}"


def by_letter(options: Iterable[object]) -> dict[str, str]:
    """Letters choices from A on.

    Raises:
        ValueError: If there are fewer than two, or more than letters.
    """
    listed = [str(option).strip() for option in options]
    if not 2 <= len(listed) <= len(string.ascii_uppercase):
        raise ValueError(f"{len(listed)} choices")
    return dict(zip(string.ascii_uppercase, listed, strict=False))


def truth_among(answer: object, options: Mapping[str, str]) -> str:
    """The letter of an answer that is given as a letter or as the words of a choice.

    Raises:
        ValueError: If it is none of the choices.
    """
    said = str(answer).strip()
    if (letter := said.strip("().").upper()) in options:
        return letter
    same = [letter for letter, option in options.items() if option.casefold() == said.casefold()]
    if len(same) != 1:
        raise ValueError(f"the answer {said[:40]!r} is none of the choices {', '.join(options)}")
    return same[0]


def lettered(record: Mapping[str, Any]) -> Choice:
    """A record whose question spells its choices, as in MedQA's and MedXpertQA's files."""
    question = record["question"]
    if isinstance(options := record.get("options"), Mapping) and options:
        letters = list(options)
    else:
        letters = list(dict.fromkeys(_CHOICES.findall(question.rpartition("Answer Choices:")[2]))) or list("ABCD")
    if not isinstance(question, str) or not all(re.fullmatch("[A-Z]", letter) for letter in letters):
        raise ValueError(f"no question in words with lettered choices, but {letters}")
    truth = record["label"][0]
    if truth not in letters:
        raise ValueError(f"the answer {truth!r} is none of the choices {', '.join(letters)}")
    group = str(record.get("subject") or record.get("subject_name") or "all")
    return Choice(text=question, letters="".join(letters), truth=truth, group=group)


def _pubmed(record: Mapping[str, Any]) -> Choice:
    """The abstract without its conclusion, then the question; as choices, as MedGemma's report asks it."""
    context = "\n".join(record["CONTEXTS"])
    text = with_choices(f"Context: {context}\n\nQuestion: {record['QUESTION']}", {"A": "yes", "B": "no", "C": "maybe"})
    truth = {"yes": "A", "no": "B", "maybe": "C"}[record["final_decision"]]
    return Choice(text=text, letters="ABC", truth=truth)


def read_medxpertqa(root: Path) -> tuple[Entries, tuple[str, ...]]:
    """MedXpertQA: ``medxpertqa/Text/test.jsonl``, and ``MM/test.jsonl`` with ``images/`` where they are there."""
    folder = root / "medxpertqa"
    with_pictures = (folder / "MM" / "test.jsonl").is_file()
    allowed = "Lines of JSON with 'id', 'question', 'options', 'label', and 'images' in MM."

    def text(record: Mapping[str, Any]) -> Choice:
        return _counted(lettered(record), group="text", whole=with_pictures)

    def pictured(record: Mapping[str, Any]) -> Choice:
        pictures = tuple(inside(folder / "images", name) for name in record["images"])
        if not pictures:
            raise ValueError("no picture")
        return _counted(lettered(record), group="MM", whole=True, pictures=pictures)

    found = read_lines(folder / "Text" / "test.jsonl", text, allowed=allowed)
    if not with_pictures:
        return found, ("Only the text part was found: without MM/test.jsonl there is no figure over both.",)
    more = read_lines(folder / "MM" / "test.jsonl", pictured, allowed=allowed)
    return found | {name if name not in found else f"MM {name}": entry for name, entry in more.items()}, ()


def _counted(choice: Choice, *, group: str, whole: bool, pictures: tuple[Path, ...] = ()) -> Choice:
    counts = (group, "text+MM") if whole else (group,)
    return replace(choice, group=group, pictures=pictures, counts=counts)


def read_afrimed(root: Path) -> tuple[Entries, tuple[str, ...]]:
    """AfriMed-QA: the one CSV file in ``afrimed-qa/``; multiple-choice questions of experts.

    Of several right answers the first counts, and choices "N/A" are left out, as the publisher's
    own evaluation does (github.com/intron-innovation/AfriMed-QA).
    """
    paths = sorted((root / "afrimed-qa").glob("*.csv"))
    if len(paths) > 1:
        raise FileFormatError(
            f"afrimed-qa holds {len(paths)} CSV files: {', '.join(path.name for path in paths)}.",
            allowed="One file, as published.",
            next_step="Leave only the version that you want to be asked about.",
        )
    columns = ("sample_id", "question_type", "question", "answer_options", "correct_answer", "tier")
    rows = read_table(paths[0], columns=columns)
    chosen = [row for row in rows if row["question_type"] == "mcq" and row["tier"] == "expert"]
    several = sum("," in (row["correct_answer"] or "") for row in chosen)
    found = read_records(
        ((row["sample_id"] or f"record {number + 1}", row) for number, row in enumerate(chosen)),
        _afrimed,
        path=paths[0],
        allowed="Experts' questions of the type 'mcq' with 'answer_options' as JSON and 'correct_answer'.",
    )
    told = f"{several} of {len(chosen)} questions have several right answers"
    return found, (f"{told}: the first of them counts, as in the publisher's code.",)


def _afrimed(row: Mapping[str, str]) -> Choice:
    options = json.loads(row["answer_options"])
    every = {letter: str(options.get(f"option{number}") or "N/A") for number, letter in enumerate("ABCDE", start=1)}
    letter = "ABCDE"[int(row["correct_answer"].split(",")[0].strip().removeprefix("option")) - 1]
    left = {name: option.strip() for name, option in every.items() if option.strip().upper() != "N/A"}
    if letter not in left or len(left) < 2:
        raise ValueError(f"the answer {row['correct_answer']!r} is none of the choices")
    text = with_choices(row["question"].strip(), left)
    return Choice(text=text, letters="".join(left), truth=letter, group=row.get("specialty") or "all")


def read_mmlu_pro(root: Path) -> tuple[Entries, tuple[str, ...]]:
    """MMLU Pro: ``mmlu-pro/test.jsonl`` or the ``test-*.parquet`` of its publisher."""
    paths = sorted((root / "mmlu-pro").glob("test*"))
    allowed = "test.jsonl or test-*.parquet with 'question_id', 'question', 'options' and 'answer'."
    lines = [path for path in paths if path.suffix == ".jsonl"]
    tables = [path for path in paths if path.suffix == ".parquet"]
    if lines:
        return read_lines(lines[0], _mmlu_pro, allowed=allowed, key="question_id"), ()
    if not tables:
        raise FileFormatError(f"mmlu-pro holds {', '.join(path.name for path in paths)}.", allowed=allowed)
    records = [
        (str(record.get("question_id")), record) for path in tables for record in _parquet(path, allowed=allowed)
    ]
    return read_records(records, _mmlu_pro, path=tables[0], allowed=allowed), ()


def _parquet(path: Path, *, allowed: str) -> list[dict[str, Any]]:
    arrow = import_extra("pyarrow", extra="synth")
    try:
        return import_extra("pyarrow.parquet", extra="synth").read_table(path).to_pylist()
    except (OSError, arrow.ArrowException) as error:
        raise nothing_read(path, error, allowed=allowed) from error


def _mmlu_pro(record: Mapping[str, Any]) -> Choice:
    options = by_letter(record["options"])
    return Choice(
        text=with_choices(record["question"].strip(), options),
        letters="".join(options),
        truth=truth_among(record["answer"], options),
        group=str(record.get("category") or "all"),
    )


def inside(folder: Path, name: object) -> Path:
    """A file that a record names, below its folder.

    Raises:
        ValueError: If it names nothing, or would lie elsewhere.
    """
    path = folder / str(name)
    if not str(name).strip() or path.resolve() == folder.resolve():
        raise ValueError(f"{str(name)!r} names no file in {folder.name}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{str(name)!r} does not lie in {folder.name}")
    return path


DERMATOLOGY_CHOICES = ("Question: {question} Options: {choices}", "({letter}) {choice}.")
PATHOLOGY_CHOICES = (
    "{question} Please select the correct option from the following choices: {choices}",
    "{letter}) {choice}",
)
"""How the first report's examples (arXiv 2507.05201, Table A7) list choices: the whole, and one of them."""


def read_pictured(folder: str, *, form: tuple[str, str]) -> Callable[[Path], tuple[Entries, tuple[str, ...]]]:
    """Reads questions on pictures in Osler's layout: ``questions.jsonl`` and ``images/``.

    A line has ``image`` (or ``images``), ``question``, ``choices`` (a list) and ``answer`` (a letter or
    a choice), and may have ``id``, ``patient`` and ``group``.

    Args:
        folder: Below that of the data.
        form: How a question lists its choices, and one choice.
    """
    whole, single = form

    def read(root: Path) -> tuple[Entries, tuple[str, ...]]:
        place = root / folder

        def one(record: Mapping[str, Any]) -> Choice:
            options = by_letter(record["choices"])
            names = record["images"] if "images" in record else [record["image"]]
            pictures = tuple(inside(place / "images", name) for name in names)
            if not pictures:
                raise ValueError("no picture")
            listed = " ".join(single.format(letter=letter, choice=option) for letter, option in options.items())
            return Choice(
                text=whole.format(question=record["question"].strip(), choices=listed),
                letters="".join(options),
                truth=truth_among(record["answer"], options),
                group=str(record.get("group") or "all"),
                patient=str(record.get("patient") or ""),
                pictures=pictures,
            )

        allowed = "Lines of JSON with 'image', 'question', 'choices' and 'answer'."
        return read_lines(place / "questions.jsonl", one, allowed=allowed), ()

    return read


def read_eyepacs(root: Path) -> tuple[Entries, tuple[str, ...]]:
    """EyePACS: ``eyepacs/trainLabels.csv`` and ``train/NAME.jpeg`` of its challenge; pictures that are there."""
    folder = root / "eyepacs"
    rows = read_table(folder / "trainLabels.csv", columns=("image", "level"))

    def one(row: Mapping[str, str]) -> Choice:
        grade = int(row["level"])
        if not 0 <= grade < len("ABCDE"):
            raise ValueError(f"a level of {grade}")
        name = row["image"]
        return Choice(
            text=RETINOPATHY_QUESTION,
            letters="ABCDE",
            truth="ABCDE"[grade],
            patient=name.rpartition("_")[0] or name,
            pictures=(inside(folder / "train", f"{name}.jpeg"),),
        )

    here = [(row["image"], row) for row in rows if (folder / "train" / f"{row['image']}.jpeg").is_file()]
    if not here:
        return {}, ("No picture of trainLabels.csv is in train/.",)
    found = read_records(here, one, path=folder / "trainLabels.csv", allowed="'image' and a 'level' from 0 to 4.")
    return found, (f"{len(here)} of the {len(rows)} pictures of trainLabels.csv are in train/.",)
