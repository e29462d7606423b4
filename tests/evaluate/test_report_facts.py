"""The baselines of the set of written reports."""

from __future__ import annotations

import pytest

pytest.importorskip("pyarrow", reason="the synth extra is not installed")

from osler.evaluate.sets.report_facts import ReportFacts, all_denied
from osler.synth.facts import Exam
from osler.synth.read_back import Factuality, factuality


@pytest.fixture(scope="module")
def exams() -> list[Exam]:
    plan = ReportFacts().plan(None)
    return [case.content[1] for case in plan.cases]


def _pooled(exams: list[Exam], *, modality: str) -> Factuality:
    total = Factuality()
    for exam in exams:
        if exam.modality == modality:
            total.add(factuality(all_denied(exam), exam.findings))
    return total


@pytest.mark.parametrize("modality", ["DX", "CT"])
def test_everything_denied_has_all_denials_and_no_finding(exams: list[Exam], modality: str) -> None:
    found = _pooled(exams, modality=modality)
    assert found.score("negation").recall == 1.0
    assert found.score("negation").precision < 1.0
    assert found.score("finding").read == 0
    assert found.score("finding").truth > 20
