"""Words that may stay in a description: they say how or of what an image is, never of whom.

Descriptions are cleaned by a list of what is allowed, not of what is forbidden: a name that no
list knows is dropped like any other unknown word. The words come from the meanings of the codes
of the DICOM standard, which pydicom carries, and from the abbreviations of protocols below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

# Written on projections; whoever blanks them takes away which side is which.
MARKERS = frozenset(
    "L R LEFT RIGHT AP PA LAT LATERAL LL RL LAO RAO LPO RPO CC MLO ML LM RCC LCC RMLO LMLO ERECT UPRIGHT SUPINE PRONE "
    "PORTABLE MOBILE SITTING STANDING INSP EXP INSPIRATION EXPIRATION DECUBITUS OBL OBLIQUE".split()
)
_PROTOCOL = """
abd abdomen adc angio ap art arterial ax axial ax. b0 b1000 b50 b500 b800 blade body bolus bone brain breast breath bravo
c chest cine cor coronal cor. cap cect ce cervical contrast cor ct cta cube ctpa cspine delayed derived dicom diff
diffusion dir dixon dwi dti early echo ep2d epi erect exp extremity face fast fat fatsat fl2d fl3d flair flash for fov
fs fse ge gad gado gd gre haste head helical high hip hr hrct iac inj insp iso iv ivim knee kub lat lateral ld left
legs liver loc localizer localiser long low lower lspine lumbar lung map mbir medium mip mono mpr mprage mr mra mrcp mri
mrv native nc neck neuro no non noncontrast o of on oral orbits out p pa pancreas pd pdw pe pediatric pelvis perf perfusion
phase plain port portal post pre prone prostate pv recon reformat resp right rt s sag sagittal sag. scan scout seq
series shoulder sinus slab slice slices soft space spc spgr spin spine spiral stack std standard std. stir sub supine
survey swan swi t t1 t1w t2 t2w te tfe thick thin thorax tir tirm tissue tof topo topogram tr trace tra transverse tse
tspine ultrasound upper us vein venous vibe view views vol volume w w/o wb whole wi window with without wo x-ray xr
xray 2d 3d 3t 4d mm cm ms sec kv kvp mas hu
""".split()
# In the meanings of codes, but surnames as well, and seldom of use in a description.
_SURNAMES = frozenset(
    "may king brown white green black grey gray hill page rose miller bell cook baker carter parker wood stone field "
    "bishop price rice fox wolf bird day summer winter rivers brooks banks knight marsh pool reed sharp short small "
    "strong sweet swift wise young hand foster fisher hunter palmer porter potter weaver mason marshall".split()
)
_WORD = re.compile(r"[^\W_]+(?:['/-][^\W_]+)*")
# Slice thickness, kernels and echo times; not telephone numbers, years or ids.
_NUMBER = re.compile(r"\d{1,3}([.,]\d{1,3})?(mm|cm|ms|s|t|kv|ma|mas)?", re.IGNORECASE)
_LONGEST_MEANING = 60


@cache
def allowed_words() -> frozenset[str]:
    """Returns the words, in lower case."""
    from pydicom.sr._concepts_dict import concepts

    words = set(_PROTOCOL) | {marker.lower() for marker in MARKERS}
    for scheme in ("DCM", "SCT"):
        for meaning in _meanings(concepts.get(scheme, {})):
            if len(meaning) <= _LONGEST_MEANING:
                words.update(word.lower() for word in re.findall(r"[A-Za-z]{3,}", meaning))
    return frozenset(words - _SURNAMES)


def _meanings(tree: Any) -> Iterator[str]:
    for codes in tree.values():
        for entry in codes.values():
            yield str(entry[0])


def cleaned_text(text: str, *, forbidden: frozenset[str] = frozenset()) -> str:
    """Keeps the allowed words and short numbers of a description.

    Args:
        text: The description.
        forbidden: Words in lower case that must go although they are allowed: parts of names.

    Example:
        >>> cleaned_text("CT Chest Miller 5mm 0171-555")
        'CT Chest 5mm'
    """
    kept = []
    for match in _WORD.finditer(text):
        word = match.group()
        lower = word.lower()
        parts = [part for part in re.split(r"[/'-]", lower) if part]
        good = all(part in allowed_words() or _NUMBER.fullmatch(part) for part in parts)
        if good and not forbidden & {lower, *parts} and sum(bool(_NUMBER.fullmatch(part)) for part in parts) <= 1:
            kept.append(word)
    return " ".join(kept)
