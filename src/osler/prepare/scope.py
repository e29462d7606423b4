"""Noticing a question that does not fit the data.

A CT asked about as an X-ray is answered like an X-ray by most models, and a
knee asked for its lungs gets some. Osler answers too, and says before it does
that the two do not fit. What the files say of themselves (modality, body part,
description) is data: it is compared with the question, never obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from osler.study import Series, Study

_KINDS = {
    "CR": "X-ray", "DX": "X-ray", "DR": "X-ray", "RG": "X-ray", "MG": "X-ray", "PX": "X-ray", "IO": "X-ray",
    "CT": "CT", "MR": "MR", "PT": "PET", "US": "ultrasound", "SM": "pathology", "GM": "pathology",
}  # fmt: skip
_WORDS = {
    "X-ray": re.compile(r"\bx[- ]?rays?\b|\bradiographs?\b|\bcxrs?\b|\bmammogra(?:m|ms|phy)\b", re.IGNORECASE),
    "CT": re.compile(r"\bCTs?\b|(?i:\bcomputed tomograph(?:y|ies)\b|\bct scans?\b)"),
    "MR": re.compile(r"\bMR\b|(?i:\bmris?\b|\bmr scans?\b|\bmagnetic resonance\b)"),
    "PET": re.compile(r"\bPET\b"),
    "ultrasound": re.compile(r"\bultrasounds?\b|\bsonogra(?:m|ms|phy)\b", re.IGNORECASE),
    "pathology": re.compile(
        r"\bhistolog\w*\b|\bpathology slides?\b|\bwhole[- ]slide\b|\bmicroscop\w*\b|\bmito(?:sis|ses|tic)\b|\bH&E\b",
        re.IGNORECASE,
    ),
}
# Where a structure may be seen; a question is out of scope only where none of these is shown.
_SEEN_IN: dict[str, tuple[str, frozenset[str]]] = {
    "the head": (r"head|brain|skull|cranial|cerebr\w*|intracranial|hippocamp\w*|ventricles", frozenset({"head"})),
    "the neck": (r"neck|thyroid|larynx|cervical", frozenset({"neck", "head", "chest", "spine"})),
    "the chest": (r"chest|thora\w*|mediastin\w*|cxrs?", frozenset({"chest"})),
    "the lungs": (
        r"lungs?|pulmonary|pneumothora\w+|pneumonia|pleura\w*|hil(?:um|ar|a)", frozenset({"chest", "abdomen"})
    ),
    "the heart": (r"heart|cardiac|cardiomegaly|pericardi\w*", frozenset({"chest", "abdomen"})),
    "the breast": (r"breasts?|mammogra\w+", frozenset({"breast", "chest"})),
    "the abdomen": (r"abdom\w*|belly|bowel|colon|appendi\w+", frozenset({"abdomen", "pelvis"})),
    "the upper abdomen": (
        r"liver|hepat\w+|spleen|splenic|pancrea\w+|gallbladder|kidneys?|renal|adrenals?",
        frozenset({"abdomen", "chest"}),
    ),
    "the pelvis": (r"pelvi\w*|prostate|bladder|uter\w+|ovar\w+|hips?", frozenset({"pelvis", "abdomen"})),
    "the spine": (
        r"spin(?:e|al)|vertebra\w*|lumbar|discs?", frozenset({"spine", "neck", "chest", "abdomen", "pelvis"})
    ),
    "the knee": (r"knees?|menisc\w+|patella\w*|cruciate", frozenset({"knee", "limb"})),
    "a limb": (
        r"hands?|wrists?|elbows?|shoulders?|feet|foot|ankles?|femurs?|tibias?|limbs?",
        frozenset({"limb", "knee", "chest"}),
    ),
}  # fmt: skip
_NAMED = {part: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for part, (words, _) in _SEEN_IN.items()}
_REGION_WORDS = {
    "head": r"head|brain|skull|hippocamp\w*|cranial|cerebr\w*",
    "neck": r"neck|c-?spine|cervical",
    "chest": r"chest\w*|thora\w*|lungs?|heart|cxr|\w*chestabd\w*",
    "breast": r"breasts?",
    "abdomen": r"abdom\w*|belly|liver|kidneys?|pancreas|colon|\w*abd\w*pelv\w*|torso|chestabd\w*",
    "pelvis": r"pelvi\w*|hips?|prostate|bladder|uterus|\w*abd\w*pelv\w*",
    "spine": r"[ctls]*-?spine|spinal|lumbar|vertebra\w*",
    "knee": r"knees?|patella|menisc\w+",
    "limb": r"hands?|wrists?|elbows?|shoulders?|feet|foot|ankles?|legs?|arms?|extremit\w+|limbs?",
}
_REGIONS = {
    region: re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.IGNORECASE) for region, words in _REGION_WORDS.items()
}
_WHOLE_BODY = re.compile(r"whole\s?body", re.IGNORECASE)
_HU = re.compile(r"\bHU\b|(?i:\bhounsfield)")


def named_kinds(question: str) -> frozenset[str]:
    """Returns the kinds of imaging that a question names."""
    return frozenset(kind for kind, words in _WORDS.items() if words.search(question))


def kinds_of(modalities: Sequence[str]) -> frozenset[str]:
    """Returns the kinds of imaging behind DICOM modalities; unknown ones are left out."""
    return frozenset(_KINDS[modality] for modality in modalities if modality in _KINDS)


def named_parts(question: str) -> tuple[str, ...]:
    """Returns the parts of the body that a question names, such as ``"the lungs"``."""
    return tuple(part for part, words in _NAMED.items() if words.search(question))


def regions_in(text: str) -> frozenset[str]:
    """Returns the body regions that a text names: a DICOM body part, a description, an answer."""
    if _WHOLE_BODY.search(text):
        return frozenset(_REGIONS)
    return frozenset(region for region, words in _REGIONS.items() if words.search(text.replace("_", " ")))


def regions_of(series: Series) -> frozenset[str]:
    """Returns the body regions that a series says it shows; empty where it says nothing."""
    return regions_in(series.body_part) or regions_in(series.description)


def shown_regions(study: Study) -> tuple[frozenset[str], ...]:
    """Returns the regions that each series of a study shows, in order, by itself or by the study's description."""
    return tuple(
        regions_of(entry) or regions_in(point.description) for point in study.timepoints for entry in point.series
    )


def region_is_open(study: Study) -> bool:
    """Whether files leave open which part of the body they show; slides, which show none as a whole, do not count."""
    return any(
        not regions and not is_tissue(entry)
        for entry, regions in zip(study.series(), shown_regions(study), strict=True)
    )


def is_tissue(series: Series) -> bool:
    """Whether a series shows tissue under the microscope."""
    return kinds_of([series.modality]) == {"pathology"}


def part_is_shown(part: str, *, regions: Iterable[str]) -> bool:
    """Whether a part of `named_parts` may be seen in one of the regions."""
    return bool(_SEEN_IN[part][1] & frozenset(regions))


def region_warning(question: str, *, regions: Iterable[str], source: str = "the data") -> str:
    """Says that a question is about a part of the body that is not shown; empty where it may be shown.

    Args:
        question: As asked.
        regions: What is shown; with none known there is nothing to say.
        source: Who says so.
    """
    shown = frozenset(regions)
    parts = named_parts(question)
    if not parts or not shown or any(_SEEN_IN[part][1] & shown for part in parts):
        return ""
    return f"The question speaks of {' and '.join(parts)}, but {source} shows the {_listed(shown)}."


def scope_warnings(question: str, *, study: Study | None, modalities: Sequence[str]) -> tuple[str, ...]:
    """Says where question and data do not fit.

    Args:
        question: As asked.
        study: The study, ``None`` for a question without one.
        modalities: DICOM modalities of the series shown, empty text where unknown.
    """
    named = named_kinds(question)
    if not modalities:
        if study is not None or not named:
            return ()
        return (f"The question speaks of {_listed(named)}, but no image was given.",)
    known = kinds_of(modalities)
    said = []
    if named and known and "" not in modalities and not named & known:
        said.append(f"The question speaks of {_listed(named)}, but the data is {_listed(known)}.")
    series = tuple(study.series()) if study is not None else ()
    if _HU.search(question) and series and not any(getattr(entry, "units", "") == "HU" for entry in series):
        kind = _listed(known) or "this data"
        said.append(
            f"The question speaks of Hounsfield units, which {kind} does not have: only CT is measured in them."
        )
    if study is not None and not region_is_open(study):
        said.append(_part_warning(question, study=study))
    return tuple(text for text in said if text)


def _part_warning(question: str, *, study: Study) -> str:
    """Says that a question is about a part of the body that no series shows, or at most a slide of unknown tissue."""
    told = shown_regions(study)
    regions = frozenset().union(*told)
    if all(told):
        return region_warning(question, regions=regions)
    parts = named_parts(question)
    if not parts or any(part_is_shown(part, regions=regions) for part in parts):
        return ""
    return (
        f"The question speaks of {' and '.join(parts)}, but a slide shows a piece of tissue under the microscope, "
        "and its files do not say from where in the body."
    )


def _listed(kinds: frozenset[str]) -> str:
    return " and ".join(sorted(kinds))
