"""The facts of a synthetic patient: what every report, voxel, lab and date is rendered from.

Nothing here is an identity: no names, no calendar dates, no places. Time is in
days since the patient's first exam (day 0). Keys (``finding``, ``site``, ``protocol``...)
are entries of the ontology.

The body frame is LPS in mm. Trunk: the origin lies on the midline, half way front to back, at
the level of the lower end of the breastbone; +z points to the head. Head: the
origin is the center of the brain. Knee: the center of the joint. Sides are the patient's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from osler.study import ReferenceRange

Sex = Literal["female", "male"]
Side = Literal["left", "right", "both", "midline", "none"]
Certainty = Literal["present", "probable", "possible", "absent"]
Change = Literal["first", "new", "larger", "smaller", "stable", "resolved"]
Severity = Literal["none", "mild", "moderate", "severe"]
Modality = Literal["CT", "MR", "DX", "SM"]
Region = Literal["chest", "abdomen", "head", "knee"]
Flag = Literal["low", "normal", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """The size and shape of one body.

    Args:
        height_cm: Standing height.
        weight_kg: Body weight.
        half_width_mm: Half of the chest's width, skin to skin.
        half_depth_mm: Half of the chest's depth, skin to skin.
        trunk_mm: Lung apex to pelvic floor.
        head_mm: Half axes of the brain (x, y, z).
        knee_mm: Width of the femoral condyles.
        shape: Seeds the smooth variation of all organs.
    """

    height_cm: float
    weight_kg: float
    half_width_mm: float
    half_depth_mm: float
    trunk_mm: float
    head_mm: tuple[float, float, float]
    knee_mm: float
    shape: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingFact:
    """One finding as it is on one exam.

    Args:
        key: Finding of the ontology, for example ``"pulmonary-nodule"``.
        lesion: Tells lesions of a patient apart; the same lesion keeps its number over time.
        certainty: ``"absent"`` is an explicit negative: nothing else is set.
        side: The patient's side.
        site: Site of the anatomy, for example ``"right-upper-lobe"``; empty if diffuse.
        severity: Of diffuse findings.
        size_mm: Greatest diameter in whole mm, where the finding is measured.
        axes_mm: Full axes of the lesion's ellipsoid along x, y, z; the greatest is ``size_mm``.
        center_mm: Its center in the body frame.
        change: Against the compared exam; ``"first"`` where nothing is compared.
        change_percent: Change of ``size_mm`` in whole percent of the prior, where larger or smaller.
        prior_size_mm: ``size_mm`` on the compared exam.
    """

    key: str
    lesion: int
    certainty: Certainty
    side: Side = "none"
    site: str = ""
    severity: Severity = "none"
    size_mm: int | None = None
    axes_mm: tuple[float, float, float] | None = None
    center_mm: tuple[float, float, float] | None = None
    change: Change = "first"
    change_percent: int | None = None
    prior_size_mm: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """How an exam was made: an anonymous header, plausible together; absent values are ``None``.

    Args:
        device: Vendor-neutral model, for example ``"CT-64"``.
        rows: Pixels down. columns: Pixels across. slices: 1 for an X-ray.
        pixel_mm: Pixel spacing. slice_mm: Thickness. spacing_mm: Distance of slice centers.
        kvp: Tube voltage. mas: Exposure (mAs). kernel: ``"soft"``, ``"lung"``, ``"bone"``.
        contrast: ``"none"``, ``"arterial"``, ``"portal-venous"``, ``"gadolinium"``...
        field_t: Field strength (T). te_ms, tr_ms, ti_ms, flip_deg: Of the MR sequence.
        view: ``"PA"``, ``"AP"``, ``"lateral"`` of an X-ray.
        stain: Of a slide. magnification: Objective power of a slide.
        study_uid: Under 2.25, drawn. series_uid: The same.
    """

    device: str
    rows: int
    columns: int
    slices: int
    pixel_mm: float
    slice_mm: float | None = None
    spacing_mm: float | None = None
    kvp: int | None = None
    mas: int | None = None
    kernel: str | None = None
    contrast: str | None = None
    field_t: float | None = None
    sequence: str | None = None
    te_ms: float | None = None
    tr_ms: float | None = None
    ti_ms: float | None = None
    flip_deg: int | None = None
    view: str | None = None
    stain: str | None = None
    magnification: int | None = None
    study_uid: str = ""
    series_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """One imaging exam.

    Args:
        number: 0, 1, ... in order of time.
        day: Days since day 0.
        protocol: Of the ontology, for example ``"ct-chest-contrast"``.
        modality: DICOM modality. region: What it shows.
        indication: Of the ontology.
        compared: Number of the exam it is compared with, if any.
        findings: Present and probable ones first, explicit negatives last.
    """

    number: int
    day: int
    protocol: str
    modality: Modality
    region: Region
    indication: str
    acquisition: Acquisition
    findings: tuple[FindingFact, ...]
    compared: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """One laboratory value; ``value`` is rounded as the laboratory reports it, in UCUM ``unit``."""

    key: str
    day: int
    value: float
    unit: str
    reference: ReferenceRange
    flag: Flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A diagnosis, from its onset (days; negative before day 0)."""

    key: str
    onset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Medication:
    """A drug from ``start`` to ``stop`` (days; ``None``: still taken)."""

    key: str
    start: int
    stop: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientFacts:
    """Everything that is true of one synthetic patient.

    Args:
        seed: Of the collection. number: Of the patient in it.
        age: Years on day 0.
    """

    seed: int
    number: int
    sex: Sex
    age: int
    anatomy: Anatomy
    conditions: tuple[Condition, ...]
    exams: tuple[Exam, ...]
    labs: tuple[Lab, ...]
    medications: tuple[Medication, ...]
