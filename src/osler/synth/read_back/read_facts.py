"""What the reader found in a report."""

from __future__ import annotations

from dataclasses import dataclass

from osler.synth.facts import Certainty, Change, Severity, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFact:
    """One finding as a report states it; what the report does not say is ``None``, ``""`` or ``"none"``.

    Args:
        key: Finding of the ontology.
        certainty: ``"absent"`` where the report denies it.
        side: The patient's side.
        site: Site of the ontology, empty if none was named or several fit.
        size_mm: Greatest diameter in mm.
        severity: Of graded findings.
        change: Against an earlier exam; ``"first"`` where nothing was said.
        change_percent: Of the size, below zero where it shrank.
        prior_size_mm: On the earlier exam.
        text: The sentence that named it first.
    """

    key: str
    certainty: Certainty = "present"
    side: Side = "none"
    site: str = ""
    size_mm: int | None = None
    severity: Severity = "none"
    change: Change = "first"
    change_percent: int | None = None
    prior_size_mm: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFacts:
    """Everything read from one report.

    Args:
        findings: In the order of the text.
        exam_side: The side of a body part that was shown alone ("left knee"), from the title.
        sections: Names of the sections, in order.
    """

    findings: tuple[ReadFact, ...]
    exam_side: Side = "none"
    sections: tuple[str, ...] = ()
