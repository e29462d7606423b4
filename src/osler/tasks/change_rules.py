"""When a measured change counts: fixed thresholds, stated here and nowhere else.

- A longest edge: worsened from +20% and 5 mm (without mm: 20% alone), improved from -30% (RECIST 1.1, Eisenhauer EA
  et al. Eur J Cancer 2009;45:228), else stable.
- A volume: worsened from +25%, improved from -25% (British Thoracic Society 2015, Thorax 70 Suppl 2), else stable.
- A laboratory value: a change of 20% counts. With a reference range of the record, worsened is farther outside it,
  improved nearer to it; both inside is stable. Without a range only tests of which a high value is always the worse
  one have a direction.

Larger is worse only for what is a finding: for an organ, or a label without a name, a change that counts is
"cannot tell".
"""

from __future__ import annotations

import re

from osler.study import Change, ClinicalEvent, ReferenceRange
from osler.tasks.finding_names import finding_names
from osler.tasks.measurements import VOLUME, Measurement

LAB_SHARE = 0.2
_LESION = re.compile(
    r"lesion|nodule|mass|tumou?r|opacit|metasta|effusion|hemorrhage|haemorrhage|infarct|cyst|abscess|consolidation|"
    r"pneumon|edema|oedema|aneurysm|h(?:a)?ematoma|calcul|lymphadenopathy|cardiomegaly|atelectasis",
    re.IGNORECASE,
)
_HIGH_IS_WORSE = {"1988-5", "2532-0", "48065-7", "75241-0", "2160-0", "6598-7", "3040-3", "33762-6", "42637-9"}
"""CRP, LDH, D-dimer, procalcitonin, creatinine, troponin, lipase, NT-proBNP, BNP (LOINC)."""


def size_change(before: Measurement, now: Measurement) -> Change:
    """Says what became of a thing that was measured twice."""
    if before.unit != now.unit or before.measure != now.measure or before.value <= 0:
        return "cannot tell"
    ratio, growth = now.value / before.value, now.value - before.value
    if now.measure == VOLUME:
        larger, smaller = ratio >= 1.25, ratio <= 0.75
    else:
        larger, smaller = ratio >= 1.2 and (now.unit != "mm" or growth >= 5), ratio <= 0.7
    if not larger and not smaller:
        return "stable"
    if not is_finding(now.finding):
        return "cannot tell"
    return "worsened" if larger else "improved"


def is_finding(label: str) -> bool:
    """Whether a label names something that is the worse the larger it is."""
    lowered = label.casefold()
    return bool(_LESION.search(label)) or any(finding.name == lowered for finding in finding_names())


def lab_change(before: ClinicalEvent, now: ClinicalEvent) -> Change:
    """Says what became of a laboratory value, both in one unit."""
    earlier, later = before.value, now.value
    if not isinstance(earlier, int | float) or not isinstance(later, int | float) or before.unit != now.unit:
        return "cannot tell"
    reference = now.reference or before.reference
    counts = abs(later - earlier) >= LAB_SHARE * abs(earlier) if earlier else later != earlier
    if reference is not None and (reference.low is not None or reference.high is not None):
        was, is_now = outside(earlier, reference=reference), outside(later, reference=reference)
        if not counts or was == is_now:
            return "stable"
        return "worsened" if is_now > was else "improved"
    if not counts:
        return "stable"
    if now.code in _HIGH_IS_WORSE:
        return "worsened" if later > earlier else "improved"
    return "cannot tell"


def outside(value: float, *, reference: ReferenceRange) -> float:
    """How far a value lies outside its normal range; 0 inside."""
    below = reference.low - value if reference.low is not None else 0.0
    above = value - reference.high if reference.high is not None else 0.0
    return max(below, above, 0.0)
