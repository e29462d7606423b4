"""The slide of a patient's histology exam."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from osler.errors import RequestError
from osler.synth.draws import Draws
from osler.synth.facts import Exam, FindingFact, PatientFacts
from osler.synth.histology.patterns import PATTERNS
from osler.synth.histology.spec import ORGANS, SlideSpec, TumorPlace

_PREFIX = "he-"
_BY_SEVERITY = {"none": 2, "mild": 1, "moderate": 2, "severe": 3}
_LYMPHOCYTES = {"none": 2.0, "mild": 1.6, "moderate": 2.6, "severe": 4.0}
_NECROSIS = {"none": 0.2, "mild": 0.1, "moderate": 0.22, "severe": 0.4}
_TUMOR_WORDS = ("carcinoma", "tumor", "cancer", "dcis", "lymphoma", "sarcoma", "malignan")
_TUMOR_SHARE = 0.36


def slide_spec(patient: PatientFacts, *, exam: Exam, side_mm: float = 2.048) -> SlideSpec:
    """Turns a histology exam into what its slide shows.

    The scanned area is a window of ``side_mm`` around the tumor's edge, or of normal tissue; a
    tumor smaller than the window is shown whole, at its size.

    Args:
        patient: Whose exam it is.
        exam: Of a protocol ``he-<organ>``.
        side_mm: Width and height of the scanned area.

    Raises:
        RequestError: If the exam is no histology of a known organ.
    """
    organ = exam.protocol.removeprefix(_PREFIX)
    if not exam.protocol.startswith(_PREFIX) or organ not in ORGANS:
        raise RequestError(
            f"The exam {exam.protocol!r} has no slide.",
            allowed=f"Protocols: {', '.join(_PREFIX + name for name in ORGANS)}.",
        )
    draws = Draws(seed=patient.seed, patients=np.array([patient.number]))
    shown = [finding for finding in exam.findings if finding.certainty != "absent"]
    necrosis = max((_NECROSIS[f.severity] for f in shown if "necrosis" in f.key), default=0.0)
    spec = SlideSpec(
        organ=organ,
        key=int(draws.bits("slide", exam.number)[0]),
        width_mm=side_mm,
        height_mm=side_mm,
        pixel_mm=_pixel_mm(exam),
        inflammation=max((_LYMPHOCYTES[f.severity] for f in shown if _is_inflammation(f)), default=1.0),
    )
    tumors = [finding for finding in shown if _is_tumor(finding)]
    places = tuple(
        _place(finding, exam=exam, organ=organ, side_mm=side_mm, necrosis=necrosis, draws=draws)
        for finding in tumors[:1]
    )
    return replace(spec, tumors=places)


def _pixel_mm(exam: Exam) -> float:
    pixel = exam.acquisition.pixel_mm
    if 0.0001 <= pixel <= 0.002:
        return pixel
    return 0.01 / (exam.acquisition.magnification or 20)


def _is_inflammation(finding: FindingFact) -> bool:
    return any(word in finding.key for word in ("inflam", "lymphocyt", "colitis", "prostatitis", "pneumonitis"))


def _is_tumor(finding: FindingFact) -> bool:
    return any(word in finding.key for word in _TUMOR_WORDS) or bool(re.search(r"gleason|grade-\d", finding.key))


def _place(
    finding: FindingFact, *, exam: Exam, organ: str, side_mm: float, necrosis: float, draws: Draws
) -> TumorPlace:
    grade = _grade(finding, exam=exam)
    if organ == "prostate":
        pattern = f"prostate-gleason-{min(max(grade if grade > 2 else grade + 2, 3), 5)}"
    else:
        pattern = f"{organ}-grade-{min(max(grade, 1), 3)}"
    assert pattern in PATTERNS
    half = _TUMOR_SHARE * side_mm
    if finding.size_mm is not None:
        half = min(half, finding.size_mm / 2)
    u, v, w = (float(draws.uniform(f"slide-tumor-{axis}", exam.number)[0]) for axis in "xyw")
    room = side_mm / 2 - half
    center = (side_mm / 2 + (u - 0.5) * 0.6 * room, side_mm / 2 + (v - 0.5) * 0.6 * room)
    return TumorPlace(center_mm=center, half_mm=(half, half * (0.75 + 0.25 * w)), pattern=pattern, necrosis=necrosis)


def _grade(finding: FindingFact, *, exam: Exam) -> int:
    """The grade named by the finding, by another finding of the exam, or by its severity."""
    for other in (finding, *exam.findings):
        named = re.search(r"(?:gleason|grade)-(\d)", other.key)
        if other.certainty != "absent" and named:
            return int(named.group(1))
    return _BY_SEVERITY[finding.severity]
