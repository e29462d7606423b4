"""Synthetic CT and MR volumes with questions, as a table of scans that a fine-tuning reads.

One exam a patient, a part of its slices, in one of the three planes, as NIfTI, and `QUESTIONS_FILE` in the layout of
`osler.train.local_table`, with the kind of each question and, where the part shows no other region, what the volume
is. Patients are kept apart by the hash of their number; those that are kept out are asked in
wordings of their own (but for what the volume is).
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from osler.errors import RequestError
from osler.study import Affine
from osler.synth.draw import draw_patient
from osler.synth.facts import Exam, PatientFacts
from osler.synth.phantoms import render_volume
from osler.synth.phantoms.render import Phantom
from osler.train.answers import ask_about
from osler.train.checkpoints import save_json
from osler.train.local_table import is_kept_out
from osler.train.phantom_questions import (
    Fact,
    SeenFinding,
    SeenVolume,
    balanced,
    facts_of,
    limits_of,
    settled,
    wording,
)
from osler.train.pictures import Labels
from osler.weights.cache import whole_file
from osler.weights.json_file import read_json

QUESTIONS_FILE = "questions.csv"
WHAT = "what"
"""The kind of the questions on modality, region and plane."""

_PLAN = "phantoms.json"
_VERSION = 1
_PLANES = {"axial": ("LPS", "LPI"), "coronal": ("LIP", "LIA"), "sagittal": ("PIL", "PIR")}
"""Axes of the voxels; slices run one way or the other, so that a name alone does not tell where an organ lies."""
_PLANE_CHANCES = (0.6, 0.2, 0.2)
_SIDE_PX = 112
_WHOLE = 0.35
"""Chance that all slices of an exam are kept."""
_COLUMNS = ("path", "question", "answer", "patient", "split", "kind", "modality", "region", "plane")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomRequest:
    """Which volumes to render.

    Args:
        seed: Of the synthetic patients. patients: Numbers 0 up to this one are looked at.
        kept_out: Share of the patients that are kept out of training.
        most: Questions of a kind in training; a quarter as many of kept-out patients.
    """

    seed: int
    patients: int
    kept_out: float
    most: int = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Made:
    """A rendered volume, and what is known of it."""

    name: str
    patient: str
    out: bool
    labels: Labels | None
    facts: list[Fact]


def render_phantoms(
    folder: Path, *, request: PhantomRequest, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Renders the volumes and writes their table, unless it is there.

    Args:
        on_progress: Called with the patients done and in all.

    Raises:
        RequestError: If the folder holds other data, or cannot be written.
    """
    plan = {"what": "phantoms with questions", "version": _VERSION, **asdict(request)}
    path = folder / _PLAN
    if path.is_file():
        found = read_json(path)
        if differ := sorted(key for key in plan if found.get(key) != plan[key]):
            raise RequestError(
                f"{str(folder)!r} holds other phantoms ({', '.join(differ)} differ).", next_step="Name another folder."
            )
    elif folder.exists() and any(folder.iterdir()):
        raise RequestError(f"{str(folder)!r} holds other data.", allowed="A new or empty folder.")
    if (folder / QUESTIONS_FILE).is_file():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_json(path, plan)
        made = []
        for number in range(request.patients):
            if (one := _made(folder, number=number, request=request)) is not None:
                made.append(one)
            if on_progress is not None:
                on_progress(number + 1, request.patients)
        # Last: its being there says that the volumes are.
        with whole_file(folder / QUESTIONS_FILE) as out:
            out.write(_table(made, request=request).encode())
    except OSError as error:
        raise RequestError(
            f"Cannot write {str(folder)!r}: {error.strerror or type(error).__name__}.",
            next_step="Free some space or name another folder.",
        ) from error


def _made(folder: Path, *, number: int, request: PhantomRequest) -> _Made | None:
    """Renders and writes the volume of a patient, ``None`` for one without a CT or MR of trunk or head."""
    patient = draw_patient(seed=request.seed, number=number)
    exams = [e for e in patient.exams if e.modality in ("CT", "MR") and e.region != "knee"]
    if not exams:
        return None
    rng = np.random.default_rng([request.seed, number])
    exam = exams[int(rng.integers(len(exams)))]
    plane = str(rng.choice(list(_PLANES), p=_PLANE_CHANCES))
    shape = (int(rng.integers(20, 37)), _SIDE_PX, _SIDE_PX)
    phantom = render_volume(patient, exam=exam.number, shape=shape, axes=str(rng.choice(_PLANES[plane])))
    whole = bool(rng.random() < _WHOLE)
    count = shape[0] if whole else int(shape[0] * rng.uniform(0.4, 0.85))
    first = int(rng.integers(shape[0] - count + 1))
    part = slice(first, first + count)
    name = f"{request.seed}-{number}-{exam.number}"
    _write(folder / f"{name}.nii.gz", array=phantom.array[part], affine=_from_slice(phantom.affine, first))
    key = f"phantom {request.seed} {number}"
    labels = Labels(modality=exam.modality.lower(), region=exam.region, plane=plane)
    return _Made(
        name=name,
        patient=key,
        out=is_kept_out(key, share=request.kept_out),
        # A part of a chest may show the belly.
        labels=labels if whole or exam.region == "head" else None,
        facts=facts_of(_seen(phantom, patient=patient, exam=exam, part=part)),
    )


def _seen(phantom: Phantom, *, patient: PatientFacts, exam: Exam, part: slice) -> SeenVolume:
    findings = []
    for lesion in phantom.lesions:
        fact = next(f for f in exam.findings if f.lesion == lesion.lesion)
        side = fact.side if fact.side in ("left", "right") else ""
        voxels = int(np.count_nonzero(phantom.mask(lesion.lesion)[part]))
        findings.append(SeenFinding(name=_named(lesion.key), side=side, voxels=voxels))
    drawn = {lesion.key for lesion in phantom.lesions} | set(phantom.not_drawn)
    directions = np.abs(phantom.affine.matrix[2, :3])
    column = int(directions.argmax())
    return SeenVolume(
        body="head" if exam.region == "head" else "trunk",
        organs=phantom.organs[part],
        findings=tuple(findings),
        absent=tuple(_named(f.key) for f in exam.findings if f.certainty == "absent" and f.key not in drawn),
        spacing_mm=float(np.linalg.norm(phantom.affine.matrix[:3, 2])),
        up_mm=float(directions[column]),
        up_axis=2 - column,
    )


def _named(key: str) -> str:
    return key.replace("-", " ")


def _from_slice(affine: Affine, first: int) -> Affine:
    """The affine of a volume that starts at a later slice."""
    matrix = affine.matrix.copy()
    matrix[:3, 3] += first * matrix[:3, 2]
    return Affine(matrix=matrix)


def _write(path: Path, *, array: np.ndarray, affine: Affine) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(array.transpose(2, 1, 0), affine.to_ras())  # a NIfTI array is (column, row, slice)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as out:
        out.write(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _table(made: list[_Made], *, request: PhantomRequest) -> str:
    """The questions of all volumes; lengths are asked against the medians of the volumes of training."""
    limits = limits_of(fact for one in made if not one.out for fact in one.facts)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for out in (False, True):
        rng = np.random.default_rng([request.seed, int(out)])
        rows: list[tuple[int, str, str, str]] = []
        found: list[tuple[int, Fact]] = []
        for number, one in enumerate(made):
            if one.out != out:
                continue
            if one.labels is not None:
                exchange = ask_about(one.labels, form="volume", rng=rng)
                rows.append((number, exchange.question, exchange.answer, WHAT))
            known = (settled(fact, limits=limits) for fact in one.facts if not fact.value or fact.group in limits)
            found += [(number, fact) for fact in known if fact is not None]
        most = request.most // 4 if out else request.most
        for number, fact in balanced(found, most=most, rng=rng):
            rows.append((number, wording(fact, limits=limits, kept_out=out, rng=rng), fact.answer, fact.kind))
        for number, question, answer, kind in sorted(rows, key=lambda row: (row[0], row[3], row[1])):
            one = made[number]
            split = "kept-out" if out else "train"
            shown = ("",) * 3 if one.labels is None else (one.labels.modality, one.labels.region, one.labels.plane)
            writer.writerow((f"{one.name}.nii.gz", question, answer, one.patient, split, kind, *shown))
    return text.getvalue()
