"""Tiny folders in the layouts of the publishers of question benchmarks; every truth is known by construction."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from tests.evaluate.sets.folders import write_csv

AFRIMED_COLUMNS = (
    "sample_id", "split", "question_type", "question", "question_clean", "answer_options", "correct_answer",
    "specialty", "tier",
)  # fmt: skip
HEMOGLOBIN = {
    "name": "Hemoglobin", "result": "13.4", "unit": "g/dL", "specimen": "Blood",
    "sample_collection_time": "03-02-2021 08:15:00",
}  # fmt: skip
POTASSIUM = {"name": "Potassium", "result": "5.8", "unit": "mmol/L", "specimen": "Serum"}


def write_lines(path: Path, records: Sequence[Mapping[str, object] | str]) -> None:
    """Writes records as lines of JSON; text stands as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_picture(path: Path, *, seed: int = 0) -> None:
    """Writes a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24, 3)).astype(np.uint8)).save(path)


def write_medxpertqa(root: Path, *, pictured: bool = True) -> None:
    """Two text questions with ten choices, one damaged; two MM questions with five, the second with two pictures."""
    letters = "ABCDEFGHIJ"
    options = {letter: f"drug {number}" for number, letter in enumerate(letters)}
    listed = " ".join(f"({letter}) {option}" for letter, option in options.items())
    shared = {"options": options, "medical_task": "Treatment", "body_system": "Other", "question_type": "Reasoning"}
    question = f"Which drug?\nAnswer Choices: {listed}"
    text = [{"id": f"Text-{n}", "question": question, "label": label, **shared} for n, label in enumerate("AJ")]
    write_lines(root / "medxpertqa/Text/test.jsonl", [*text, {"id": "Text-2", "question": "No label"}])
    if not pictured:
        return
    few = {letter: options[letter] for letter in "ABCDE"}
    mm = [
        {**shared, "id": f"MM-{n}", "question": "What is it?\nAnswer Choices: (A) x (B) y (C) z (D) v (E) w",
         "options": few, "label": "A", "images": [f"MM-{n}-{name}.jpeg" for name in names]}
        for n, names in enumerate(("a", "ab"))
    ]  # fmt: skip
    write_lines(root / "medxpertqa/MM/test.jsonl", mm)
    for seed, name in enumerate(("MM-0-a", "MM-1-a", "MM-1-b")):
        write_picture(root / f"medxpertqa/images/{name}.jpeg", seed=seed)


def write_afrimed(root: Path) -> None:
    """An expert's question with one right answer, one with two and one N/A, a damaged one, and two to leave out."""
    options = {f"option{n}": f"choice {n}" for n in range(1, 6)}
    rows = [
        ("one", "mcq", "expert", options, "option1"),
        ("two", "mcq", "expert", {**options, "option3": "n/a"}, "option2,option4"),
        ("bad", "mcq", "expert", "{not json", "option1"),
        ("crowd", "mcq", "crowdsourced", options, "option1"),
        ("short", "saq", "expert", {}, ""),
    ]
    write_csv(
        root / "afrimed-qa" / "afri_med_qa_15k_v2.5_phase_2_15275.csv",
        [
            dict(
                zip(
                    AFRIMED_COLUMNS,
                    (name, "test", kind, f"Question {name}?\n\n", "", given if isinstance(given, str) else
                     json.dumps(given), answer, "Urology", tier),
                    strict=True,
                )
            )
            for name, kind, tier, given, answer in rows
        ],
    )  # fmt: skip


MMLU_PRO = [
    {"question_id": 70, "question": "Largest?", "options": [str(n) for n in range(10)], "answer": "J",
     "answer_index": 9, "cot_content": "", "category": "math", "src": "x"},
    {"question_id": 71, "question": "Smallest?", "options": ["4", "5", "6"], "answer": "A", "answer_index": 0,
     "cot_content": "", "category": "health", "src": "x"},
]  # fmt: skip


def write_ehrnoteqa(root: Path) -> None:
    """A patient with two notes, newest first; one whose second is missing; one that nobody asks about."""
    folder = root / "ehrnoteqa"
    choices = {f"choice_{letter}": f"answer {letter}" for letter in "ABCDE"}
    questions = [
        {"category": "Problem", "num_notes": 2, "patient_id": 10, "clinician": "a", "question": "Why?", **choices,
         "answer": "A"},
        {"category": "Treatment", "num_notes": 2, "patient_id": 11, "clinician": "a", "question": "How?", **choices,
         "answer": "B"},
    ]  # fmt: skip
    write_lines(folder / "EHRNoteQA.jsonl", questions)
    columns = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text")
    long = "word " * 40_000  # longer than a field of Python's csv may be without being told
    notes = [
        ("10-DS-2", 10, 101, "DS", 2, "2150-06-01 00:00:00", "", "Second\n\n\n   note,  with   gaps.\n"),
        ("10-DS-1", 10, 100, "DS", 1, "2150-01-01 00:00:00", "", " First note. "),
        ("11-DS-1", 11, 110, "DS", 1, "2150-01-01 00:00:00", "", "Only note."),
        ("12-DS-1", 12, 120, "DS", 1, "2150-01-01 00:00:00", "", long),
    ]
    with gzip.open(folder / "discharge.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(notes)


def write_ehrqa(root: Path) -> None:
    """Three categories: choices, yes or no, a few words; two patients; a damaged line."""
    records = [
        {"id": "c", "patient": "p1", "category": "medication", "record": "Aspirin since 2019.", "question": "Which?",
         "choices": ["Insulin", "Aspirin"], "answer": "Aspirin"},
        {"id": "y", "patient": "p1", "category": "condition", "record": "Diabetes.", "question": "Diabetes?",
         "answer": "yes"},
        {"id": "n", "patient": "p2", "category": "condition", "record": "Healthy.", "question": "Diabetes?",
         "answer": "no"},
        {"id": "w", "patient": "p2", "category": "value", "record_file": "p2.txt", "question": "Last hemoglobin?",
         "answer": "13.4 g/dL"},
        "{broken",
    ]  # fmt: skip
    write_lines(root / "ehrqa/questions.jsonl", records)
    (root / "ehrqa/records").mkdir()
    (root / "ehrqa/records/p2.txt").write_text("Hemoglobin 13.4 g/dL", encoding="utf-8")


def write_slake(root: Path) -> None:
    """Three pictures with a closed and an open English question each, and a Chinese one; one picture is broken."""
    entries: list[dict[str, object]] = []
    for number in range(3):
        name = f"xmlab{number}/source.jpg"
        write_picture(root / "slake/imgs" / name, seed=number)
        shared = {"img_id": number, "img_name": name, "location": "Lung", "modality": "CT", "base_type": "vqa"}
        for qid, (lang, kind, answer) in enumerate((("en", "CLOSED", "Yes"), ("en", "OPEN", "Right Lung"),
                                                    ("zh", "CLOSED", "no"))):  # fmt: skip
            entries.append(
                {**shared, "qid": 10 * number + qid, "question": f"q{qid}?", "answer": answer, "q_lang": lang,
                 "answer_type": kind, "content_type": "Abnormality", "triple": ["vhead", "_", "_"]}
            )  # fmt: skip
    (root / "slake/imgs/xmlab2/source.jpg").write_bytes(b"broken")
    entries.append({"img_id": 9, "q_lang": "en", "question": "without a picture?"})
    (root / "slake/test.json").write_text(json.dumps(entries), encoding="utf-8")


def write_pictured(root: Path, folder: str) -> None:
    """Five questions of two patients, one picture broken; then a picture outside the folder, and a wrong answer."""
    shared = {"question": "What is shown?", "choices": ["nevus", "melanoma", "wart", "cyst"]}
    records = [
        {**shared, "id": "1", "image": "1.png", "answer": "A", "patient": "p"},
        {**shared, "id": "2", "image": "2.png", "answer": "melanoma", "patient": "p"},
        {**shared, "id": "3", "images": ["3.png"], "answer": "A", "patient": "q"},
        {**shared, "id": "4", "image": "1.png", "answer": "B", "patient": "p"},
        {**shared, "id": "5", "image": "2.png", "answer": "(b)", "patient": "p"},
        {**shared, "id": "out", "image": "../../secret.png", "answer": "A"},
        {**shared, "id": "wrong", "image": "1.png", "answer": "eczema"},
    ]
    write_lines(root / folder / "questions.jsonl", records)
    write_picture(root / folder / "images/1.png", seed=1)
    write_picture(root / folder / "images/2.png", seed=2)
    (root / folder / "images/3.png").write_bytes(b"broken")


def write_eyepacs(root: Path) -> None:
    """Two eyes of one patient and one of another; the picture of a fourth is not there, a fifth has no such grade."""
    rows = [("10_left", 0), ("10_right", 2), ("13_left", 0), ("15_left", 4), ("16_left", 7)]
    write_csv(root / "eyepacs/trainLabels.csv", [{"image": name, "level": level} for name, level in rows])
    for seed, name in enumerate(("10_left", "10_right", "13_left", "16_left")):
        write_picture(root / f"eyepacs/train/{name}.jpeg", seed=seed)


def write_laboratory_reports(root: Path, source: str = "ehr2") -> None:
    """A report of one picture, one of two pages in a folder, one that is missing, and one without a name of a test."""
    folder = root / "lab-reports" / source
    wanted = {
        "one.png": [HEMOGLOBIN, POTASSIUM],
        "two": [POTASSIUM],
        "gone.pdf": [POTASSIUM],
        "bad.png": [{"unit": "l"}],
    }
    write_picture(folder / "reports/one.png", seed=1)
    write_picture(folder / "reports/two/1.png", seed=2)
    write_picture(folder / "reports/two/2.png", seed=3)
    (folder / "wanted.json").write_text(json.dumps(wanted), encoding="utf-8")


def write_everything(root: Path) -> None:
    """All of the above in one folder."""
    write_medxpertqa(root)
    write_afrimed(root)
    write_lines(root / "mmlu-pro/test.jsonl", MMLU_PRO)
    write_ehrnoteqa(root)
    write_ehrqa(root)
    write_slake(root)
    write_pictured(root, "derm-mcqa")
    write_pictured(root, "path-mcqa")
    write_eyepacs(root)
    write_laboratory_reports(root)
