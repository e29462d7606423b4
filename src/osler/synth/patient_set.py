"""Many patients in one folder: which of them are there, and the ones that are missing.

The folder holds ``patients.json`` (seed, version and plan) and one folder a patient. A
run that was interrupted is started again with the same arguments and goes on;
patients that are there stay as they are, but files that they lost are made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import osler
from osler.errors import RequestError
from osler.synth.draw import MOST_PATIENTS, draw_facts
from osler.synth.facts import Exam, PatientFacts
from osler.synth.patient_folder import FORMAT, FolderPlan, remove_leftovers, write_patient_folder
from osler.synth.rendered import Render
from osler.synth.timeline import patient_id
from osler.writers import write_atomic

MANIFEST = "patients.json"
MOST_COUNT = 10_000_000
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientSet:
    """Which patients, and how they are written.

    Args:
        seed: Of the collection, 0 to 2**63 - 1.
        count: How many.
        first: Number of the first one.
        plan: What is written of each.

    Raises:
        RequestError: If a number is out of range.
    """

    seed: int
    count: int
    first: int = 0
    plan: FolderPlan

    def __post_init__(self) -> None:
        checks = (
            ("seed", self.seed, 0, 2**63 - 1),
            ("count of patients", self.count, 1, MOST_COUNT),
            ("first patient", self.first, 0, MOST_PATIENTS - self.count),
        )
        for name, value, least, most in checks:
            if not least <= value <= most:
                raise RequestError(f"A {name} of {value}.", allowed=f"{least} to {most:,}.")

    @property
    def numbers(self) -> range:
        """The numbers of the patients."""
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientsWritten:
    """What a run did.

    Args:
        folder: Where the patients lie.
        patients: Their identifiers, in order.
        written: How many this run wrote. kept: How many were there already.
        remade: Files of those that were missing or damaged, and were made again.
    """

    folder: Path
    patients: tuple[str, ...]
    written: int
    kept: int
    remade: tuple[str, ...] = ()


def draw_with_reports(*, seed: int, number: int) -> tuple[PatientFacts, tuple[str, ...]]:
    """Draws a patient and the text of each exam's report.

    Raises:
        RequestError: If the seed or the number is out of range, or the synth extra is not installed.
    """
    from osler.synth.reports.render import render_texts

    if not 0 <= number < MOST_PATIENTS:
        raise RequestError(f"Patient {number} is out of range.", allowed=f"Numbers are 0 to {MOST_PATIENTS - 1}.")
    table = draw_facts(seed=seed, patients=np.array([number], dtype=np.int64))
    texts, _ = render_texts(table)
    return table.patient(0), tuple(texts.to_pylist())


def text_of(texts: tuple[str, ...]) -> Callable[[Exam], str]:
    """The function from an exam to its text."""
    return partial(_pick, texts)


def _pick(texts: tuple[str, ...], exam: Exam) -> str:
    return texts[exam.number]


def write_patients(
    wanted: PatientSet, *, out: Path, render: Render | None = None, progress: Progress | None = None
) -> PatientsWritten:
    """Writes the patients that are missing in a folder.

    Args:
        wanted: Which patients, and how.
        out: A new or empty folder, or one of an earlier run with the same seed, version and plan.
        render: Draws an exam; without it there are no images.
        progress: Called with the number of patients done and of all.

    Raises:
        RequestError: If the folder holds other data, or cannot be written.
    """
    prepare_folder(out, wanted=wanted)
    written, names, remade = 0, [], []
    for done, number in enumerate(wanted.numbers):
        if progress is not None:
            progress(done, wanted.count)
        patient, texts = draw_with_reports(seed=wanted.seed, number=number)
        names.append(patient_id(patient))
        made = write_patient_folder(patient, out=out, render=render, report_text=text_of(texts), plan=wanted.plan)
        written += made.state == "written"
        remade += [f"{names[-1]}/{name}" for name in made.remade]
    return PatientsWritten(
        folder=out, patients=tuple(names), written=written, kept=wanted.count - written, remade=tuple(remade)
    )


def prepare_folder(out: Path, *, wanted: PatientSet) -> None:
    """Makes the folder, or checks that it belongs to the same collection; removes what a killed run left.

    Raises:
        RequestError: If it holds other data, or cannot be made.
    """
    manifest = {"osler": osler.__version__, "format": FORMAT, "seed": wanted.seed, "plan": asdict(wanted.plan)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = {path.name for path in out.iterdir()}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise RequestError(
            f"Cannot use {str(out)!r} as a folder: {reason}.",
            allowed="A folder that can be made or written.",
            next_step="Name another folder.",
        ) from error
    if MANIFEST in present:
        _require_same(out / MANIFEST, manifest=manifest)
    elif any(not name.startswith(".osler-") for name in present):
        raise RequestError(
            f"{str(out)!r} holds other data ({len(present)} entries, no {MANIFEST}).",
            allowed="A new or empty folder, or one that an earlier run wrote.",
            next_step="Name another folder; nothing was written.",
        )
    else:
        write_atomic(out / MANIFEST, data=(json.dumps(manifest, indent=1) + "\n").encode())
    remove_leftovers(out)


def _require_same(path: Path, *, manifest: dict[str, Any]) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        differ = [
            f"{key} {found.get(key)!r} there, {manifest[key]!r} asked"
            for key in manifest
            if found.get(key) != manifest[key]
        ]
    except (OSError, ValueError, AttributeError) as error:
        raise RequestError(
            f"{str(path)!r} cannot be read as a manifest of patients.",
            allowed="The file that an earlier run wrote.",
            next_step="Restore it, or name another folder.",
        ) from error
    if differ:
        raise RequestError(
            f"{str(path.parent)!r} holds another collection: {'; '.join(differ)}.",
            allowed="The same seed, version and options as the run that wrote it.",
            next_step="Name another folder.",
        )
