"""Probabilities, changes and retrieval through the tasks, with heads that look at the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from osler.engine.session import Session
from osler.evaluate.responder import OslerResponder, blank_study
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import run_set
from osler.evaluate.sets.progression import NihProgression, SyntheticProgression, last_changes
from osler.evaluate.sets.retrieval import RealRetrieval, ranks_of
from osler.evaluate.sets.types import Setting
from osler.evaluate.sets.xray_findings import NihFindings
from osler.study import Study
from osler.tasks.heads import HeadChange, Known
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, model, tokenizer
from tests.evaluate.sets.folders import write_csv, write_nih
from tests.tasks.scripted import Scripted, SilentHead

__all__ = ["checkpoint", "config", "model", "tokenizer"]


def brightness(session: Session, study: Study) -> list[float]:
    return [float(np.mean(image.read())) / 255 for image in study.images()]


class Bright(SilentHead):
    """Takes brightness for the probability of an effusion, and abstains from a mass."""

    findings = frozenset({"pleural effusion", "lung mass"})

    def probabilities(self, session: Session, study: Study, *, findings: Sequence[str]) -> Mapping[str, float | None]:
        (value,) = brightness(session, study)
        value = None if 0.4 < value < 0.6 else value  # unsure, as of a blanked film
        return {name: value if name == "pleural effusion" else None for name in findings}


class Brighter:
    """A finding that got brighter is new, one that got darker is resolved."""

    findings = frozenset({"pleural effusion"})

    def __init__(self) -> None:
        self.dates: list[int] = []

    def changes(
        self, session: Session, study: Study, *, findings: Sequence[str], known: Known = "nothing"
    ) -> list[HeadChange]:
        assert known == "there"
        *_, before, now = brightness(session, study)
        self.dates.append(len(study.timepoints))
        change = "stable" if before == now else "new" if now > before else "resolved"
        return [HeadChange(finding=name, change=change, probability=0.8) for name in findings]


def test_findings_are_scored_where_the_head_answers(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_nih(tmp_path, count=12)
    (tmp_path / "cxr" / "nih" / "images" / "00000003_000.jpg").write_bytes(b"broken")
    one = NihFindings()
    session = Scripted(checkpoint, trained={"findings"}, heads={"findings": Bright()})
    result = run_set(one, Setting(root=tmp_path, responder=OslerResponder(session), split="all"))
    assert [entry.case for entry in result.failed] == ["00000003_000.png"]
    found = {(entry.measure, entry.part): entry.systems for entry in measured(result.rows, one.measures, draws=20)}
    assert found["macro AUROC", "pleural effusion"][MODEL].value == 1.0
    assert found["macro AUROC", "pleural effusion"]["blanked"].value == 0.5
    assert ("macro AUROC", "lung mass") not in found
    assert found["answered", ""][MODEL].value == pytest.approx(1 / 13)
    assert 0 < found["ECE", ""][MODEL].value < 0.5


def test_nih_pairs_count_what_came_and_went(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_nih(tmp_path, count=8)
    rows = [
        {"patient": "1", "prior": "x/00000001_000.png", "current": "x/00000002_000.png",
         "prior_labels": "No Finding", "cur_labels": "Effusion"},
        {"patient": "2", "prior": "x/00000004_000.png", "current": "x/00000005_000.png",
         "prior_labels": "Effusion|Mass", "cur_labels": "Mass"},
        {"patient": "3", "prior": "x/00000004_000.png", "current": "x/00000006_000.png",
         "prior_labels": "Effusion", "cur_labels": "Effusion"},
    ]  # fmt: skip
    write_csv(tmp_path / "cxr" / "nih" / "time_pairs.csv", rows)
    one = NihProgression()
    session = Scripted(checkpoint, trained={"progression"}, heads={"progression": Brighter()})
    result = run_set(one, Setting(root=tmp_path, responder=OslerResponder(session), split="all"))
    assert sorted((row.patient, row.asked, row.truth, row.said) for row in result.rows) == [
        ("1", "pleural effusion", "new", "new"),
        ("2", "pleural effusion", "resolved", "resolved"),
    ]


def test_synthetic_changes_are_asked_with_all_dates(checkpoint: Checkpoint) -> None:
    one = SyntheticProgression(patients=3)
    head = Brighter()
    session = Scripted(checkpoint, trained={"progression"}, heads={"progression": head})
    setting = Setting(root=Path(), responder=OslerResponder(session))
    plan = one.plan(setting)
    assert len(plan.cases) == 3
    two = plan.cases[:1]
    rows = one.rows(setting, two)
    truths = last_changes(two[0].content[1][-1])
    assert {row.asked: row.truth for row in rows} == truths
    assert set(truths.values()) <= {"new", "resolved", "improved", "worsened", "stable"}
    assert all(count == len(two[0].content[1]) for count in head.dates)


def test_real_retrieval_finds_the_other_film_or_says_at_which_place(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_nih(tmp_path, count=8)
    pairs = [
        {"patient": f"q{n}", "prior": f"0000000{n}_000.png", "current": f"0000000{n + 1}_000.png"} for n in (0, 2, 4)
    ]
    write_csv(tmp_path / "cxr" / "nih" / "time_pairs.csv", pairs)
    one = RealRetrieval()
    session = Scripted(checkpoint, trained={"embeddings"})
    result = run_set(one, Setting(root=tmp_path, responder=OslerResponder(session), split="all", limit=2))
    assert len(result.rows) == 6  # a collection is not cut
    found = {entry.measure: entry.systems for entry in measured(result.rows, one.measures, draws=20)}
    assert found["R@1"]["chance"].value == pytest.approx(1 / 5)
    assert found["R@5"][MODEL].value == 1.0


def test_ties_share_their_places() -> None:
    scores = np.array([[0.9, 0.9, 0.9, 0.1], [0.2, 0.5, 0.4, 0.3]])
    assert ranks_of(scores, wanted=[[0], [2]]) == [1.0, 1.0]
    assert ranks_of(scores, wanted=[[], [0, 1]]) == [float("inf"), 0.0]


def test_a_blanked_study_shows_nothing(tmp_path: Path) -> None:
    from osler.evaluate.sets.xrays import open_xray

    write_nih(tmp_path, count=1)
    study = open_xray(tmp_path / "cxr" / "nih" / "images" / "00000000_000.jpg")
    blank = blank_study(study)
    assert np.ptp(blank.images()[0].read()) == 0
    assert blank.images()[0].size == study.images()[0].size
    assert np.ptp(study.images()[0].read()) > 0
