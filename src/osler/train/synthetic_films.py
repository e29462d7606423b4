"""Chest X-rays of synthetic patients at several dates, rendered once, with everything that the facts say of them.

Patients are drawn by number; those whose frontal films show a change are taken,
and every fourth of those without one, so that changes are not drowned by
stable findings. Films lie in one file a block of patients, so that rendering
goes on where it was stopped.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import DataError, RequestError
from osler.synth.draw import draw_patient
from osler.synth.facts import Exam, FindingFact, PatientFacts
from osler.synth.xrays import Radiograph, render_xray
from osler.synth.xrays.radiograph import mask_box
from osler.weights.cache import whole_file

BLOCK = 40
"""Patient numbers of one file."""

_UNCHANGED = 4
_CHANGED = ("new", "larger", "smaller", "resolved")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmRequest:
    """Which films to render.

    Args:
        seed: Of the synthetic patients; training and test patients have different seeds.
        patients: Numbers 0 up to this one are looked at.
        size: Longest side, px.
        dates: Most films of a patient, the latest ones.
    """

    seed: int
    patients: int
    size: int = 256
    dates: int = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Film:
    """One film.

    Args:
        pixels: uint8 (row, column).
        patient: Number. exam: Of the patient's exams. day: Since the first exam.
        view: "PA" or "AP".
        boxes: Label to boxes (x0, y0, x1, y1) in pixels: lungs, heart and lesions (side and finding).
        findings: Finding to its certainty and its change since the film before.
    """

    pixels: np.ndarray
    patient: int
    exam: int
    day: int
    view: str
    boxes: Mapping[str, Sequence[Sequence[float]]]
    findings: Mapping[str, Mapping[str, str]]


def frontal_exams(patient: PatientFacts) -> list[Exam]:
    """The frontal chest X-rays of a patient, in order of time."""
    return [
        e for e in patient.exams if e.modality == "DX" and e.region == "chest" and e.acquisition.view in ("PA", "AP")
    ]


def wanted_exams(patient: PatientFacts, *, dates: int) -> list[Exam]:
    """The films to render: the latest ones of a patient, none for most patients without a change."""
    exams = frontal_exams(patient)[-dates:]
    changed = any(fact.change in _CHANGED and fact.certainty != "absent" for exam in exams for fact in exam.findings)
    return exams if len(exams) > 1 and (changed or patient.number % _UNCHANGED == 0) else []


def render_films(folder: Path, *, request: FilmRequest, workers: int) -> None:
    """Renders every block that is not there yet.

    Raises:
        RequestError: If the folder holds films of another request.
        DataError: If a worker fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about, wanted = folder / "request.json", asdict(request)
    if about.is_file():
        found = json.loads(about.read_text(encoding="utf-8"))
        if {**found, "patients": 0} != {**wanted, "patients": 0}:
            raise RequestError(f"{str(folder)!r} holds films of {found}.", next_step="Choose another folder.")
    with whole_file(about) as out:
        out.write(json.dumps(wanted).encode())
    blocks = [start for start in range(0, request.patients, BLOCK) if not _block_path(folder, start).is_file()]
    context = multiprocessing.get_context("fork")
    crew = [
        context.Process(target=_render_blocks, args=(folder, blocks[number::workers], request))
        for number in range(workers)
    ]
    for worker in crew:
        worker.start()
    for worker in crew:
        worker.join()
    if any(worker.exitcode != 0 for worker in crew):
        raise DataError(f"Rendering films into {str(folder)!r} failed.", next_step="See the message above.")


def read_films(folder: Path, *, most: int | None = None) -> Iterator[Film]:
    """Yields rendered films, patient by patient, in order of time.

    Raises:
        DataError: If there is none.
    """
    count = 0
    for path in sorted(folder.glob("films-*.npz")):
        with np.load(path) as stored:
            rows = json.loads(str(stored["rows"]))
            for pixels, row in zip(stored["pixels"], rows, strict=True):
                yield Film(pixels=pixels[: row.pop("height"), : row.pop("width")], **row)
                count += 1
                if most is not None and count >= most:
                    return
    if not count:
        raise DataError(f"No films in {str(folder)!r}.", next_step="Render them first.")


def _block_path(folder: Path, start: int) -> Path:
    return folder / f"films-{start:07d}.npz"


def _render_blocks(folder: Path, blocks: Sequence[int], request: FilmRequest) -> None:
    for start in blocks:
        pixels, rows = [], []
        for number in range(start, min(start + BLOCK, request.patients)):
            patient = draw_patient(seed=request.seed, number=number)
            for exam in wanted_exams(patient, dates=request.dates):
                shot = render_xray(patient, exam=exam, size=request.size)
                square = np.zeros((request.size, request.size), np.uint8)
                square[: shot.pixels.shape[0], : shot.pixels.shape[1]] = shot.pixels
                pixels.append(square)
                rows.append(_row(patient, exam=exam, shot=shot))
        with whole_file(_block_path(folder, start)) as out:
            stacked = np.stack(pixels) if pixels else np.zeros((0, request.size, request.size), np.uint8)
            np.savez_compressed(out, pixels=stacked, rows=np.array(json.dumps(rows)))


def _row(patient: PatientFacts, *, exam: Exam, shot: Radiograph) -> dict[str, Any]:
    boxes: dict[str, list[list[float]]] = {}
    for label, mask in (("right lung", shot.lungs[0]), ("left lung", shot.lungs[1]), ("heart", shot.heart)):
        if (box := mask_box(mask)) is not None:
            boxes[label] = [[box.x0, box.y0, box.x1, box.y1]]
    for lesion in shot.lesions:
        box = lesion.box
        boxes.setdefault(lesion.fact.key, []).append([box.x0, box.y0, box.x1, box.y1])
    height, width = shot.pixels.shape
    return {
        "height": height,
        "width": width,
        "patient": patient.number,
        "exam": exam.number,
        "day": exam.day,
        "view": exam.acquisition.view,
        "boxes": boxes,
        "findings": _findings(exam.findings),
    }


def _findings(facts: Sequence[FindingFact]) -> dict[str, dict[str, str]]:
    """One entry a finding; of several lesions the one that changed most."""
    order = {change: rank for rank, change in enumerate(("first", "stable", "resolved", "smaller", "larger", "new"))}
    found: dict[str, dict[str, str]] = {}
    for fact in facts:
        entry = {"certainty": fact.certainty, "change": fact.change}
        known = found.get(fact.key)
        if known is None or order[fact.change] > order[known["change"]]:
            found[fact.key] = entry
    return found
