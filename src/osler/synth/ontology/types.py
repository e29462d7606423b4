"""The entries of the ontology, typed.

The files beside this one hold the entries: one TOML table for each, named by its key.
A code (RadLex, SNOMED CT, ICD-10, LOINC, RxNorm) stands there only where it was
checked; elsewhere it is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from osler.synth.anatomy import Site
from osler.synth.facts import Modality, Region, Sex

Course = Literal["stable", "progressive", "treated", "acute"]
Laterality = Literal["site", "paired", "exam", "none"]
Activity = Literal[
    "inflammation", "malignancy", "liver", "cholestasis", "kidney", "heart", "clot", "bleeding", "pancreas"
]

AGE_BANDS: tuple[int, ...] = (40, 60, 75)
"""Lower ends (years) of the second, third and fourth age band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevalence:
    """How often a finding is reported in a group of protocols.

    Args:
        percent: Of exams, one for each age band.
        female: Factor on the odds of women. male: Of men.
        source: The paper, or ``"assumed"``.
        basis: What figure of the source it rests on and by what rule, or what was looked for in vain.
            Empty: the source's own figure.
    """

    percent: tuple[float, float, float, float]
    female: float
    male: float
    source: str
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Sizes (mm) of a measured finding: log-normal, cut to a range."""

    median_mm: float
    spread: float
    least_mm: int
    most_mm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    Args:
        key: For example ``"pulmonary-nodule"``. name: As a radiologist says it.
        radlex: RadLex RID. snomed: SNOMED CT. Empty where unsure.
        prevalence: By group of protocols (`Protocol.group`); it is seen on no others.
        sites: Keys of allowed sites; empty if it has none.
        laterality: Where the side comes from: its site; drawn ("paired": left, right or both);
            the exam (the knee shown); or none.
        both: Share of "paired" ones on both sides.
        measure: Sizes, if measured.
        severities: Weights of mild, moderate, severe, if graded.
        courses: Weights of its courses over time.
        doubling_days: Median volume doubling time of the progressive course.
        resolves_days: Median days until an acute one is gone.
        lesions: Most lesions of one patient.
        uncertain: Share that is probable or possible instead of present.
        raised_by: Condition -> factor on the odds.
        is_a: Broader findings: these are never denied beside it.
        excludes: Name of a group of which an exam has one at most.
        negative: Chance of being stated as absent where it is, by group of protocols.
        diagnosis: Condition that it establishes, or empty.
        activity: How it drives laboratory values at its typical extent.
        sexes: Who may have it.
        needs: Findings of which the exam must show one; the prevalence is then that among such exams.
        taken_from: What it is a sample of, the likeliest first: the first lesion of the first of these that
            the patient has. It is on the side of that lesion, no larger, and there while that one is; no exam
            denies any of these while it is there.
    """

    key: str
    name: str
    radlex: str
    snomed: str
    prevalence: dict[str, Prevalence]
    sites: tuple[str, ...]
    laterality: Laterality
    both: float
    measure: Measure | None
    severities: tuple[float, float, float] | None
    courses: dict[Course, float]
    doubling_days: float
    resolves_days: float
    lesions: int
    uncertain: float
    raised_by: dict[str, float]
    is_a: tuple[str, ...]
    excludes: str
    negative: dict[str, float]
    diagnosis: str
    activity: dict[Activity, float]
    sexes: tuple[Sex, ...]
    needs: tuple[str, ...]
    taken_from: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionEntry:
    """A diagnosis.

    Args:
        percent: Prevalence by age band; zero for those that only findings establish.
        female: Factor of women. male: Of men.
        years: Most years since its onset on the first exam.
        activity: What it adds to the activities that drive laboratory values.
    """

    key: str
    name: str
    icd10: str
    snomed: str
    percent: tuple[float, float, float, float]
    female: float
    male: float
    source: str
    years: float
    activity: dict[Activity, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabEntry:
    """A laboratory test.

    Args:
        unit: UCUM.
        female: Lower and upper reference limit of women. male: Of men; ``None`` is open.
        decimals: As reported.
        typical: Median of healthy women and men. spread: Of its logarithm.
        least: Values are cut there. most: And there.
        shifts: Change of the logarithm for each unit of an activity. conditions: For a condition.
        panel: The tests that it is asked for with.
    """

    key: str
    name: str
    loinc: str
    unit: str
    female: tuple[float | None, float | None]
    male: tuple[float | None, float | None]
    decimals: int
    typical: tuple[float, float]
    spread: float
    least: float
    most: float
    shifts: dict[Activity, float]
    conditions: dict[str, float]
    panel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Laboratory tests that are asked for together: chance with any exam, more for some."""

    key: str
    chance: float
    groups: dict[str, float]
    conditions: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MedicationEntry:
    """A drug.

    Args:
        name: INN. rxnorm: Ingredient. atc: Code.
        treats: Condition -> chance that a patient with it takes the drug.
        days: Length of a course, 0 if taken on.
        drug_class: A patient takes one of a class at most; empty: any.
    """

    key: str
    name: str
    rxnorm: str
    atc: str
    treats: dict[str, float]
    days: int
    drug_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How an exam is made. ``group`` names the protocols that show the same findings.

    Args:
        name: As a header or report title says it.
        loinc: Code of the imaging procedure, where sure.
        body_part: DICOM body part examined.
    """

    key: str
    name: str
    modality: Modality
    region: Region
    group: str
    loinc: str
    body_part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Indication:
    """Why an exam is asked for.

    Args:
        text: In plain words.
        groups: Protocol groups.
        weight: How often.
        condition: Only for patients with it, if set.
        when: On which exams of a patient.
    """

    key: str
    text: str
    groups: tuple[str, ...]
    weight: float
    condition: str
    when: Literal["first", "later", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pathway:
    """What kind of care a patient is in: which exams, how many, how far apart.

    Args:
        weight: Share of patients.
        first: Weights of protocols of the first exam. later: Of the others.
        exams: Weights of 1, 2, ... 6 exams.
        gaps_days: Median gap. gap_spread: Of its logarithm.
        conditions: Condition -> chance in this pathway (at least).
        ages: Weights of age bands.
        female: Share of women.
    """

    key: str
    weight: float
    first: dict[str, float]
    later: dict[str, float]
    exams: tuple[float, ...]
    gap_days: float
    gap_spread: float
    conditions: dict[str, float]
    ages: tuple[float, float, float, float]
    female: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ontology:
    """All entries, in the order of their files; codes of the columns index these tuples."""

    findings: tuple[Finding, ...]
    sites: tuple[Site, ...]
    conditions: tuple[ConditionEntry, ...]
    labs: tuple[LabEntry, ...]
    panels: tuple[Panel, ...]
    medications: tuple[MedicationEntry, ...]
    protocols: tuple[Protocol, ...]
    indications: tuple[Indication, ...]
    pathways: tuple[Pathway, ...]
