"""Findings in the words of a letter: short, and with every number that the facts hold."""

from __future__ import annotations

from osler.synth.facts import Exam, FindingFact
from osler.synth.ontology import load_ontology
from osler.synth.timeline import sentence_case

_DOUBT = {"present": "", "probable": "probable ", "possible": "possible ", "absent": "no "}


def finding_phrase(fact: FindingFact) -> str:
    """Says one finding, its place, size and change.

    Example:
        >>> finding_phrase(FindingFact(key="pulmonary-nodule", lesion=1, certainty="present", side="right",
        ...     site="right-upper-lobe", size_mm=12, change="larger", change_percent=20, prior_size_mm=10))
        'pulmonary nodule (right upper lobe), 12 mm, larger (10 mm before, +20%)'
    """
    name = finding_name(fact.key)
    if fact.certainty == "absent":
        return f"no {name}"
    parts = [f"{_DOUBT[fact.certainty]}{_grade(fact)}{_side(fact)}{name}{_place(fact)}"]
    if fact.size_mm is not None:
        parts.append(f"{fact.size_mm} mm")
    return ", ".join([*parts, *_change(fact)])


def finding_name(key: str) -> str:
    """The name of a finding, as a radiologist says it."""
    return next((entry.name for entry in load_ontology().findings if entry.key == key), key.replace("-", " "))


def exam_sentence(exam: Exam) -> str:
    """Says what an exam showed: the findings, then what was looked for and not found."""
    seen = [finding_phrase(fact) for fact in exam.findings if fact.certainty != "absent"]
    denied = [finding_name(fact.key) for fact in exam.findings if fact.certainty == "absent"]
    sentences = [sentence_case("; ".join(seen)) + "."] if seen else ["No finding of concern."]
    if denied:
        sentences.append(f"No {_listed(denied)}.")
    return " ".join(sentences)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _grade(fact: FindingFact) -> str:
    return "" if fact.severity == "none" else f"{fact.severity} "


def _side(fact: FindingFact) -> str:
    """The side, unless the site says it already (the lingula is on the left)."""
    if fact.side == "both":
        return "bilateral "
    sides = {site.key: site.side for site in load_ontology().sites}
    return f"{fact.side} " if fact.side in ("left", "right") and sides.get(fact.site) != fact.side else ""


def _place(fact: FindingFact) -> str:
    return f" ({fact.site.replace('-', ' ')})" if fact.site else ""


def _change(fact: FindingFact) -> list[str]:
    before = "" if fact.prior_size_mm is None else f"{fact.prior_size_mm} mm before"
    percent = "" if fact.change_percent is None else f"{fact.change_percent:+d}%"
    inside = ", ".join(part for part in (before, percent) if part)
    word = {"first": "", "new": "new", "stable": "unchanged", "resolved": "no longer seen"}.get(
        fact.change, fact.change
    )
    if not word:
        return []
    return [f"{word} ({inside})"] if inside and fact.change in ("larger", "smaller", "resolved") else [word]
