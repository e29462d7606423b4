"""Patients with chosen findings on a chest X-ray."""

from __future__ import annotations

from typing import Any

from osler.synth.facts import Acquisition, Anatomy, Exam, FindingFact, PatientFacts, Sex


def body(*, sex: Sex = "male", height: float = 176, weight: float = 78, shape: int = 11) -> Anatomy:
    """A body with the proportions that the facts draw."""
    spare = weight / (height / 100) ** 2 - 22
    return Anatomy(
        height_cm=height,
        weight_kg=weight,
        half_width_mm=0.94 * height + 3.2 * spare,
        half_depth_mm=0.60 * height + 3.4 * spare,
        trunk_mm=3.65 * height,
        head_mm=(68, 85, 60),
        knee_mm=80,
        shape=shape,
    )


def finding(key: str, **facts: Any) -> FindingFact:
    """A finding that is present."""
    return FindingFact(**{"key": key, "lesion": 0, "certainty": "present", **facts})


def nodule(
    center: tuple[float, float, float], *, mm: float, key: str = "pulmonary-nodule", **facts: Any
) -> FindingFact:
    """A round lesion."""
    side = "left" if center[0] > 0 else "right"
    axes = (mm, 0.9 * mm, 0.95 * mm)
    return finding(
        key, center_mm=center, axes_mm=axes, size_mm=round(mm), side=side, site=f"{side}-upper-lobe", **facts
    )


def exam(view: str = "PA", *, findings: tuple[FindingFact, ...] = (), number: int = 0, wide: float = 430) -> Exam:
    """A chest X-ray of 430 mm height."""
    return Exam(
        number=number,
        day=100 * number,
        protocol=f"xr-chest-{view.lower()}",
        modality="DX",
        region="chest",
        indication="cough",
        acquisition=Acquisition(
            device="DR-FIXED",
            rows=2560,
            columns=round(wide / 0.168),
            slices=1,
            pixel_mm=0.168,
            kvp=120,
            mas=3,
            view=view,
        ),
        findings=findings,
    )


def patient(
    *exams: Exam, sex: Sex = "male", age: int = 45, number: int = 1, anatomy: Anatomy | None = None
) -> PatientFacts:
    """A patient with these exams."""
    return PatientFacts(
        seed=3, number=number, sex=sex, age=age, anatomy=anatomy or body(sex=sex), conditions=(), exams=exams, labs=(),
        medications=(),
    )  # fmt: skip
