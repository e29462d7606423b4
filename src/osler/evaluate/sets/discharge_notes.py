"""EHRNoteQA: multiple choice over the discharge notes of a patient of MIMIC-IV.

Both files are PhysioNet's (credentialed access): ``EHRNoteQA.jsonl`` (doi 10.13026/acga-ht95) and
``discharge.csv.gz`` of MIMIC-IV-Note. Notes are joined as the publisher does it
(github.com/ji-youn-kim/EHRNoteQA): the first ones of the patient by date, as many as
``num_notes`` says, blank space reduced, patient, admission and date before each.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from osler.errors import FileFormatError
from osler.evaluate.sets.choice_files import Choice, Entries, read_lines, truth_among

QUESTIONS = "ehrnoteqa/EHRNoteQA.jsonl"
NOTES = "ehrnoteqa/discharge.csv.gz"
_COLUMNS = ("subject_id", "hadm_id", "charttime", "text")
_LONGEST_NOTE = 1 << 24


def read_ehrnoteqa(root: Path) -> tuple[Entries, tuple[str, ...]]:
    """Reads the questions, each with the notes of its patient.

    Raises:
        FileFormatError: If a file is not what it should be.
    """
    wanted: set[str] = set()

    def patient(record: Mapping[str, Any]) -> Choice:
        wanted.add(str(record["patient_id"]))
        return _question(record, notes=[""] * int(record["num_notes"]))

    allowed = "Lines of JSON with 'patient_id', 'num_notes', 'question', 'choice_A' to 'choice_E' and 'answer'."
    read_lines(root / QUESTIONS, patient, allowed=allowed)
    notes = _notes_of(root / NOTES, wanted)

    def asked(record: Mapping[str, Any]) -> Choice:
        return _question(record, notes=notes.get(str(record["patient_id"]), []))

    return read_lines(root / QUESTIONS, asked, allowed=allowed), ()


def _question(record: Mapping[str, Any], *, notes: list[str]) -> Choice:
    options = {letter: str(record[f"choice_{letter}"]).strip() for letter in "ABCDE"}
    count = int(record["num_notes"])
    if not 1 <= count <= len(notes):
        raise ValueError(f"{len(notes)} notes of the patient, where the question needs {count}")
    shown = "\n\n".join(f"DISCHARGE{number}:\n{note}" for number, note in enumerate(notes[:count], start=1))
    listed = "\n".join(f"CHOICE_{letter}: {option}" for letter, option in options.items())
    question = f"QUESTION:\n{record['question'].strip()}\nthe choices are:\n{listed}"
    return Choice(
        text=f"{shown}\n\n{question}",
        letters="ABCDE",
        truth=truth_among(record["answer"], options),
        group=f"{count} note{'s' if count > 1 else ''}",
        patient=str(record["patient_id"]),
        brief=question,
    )


def _notes_of(path: Path, patients: set[str]) -> dict[str, list[str]]:
    """The notes of some patients, oldest first; the file is read line by line."""
    found: dict[str, list[tuple[str, str]]] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file, _long_fields():
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise FileFormatError(
                    f"{path.name} has no column {missing[0]!r}.", allowed=f"Columns: {', '.join(_COLUMNS)}."
                )
            for row in reader:
                if row["subject_id"] in patients:
                    note = f"Patient ID : {row['subject_id']}\nAdmission ID : {row['hadm_id']}\n"
                    note += f"Chartdate : {row['charttime'][:10]}\n{_reduced(row['text'])}"
                    found.setdefault(row["subject_id"], []).append((row["charttime"], note))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, TypeError) as error:
        raise FileFormatError(
            f"{path.name} cannot be read: {type(error).__name__}: {error}.",
            allowed="discharge.csv.gz of MIMIC-IV-Note.",
            next_step="Get the file again, and compare it with the checksums of its publisher.",
        ) from error
    return {name: [note for _, note in sorted(notes, key=lambda pair: pair[0])] for name, notes in found.items()}


def _reduced(text: str) -> str:
    """Blank space as the publisher leaves it: single line breaks, single spaces."""
    return re.sub(r"\s{2,}", " ", re.sub(r"\n\s*|\s*\n", "\n", text)).strip()


@contextmanager
def _long_fields() -> Iterator[None]:
    """A note is one field of the table, and may be longer than Python takes without being told."""
    before = csv.field_size_limit(_LONGEST_NOTE)
    try:
        yield
    finally:
        csv.field_size_limit(before)
