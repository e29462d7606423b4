"""What the pixels of one exam show: its visible findings by key, with how severe they are."""

from __future__ import annotations

from dataclasses import dataclass

from osler.synth.facts import Exam, FindingFact

GRADES: dict[str, float] = {"none": 2.0, "mild": 1.0, "moderate": 2.0, "severe": 3.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The visible findings of an exam."""

    findings: tuple[FindingFact, ...]

    def of(self, *keys: str) -> tuple[FindingFact, ...]:
        """Findings with one of the keys."""
        return tuple(finding for finding in self.findings if finding.key in keys)

    def grade(self, *keys: str, side: str = "") -> float:
        """0 where absent, else 1 (mild) to 3 (severe); of a side, "both" and sideless ones count."""
        sides = (side, "both", "none", "midline")
        return max((GRADES[f.severity] for f in self.of(*keys) if not side or f.side in sides), default=0.0)


def shown(exam: Exam) -> Shown:
    """The visible findings of an exam."""
    return Shown(findings=tuple(finding for finding in exam.findings if finding.visible))
