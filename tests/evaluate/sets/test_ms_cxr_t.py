"""MS-CXR-T: three answers, macro accuracy as scikit-learn has it, heads and words alike."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from sklearn.metrics import recall_score

from osler.evaluate.published import PLAIN, PUBLISHED
from osler.evaluate.responder import OslerResponder
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import SetResult, run_set
from osler.evaluate.sets.ms_cxr_t import _TABLE, FINDINGS, MsCxrT, read_change
from osler.evaluate.sets.types import Setting
from osler.train.pictures import split_of
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, model, tokenizer
from tests.evaluate.sets.published_folders import Scripting, mimic_place, write_ms_cxr_t, write_picture
from tests.evaluate.sets.test_finding_sets import Brighter
from tests.tasks.scripted import Scripted

__all__ = ["checkpoint", "config", "model", "tokenizer"]
LABELS = ("improving", "stable", "worsening")


def write_films(root: Path, *, count: int) -> None:
    for number in range(count):
        write_picture(root / "cxr" / "mimic-cxr" / "files" / f"{mimic_place(number)}.jpg", number=number)


def evaluated(root: Path, responder: object) -> SetResult:
    return run_set(MsCxrT(), Setting(root=root, responder=responder, split="all"))  # type: ignore[arg-type]


def test_macro_accuracy_is_the_mean_of_balanced_accuracies(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    truths = rng.integers(0, 3, (12, 5))
    truths[:3] = np.arange(3)[:, None]  # every finding has every change
    said = rng.integers(0, 4, (12, 5))
    columns = [finding.replace(" ", "_") for finding in FINDINGS]
    pairs = [(0, n + 1, {name: LABELS[truths[n, m]] for m, name in enumerate(columns)}) for n in range(len(truths))]
    write_films(tmp_path, count=13)
    write_ms_cxr_t(tmp_path, pairs)

    def answer(number: int, question: str) -> str:
        (column,) = [n for n, finding in enumerate(FINDINGS) if f"What became of {finding}:" in question]
        number = 3 if number < 1 else int(said[number - 1, column])
        return ("Final Answer: (A) Improved", "Final Answer: B", "Final Answer: worsening", "Final Answer: ?")[number]

    model = Scripting(answer, style=PUBLISHED, trained=("answers", "change_text"))
    result = evaluated(tmp_path, model)
    assert result.failed == []
    assert model.asked[0][1] == (
        "The first image is the prior chest X-ray, the second one is the current one. "
        f"What became of {FINDINGS[0]}: (A) improved, (B) stable or (C) worsened? "
        "You may write out your argument before stating your final, very short, definitive, and concise answer "
        "X (no more than a few words or the letter corresponding to your answer choice if the question is multiple "
        'choice) in the format "Final Answer: X":'
    )
    found = {
        (entry.measure, entry.group, entry.part): entry.systems for entry in measured(result.rows, MsCxrT.measures)
    }
    expected = [recall_score(truths[:, n], said[:, n], labels=[0, 1, 2], average="macro") for n in range(5)]
    assert found["macro accuracy", "all", ""][MODEL].value == pytest.approx(np.mean(expected))
    for number, finding in enumerate(FINDINGS):
        assert found["macro accuracy", finding, ""][MODEL].value == pytest.approx(expected[number])
    assert found["answered", "all", ""][MODEL].value == pytest.approx(np.mean(said < 3))
    assert found["accuracy", "all", ""]["blanked"].value == 0.0


def test_a_progression_head_is_used_where_there_is_one(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_films(tmp_path, count=5)
    write_ms_cxr_t(tmp_path, [(1, 3, {"edema": "worsening"}), (4, 2, {"pleural_effusion": "improving"})])
    head = Brighter()
    head.findings = frozenset({"pleural effusion", "pulmonary edema"})
    session = Scripted(checkpoint, trained={"progression"}, heads={"progression": head})
    result = evaluated(tmp_path, OslerResponder(session))
    assert session.asked == []
    assert sorted((row.group, row.truth, row.values["right"][MODEL][0]) for row in result.rows) == [
        ("edema", "worsened", 1.0),
        ("pleural effusion", "improved", 1.0),
    ]


def test_damaged_rows_and_missing_films_are_counted(tmp_path: Path) -> None:
    responder = Scripting(lambda n, q: "(B) stable", style=PLAIN, trained=("answers", "change_text"))
    assert evaluated(tmp_path, responder).why == f"not found: {_TABLE}"
    write_films(tmp_path, count=5)
    edema = ("edema", "stable")
    write_ms_cxr_t(tmp_path, [(0, 1, dict([edema])), (1, 2, {"edema": "better"}), (2, 3, dict([edema])), (3, 9, {})])
    (tmp_path / "cxr" / "mimic-cxr" / "files" / f"{mimic_place(3)}.jpg").write_bytes(b"no picture")
    result = evaluated(tmp_path, responder)
    assert [row.values["right"][MODEL][0] for row in result.rows] == [1.0]
    assert len(result.failed) == 2
    assert any("The change of edema is 'better'" in entry.why for entry in result.failed)
    assert "1 pairs that the table lists are not there, and are left out." in result.notes
    (tmp_path / _TABLE).write_text("dicom_id,previous_dicom_id\n")
    assert "has no column 'consolidation_progression'" in evaluated(tmp_path, responder).why


def test_why_no_pair_is_asked_about_is_said(tmp_path: Path) -> None:
    def why(*pairs: tuple[int, int, dict[str, str]], split: Literal["held-out", "all"] = "all") -> str:
        write_ms_cxr_t(tmp_path, pairs)
        return MsCxrT().plan(Setting(root=tmp_path, responder=responder, split=split)).absent

    responder = Scripting(lambda n, q: "(B) stable", style=PLAIN, trained=("answers", "change_text"))
    trained = [n for n in range(1, 9) if split_of("mimic-cxr", patient=str(n)) == "train"][:2]
    edema = {"edema": "stable"}
    write_films(tmp_path, count=9)
    gone = (0, 99, edema)
    place = "cxr/mimic-cxr/files"
    told = f"none of the 2 judged pairs in {place} is held out (--split all asks anyway)"
    assert why(*((0, n, edema) for n in trained), gone, split="held-out") == told
    assert why(gone) == f"no pair of {Path(_TABLE).name} lies in {place}"
    assert why((0, 1, {}), gone) == f"none of the 1 pairs in {place} is judged in {Path(_TABLE).name}"


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("Final Answer: C", "worsened"),
        ("(A) Improved", "improved"),
        ("It has improved.", "improved"),
        ("unchanged", "stable"),
        ("It may be stable or worse.", None),
        ("I cannot tell", None),
        ("The effusion improved at first. Final Answer: (B) stable", "stable"),
        ("Worse", "worsened"),
        ("B. Unchanged", "stable"),
        ("not improved", None),
        ("(A) not improved", None),
        ("(A) worsened", None),
        ("A stable effusion", None),  # the article looks like a letter
        ("unstable", None),
        ("non-stable", None),
        ("There is no improvement.", None),
        ("It hasn't worsened", None),
        ("neither improved, nor worsened", None),
        ("neither stable, improved nor worsened", None),
        ("not stable or improved", None),
        ("(A) improved, (B) stable or (C) worsened", None),
        ("No significant change, stable", "stable"),
        ("Not improved but stable", "stable"),
        ("(C) It has not improved.", "worsened"),
    ],
)
def test_a_change_is_read_by_its_letter_or_its_word(text: str, change: str | None) -> None:
    assert read_change(text) == change
