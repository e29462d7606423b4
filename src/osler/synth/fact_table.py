"""Facts of many patients as flat columns, and the typed view of one patient.

The columns are what the fast paths (reports, shards) read; `FactTable.patient` gives
the same facts as the dataclasses of `facts`. Conventions of all columns:

* Words are codes: ``sex``, ``certainty``, ``side``, ``severity``, ``change``, ``flag``
  index the tuples `SEXES`, `CERTAINTIES`... below; ``protocol``, ``finding``, ``site``,
  ``indication``, ``lab``, ``condition``, ``medication`` index the tuples of the same
  name in `osler.synth.ontology.load_ontology()`; ``device``, ``kernel``, ``contrast``,
  ``sequence``, ``view``, ``stain`` index `ACQUISITION_WORDS`.
* "None" is 0 in whole-number columns of acquisition and findings, NaN in float columns,
  -1 in ``site`` (diffuse) and ``compared`` (nothing compared), `STILL_TAKEN` in ``stop``.
* ``*_start`` has one entry more than its owner has rows: the rows of owner ``i`` are
  ``start[i]:start[i + 1]``. Exams lie in order of patient and time; findings in order
  of exam, visible and resolved ones first, explicit negatives last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from osler.study import ReferenceRange
from osler.synth.facts import (
    Acquisition,
    Anatomy,
    Certainty,
    Change,
    Condition,
    Exam,
    FindingFact,
    Flag,
    Lab,
    Medication,
    PatientFacts,
    Severity,
    Sex,
    Side,
)
from osler.synth.ontology import Ontology, load_ontology

SEXES: tuple[Sex, ...] = get_args(Sex)
SIDES: tuple[Side, ...] = get_args(Side)
CERTAINTIES: tuple[Certainty, ...] = get_args(Certainty)
CHANGES: tuple[Change, ...] = get_args(Change)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
FLAGS: tuple[Flag, ...] = get_args(Flag)
STILL_TAKEN = np.iinfo(np.int32).max
ACQUISITION_WORDS: tuple[str, ...] = (
    "",
    "CT-16",
    "CT-64",
    "CT-128",
    "CT-256",
    "MR-1.5T",
    "MR-3T",
    "DR-FIXED",
    "DR-MOBILE",
    "WSI-20",
    "WSI-40",
    "soft",
    "lung",
    "bone",
    "brain",
    "none",
    "arterial",
    "pulmonary-arterial",
    "portal-venous",
    "gadolinium",
    "T1",
    "T2",
    "FLAIR",
    "DWI",
    "SWI",
    "PD-FS",
    "T1-FS",
    "T2-FS",
    "T1-Dixon",
    "PA",
    "AP",
    "lateral",
    "H&E",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatientColumns:
    """One row a patient (P)."""

    number: np.ndarray  # int64
    sex: np.ndarray  # int8
    age: np.ndarray  # int16, years on day 0
    height_cm: np.ndarray  # float64, as all lengths
    weight_kg: np.ndarray
    half_width_mm: np.ndarray
    half_depth_mm: np.ndarray
    trunk_mm: np.ndarray
    head_mm: np.ndarray  # (P, 3)
    knee_mm: np.ndarray
    shape: np.ndarray  # int64
    exam_start: np.ndarray  # (P + 1,) int64, as all starts
    lab_start: np.ndarray
    condition_start: np.ndarray
    medication_start: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExamColumns:
    """One row an exam (E); acquisition columns as in `facts.Acquisition`."""

    patient: np.ndarray  # int32, row of PatientColumns
    number: np.ndarray  # int16
    day: np.ndarray  # int32
    protocol: np.ndarray  # int16
    indication: np.ndarray  # int16
    compared: np.ndarray  # int32, row of ExamColumns, -1: nothing compared
    compared_day: np.ndarray  # int32, 0 where nothing is compared
    age: np.ndarray  # int16, on the day of the exam
    sex: np.ndarray  # int8
    side: np.ndarray  # int8, of a knee or breast
    device: np.ndarray  # int16 words
    rows: np.ndarray  # int32
    columns: np.ndarray
    slices: np.ndarray
    pixel_mm: np.ndarray  # float64
    slice_mm: np.ndarray
    spacing_mm: np.ndarray
    kvp: np.ndarray  # int32
    mas: np.ndarray
    kernel: np.ndarray  # int16 words
    contrast: np.ndarray
    field_t: np.ndarray  # float64
    sequence: np.ndarray  # int16 words
    te_ms: np.ndarray  # float64
    tr_ms: np.ndarray
    ti_ms: np.ndarray
    flip_deg: np.ndarray  # int32
    view: np.ndarray  # int16 words
    stain: np.ndarray
    magnification: np.ndarray  # int32
    study_uid: np.ndarray  # uint64: the text is f"2.25.{bits}"
    series_uid: np.ndarray
    finding_start: np.ndarray  # (E + 1,) int64
    negative_start: np.ndarray  # (E,) int64: where the explicit negatives of the exam begin


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FindingColumns:
    """One row a finding on an exam (F)."""

    exam: np.ndarray  # int32, row of ExamColumns
    finding: np.ndarray  # int16
    lesion: np.ndarray  # int16, 0 for negatives
    certainty: np.ndarray  # int8
    side: np.ndarray  # int8
    site: np.ndarray  # int16
    severity: np.ndarray  # int8
    size_mm: np.ndarray  # int16
    axes_mm: np.ndarray  # (F, 3) float64, NaN: none
    center_mm: np.ndarray  # (F, 3) float64, NaN: none
    change: np.ndarray  # int8
    change_percent: np.ndarray  # int16
    prior_size_mm: np.ndarray  # int16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabColumns:
    """One row a laboratory value, in order of patient, day and lab."""

    patient: np.ndarray  # int32
    lab: np.ndarray  # int16
    day: np.ndarray  # int32
    value: np.ndarray  # float64, rounded to the lab's decimals
    low: np.ndarray  # float64, NaN: open
    high: np.ndarray
    flag: np.ndarray  # int8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConditionColumns:
    """One row a diagnosis, in order of patient and onset."""

    patient: np.ndarray  # int32
    condition: np.ndarray  # int16
    onset: np.ndarray  # int32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MedicationColumns:
    """One row a drug, in order of patient and start."""

    patient: np.ndarray  # int32
    medication: np.ndarray  # int16
    start: np.ndarray  # int32
    stop: np.ndarray  # int32, STILL_TAKEN: none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactTable:
    """The facts of a batch of patients.

    Args:
        seed: Of the collection.
        patients: In the order they were asked for.
    """

    seed: int
    patients: PatientColumns
    exams: ExamColumns
    findings: FindingColumns
    labs: LabColumns
    conditions: ConditionColumns
    medications: MedicationColumns

    def patient(self, row: int) -> PatientFacts:
        """The typed facts of one row."""
        ontology, p = load_ontology(), self.patients
        first, last = int(p.exam_start[row]), int(p.exam_start[row + 1])
        return PatientFacts(
            seed=self.seed,
            number=int(p.number[row]),
            sex=SEXES[p.sex[row]],
            age=int(p.age[row]),
            anatomy=_anatomy(p, row=row),
            conditions=tuple(
                Condition(
                    key=ontology.conditions[self.conditions.condition[i]].key, onset=int(self.conditions.onset[i])
                )
                for i in range(p.condition_start[row], p.condition_start[row + 1])
            ),
            exams=tuple(self._exam(row=i, ontology=ontology) for i in range(first, last)),
            labs=tuple(self._lab(row=i, ontology=ontology) for i in range(p.lab_start[row], p.lab_start[row + 1])),
            medications=tuple(
                self._medication(row=i, ontology=ontology)
                for i in range(p.medication_start[row], p.medication_start[row + 1])
            ),
        )

    def _exam(self, *, row: int, ontology: Ontology) -> Exam:
        e = self.exams
        protocol = ontology.protocols[e.protocol[row]]
        compared = int(e.compared[row])
        return Exam(
            number=int(e.number[row]),
            day=int(e.day[row]),
            protocol=protocol.key,
            modality=protocol.modality,
            region=protocol.region,
            indication=ontology.indications[e.indication[row]].key,
            acquisition=_acquisition(e, row=row),
            findings=tuple(
                self._finding(row=i, ontology=ontology) for i in range(e.finding_start[row], e.finding_start[row + 1])
            ),
            compared=int(e.number[compared]) if compared >= 0 else None,
            side=SIDES[e.side[row]],
        )

    def _finding(self, *, row: int, ontology: Ontology) -> FindingFact:
        f = self.findings
        site = int(f.site[row])
        return FindingFact(
            key=ontology.findings[f.finding[row]].key,
            lesion=int(f.lesion[row]),
            certainty=CERTAINTIES[f.certainty[row]],
            side=SIDES[f.side[row]],
            site=ontology.sites[site].key if site >= 0 else "",
            severity=SEVERITIES[f.severity[row]],
            size_mm=int(f.size_mm[row]) or None,
            axes_mm=_triple(f.axes_mm[row]),
            center_mm=_triple(f.center_mm[row]),
            change=CHANGES[f.change[row]],
            change_percent=int(f.change_percent[row]) or None,
            prior_size_mm=int(f.prior_size_mm[row]) or None,
        )

    def _lab(self, *, row: int, ontology: Ontology) -> Lab:
        c = self.labs
        lab = ontology.labs[c.lab[row]]
        return Lab(
            key=lab.key,
            day=int(c.day[row]),
            value=float(c.value[row]),
            unit=lab.unit,
            reference=ReferenceRange(low=_or_none(c.low[row]), high=_or_none(c.high[row])),
            flag=FLAGS[c.flag[row]],
        )

    def _medication(self, *, row: int, ontology: Ontology) -> Medication:
        c = self.medications
        stop = int(c.stop[row])
        return Medication(
            key=ontology.medications[c.medication[row]].key,
            start=int(c.start[row]),
            stop=None if stop == STILL_TAKEN else stop,
        )


def _anatomy(p: PatientColumns, *, row: int) -> Anatomy:
    head = p.head_mm[row]
    return Anatomy(
        height_cm=float(p.height_cm[row]),
        weight_kg=float(p.weight_kg[row]),
        half_width_mm=float(p.half_width_mm[row]),
        half_depth_mm=float(p.half_depth_mm[row]),
        trunk_mm=float(p.trunk_mm[row]),
        head_mm=(float(head[0]), float(head[1]), float(head[2])),
        knee_mm=float(p.knee_mm[row]),
        shape=int(p.shape[row]),
    )


def _acquisition(e: ExamColumns, *, row: int) -> Acquisition:
    def word(column: np.ndarray) -> str | None:
        return ACQUISITION_WORDS[column[row]] or None

    def whole(column: np.ndarray) -> int | None:
        return int(column[row]) or None

    return Acquisition(
        device=ACQUISITION_WORDS[e.device[row]],
        rows=int(e.rows[row]),
        columns=int(e.columns[row]),
        slices=int(e.slices[row]),
        pixel_mm=float(e.pixel_mm[row]),
        slice_mm=_or_none(e.slice_mm[row]),
        spacing_mm=_or_none(e.spacing_mm[row]),
        kvp=whole(e.kvp),
        mas=whole(e.mas),
        kernel=word(e.kernel),
        contrast=word(e.contrast),
        field_t=_or_none(e.field_t[row]),
        sequence=word(e.sequence),
        te_ms=_or_none(e.te_ms[row]),
        tr_ms=_or_none(e.tr_ms[row]),
        ti_ms=_or_none(e.ti_ms[row]),
        flip_deg=whole(e.flip_deg),
        view=word(e.view),
        stain=word(e.stain),
        magnification=whole(e.magnification),
        study_uid=f"2.25.{int(e.study_uid[row])}",
        series_uid=f"2.25.{int(e.series_uid[row])}",
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _triple(values: np.ndarray) -> tuple[float, float, float] | None:
    if np.isnan(values[0]):
        return None
    return float(values[0]), float(values[1]), float(values[2])
