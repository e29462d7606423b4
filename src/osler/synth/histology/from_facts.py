"""The slide of a patient's histology exam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from osler.errors import RequestError
from osler.synth.draws import Draws
from osler.synth.facts import Exam, FindingFact, PatientFacts, Severity
from osler.synth.histology.spec import ORGANS, SlideSpec, TumorPlace

_PREFIX = "he-"
_LEVEL: dict[Severity, int] = {"none": 2, "mild": 1, "moderate": 2, "severe": 3}
_GRADED = {
    "lung-adenocarcinoma": "lung-grade-{}",
    "invasive-ductal-carcinoma": "breast-grade-{}",
    "colorectal-adenocarcinoma": "colon-grade-{}",
}
_GROWTHS = {
    "lung-squamous-cell-carcinoma": "lung-squamous",
    "small-cell-lung-carcinoma": "lung-small-cell",
    "invasive-lobular-carcinoma": "breast-lobular",
    "ductal-carcinoma-in-situ": "breast-in-situ",
    "fibroadenoma": "breast-fibroadenoma",
    "atypical-ductal-hyperplasia": "breast-in-situ",
    "tubular-adenoma": "colon-adenoma",
    "high-grade-dysplasia": "colon-adenoma",
    "hyperplastic-polyp": "colon-hyperplastic",
    "prostatic-intraepithelial-neoplasia": "prostate-in-situ",
}
"""Findings with a border of their own, by how much they matter where an exam has several."""
_CHANGED = {
    "interstitial-fibrosis": "lung-fibrosis",
    "organizing-pneumonia": "lung-organizing",
    "fibrocystic-change": "breast-cystic",
    "usual-ductal-hyperplasia": "breast-hyperplasia",
    "benign-prostatic-hyperplasia": "prostate-hyperplasia",
}
"""Findings that change the organ's tissue as a whole."""
_INFLAMED = {
    "chronic-active-colitis",
    "colonic-granuloma",
    "prostatitis",
    "granulomatous-inflammation",
    "organizing-pneumonia",
}
_SHARE_OF_SIDE = 0.36


def slide_spec(patient: PatientFacts, *, exam: Exam, side_mm: float = 2.048) -> SlideSpec:
    """Turns a histology exam into what its slide shows.

    The scanned area is a window of ``side_mm`` on the lesion and the tissue around it; a lesion smaller
    than the window is shown whole, at its size. Grades come from severities: mild is grade 1 or Gleason
    pattern 3, severe is grade 3 or Gleason pattern 5.

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
    shown = {finding.key: finding for finding in exam.findings if finding.visible}
    changed = [tissue for key, tissue in _CHANGED.items() if key in shown]
    soot = shown.get("anthracosis")
    spec = SlideSpec(
        organ=organ,
        key=int(draws.bits("slide", exam.number)[0]),
        width_mm=side_mm,
        height_mm=side_mm,
        pixel_mm=_pixel_mm(exam),
        inflammation=max((1.0 + _LEVEL[shown[key].severity] for key in _INFLAMED & set(shown)), default=1.0),
        tissue=changed[0] if changed else "",
        pigment=0.0 if soot is None else 4000.0 * _LEVEL[soot.severity],
    )
    growth = _growth(shown)
    if growth is None:
        return spec
    necrosis = shown.get("tumor-necrosis")
    dead = 0.0 if necrosis is None else 0.12 * _LEVEL[necrosis.severity]
    return replace(spec, tumors=(_place(*growth, exam=exam, side_mm=side_mm, necrosis=dead, draws=draws),))


def slide_lesion(exam: Exam) -> FindingFact | None:
    """The finding whose border a histology exam's slide shows; ``None`` if it has none."""
    growth = _growth({finding.key: finding for finding in exam.findings if finding.visible})
    return None if growth is None else growth[0]


def _growth(shown: dict[str, FindingFact]) -> tuple[FindingFact, str] | None:
    """The finding with a border that counts most, and its pattern."""
    for key, name in _GRADED.items():
        if key in shown:
            return shown[key], name.format(_LEVEL[shown[key].severity])
    if "prostate-adenocarcinoma" in shown:
        cancer = shown["prostate-adenocarcinoma"]
        return cancer, f"prostate-gleason-{2 + _LEVEL[cancer.severity]}"
    for key, name in _GROWTHS.items():
        if key in shown:
            return shown[key], name
    return None


def _pixel_mm(exam: Exam) -> float:
    pixel = exam.acquisition.pixel_mm
    if 0.0001 <= pixel <= 0.002:
        return pixel
    return 0.01 / (exam.acquisition.magnification or 20)


def _place(
    finding: FindingFact, pattern: str, *, exam: Exam, side_mm: float, necrosis: float, draws: Draws
) -> TumorPlace:
    half = _SHARE_OF_SIDE * side_mm
    if finding.size_mm is not None:
        half = min(half, finding.size_mm / 2)
    u, v, w = (float(draws.uniform(f"slide-tumor-{axis}", exam.number)[0]) for axis in "xyw")
    room = side_mm / 2 - half
    center = (side_mm / 2 + (u - 0.5) * 0.6 * room, side_mm / 2 + (v - 0.5) * 0.6 * room)
    return TumorPlace(center_mm=center, half_mm=(half, half * (0.75 + 0.25 * w)), pattern=pattern, necrosis=necrosis)
