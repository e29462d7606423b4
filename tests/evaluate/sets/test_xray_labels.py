"""CXR14, CheXpert and MIMIC-CXR: the published question, which labels count, and macro F1 as scikit-learn has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from osler.evaluate.published import PLAIN, PUBLISHED
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import SetResult, chosen_sets, run_set
from osler.evaluate.sets.types import Setting
from osler.evaluate.sets.xray_labels import explicit_label, original_label
from osler.evaluate.sets.yes_no_questions import yes_no_word
from osler.train.pictures import split_of
from tests.evaluate.sets.folders import write_csv
from tests.evaluate.sets.published_folders import (
    Scripting,
    mimic_place,
    write_chexpert,
    write_cxr14,
    write_mimic,
    write_picture,
)

FIVE = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural effusion")
END = ' You MUST end your responce with either "Final Answer: yes" or "Final Answer: no'


def evaluated(name: str, root: Path, model: Scripting, **options: object) -> SetResult:
    (one,) = chosen_sets((name,))
    return run_set(one, Setting(root=root, responder=model, **{"split": "all", **options}))  # type: ignore[arg-type]


def values(name: str, result: SetResult) -> dict[tuple[str, str, str], float]:
    (one,) = chosen_sets((name,))
    return {
        (entry.measure, entry.part, system): estimate.value
        for entry in measured(result.rows, one.measures, draws=20)
        for system, estimate in entry.systems.items()
    }


def saying(said: np.ndarray, *, findings: Sequence[str]) -> Callable[[int, str], str]:
    """Answers picture n about finding f with ``said[n, f]``; 2 is no answer, and a blanked picture shows nothing."""

    def answer(number: int, question: str) -> str:
        (column,) = [n for n, finding in enumerate(findings) if finding in question]
        number = 0 if number < 0 else int(said[number, column])
        return ("There is none. Final Answer: no", 'I see it. "Final Answer: yes"', "Who knows?")[number]

    return answer


def test_cxr14_is_asked_in_the_published_words_and_scored_as_scikit_learn_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    truths, said = rng.integers(0, 2, (12, 3)), rng.integers(0, 3, (12, 3))
    words = np.array(["NO", "YES"])[truths]
    write_cxr14(tmp_path, [tuple(row) for row in words])
    model = Scripting(saying(said, findings=("opacity", "pneumothorax", "fracture")), style=PUBLISHED)
    result = evaluated("cxr14", tmp_path, model)
    assert result.failed == []
    assert {question for _, question in model.asked} == {
        "Is there lung opacity in this image?" + END,
        "Is there pneumothorax in this image?" + END,
        "Are there any fractures in the image?" + END,
    }
    assert model.systems == {""}  # thinking is off
    found = values("cxr14", result)
    f1 = [f1_score(truths[:, n], said[:, n] == 1) for n in range(3)]
    right = [accuracy_score(truths[:, n], said[:, n]) for n in range(3)]  # no answer is never right
    assert found["macro F1", "", MODEL] == pytest.approx(np.mean(f1))
    assert found["macro F1", "lung opacity", MODEL] == pytest.approx(f1[0])
    assert found["macro accuracy", "", MODEL] == pytest.approx(np.mean(right))
    assert found["readable", "", MODEL] == pytest.approx(np.mean(said < 2))
    always = [f1_score(truths[:, n], np.ones(12)) for n in range(3)]
    assert found["macro F1", "", "always yes"] == pytest.approx(np.mean(always))
    assert found["macro F1", "", "blanked"] == 0.0
    assert {row.patient for row in result.rows} == {str(n) for n in range(6)}


def test_the_majority_leaves_out_the_patient_who_is_asked_about(tmp_path: Path) -> None:
    # Two pictures a patient: only with the own ones would yes be the commoner label.
    write_cxr14(tmp_path, [("YES", "NO", "NO")] * 2 + [("NO", "NO", "NO"), ("YES", "NO", "NO")])
    model = Scripting(lambda number, question: "yes", style=PLAIN)
    result = evaluated("cxr14", tmp_path, model)
    right = {row.patient: row.values["right"]["majority"][0] for row in result.rows if row.part == "lung opacity"}
    assert right["0"] == 0.0  # the other patient is even: no
    assert ("Is there lung opacity in this image? Answer with yes or no.") in {asked for _, asked in model.asked}


def test_only_patients_that_training_left_out_are_asked_about(tmp_path: Path) -> None:
    write_cxr14(tmp_path, [("YES", "NO", "NO")] * 40)
    result = evaluated("cxr14", tmp_path, Scripting(lambda n, q: "yes", style=PLAIN), split="held-out")
    kept = {str(n) for n in range(20) if split_of("nih", patient=str(n)) == "held-out"}
    assert {row.patient for row in result.rows} == kept
    assert 0 < len(kept) < 20


def test_damaged_rows_and_pictures_cost_one_case_each(tmp_path: Path) -> None:
    write_cxr14(tmp_path, [("YES", "NO", "NO"), ("HEDGE", "NO", "NO"), ("NO", "YES", "NO"), ("NO", "NO", "YES")])
    images = tmp_path / "cxr" / "nih" / "images"
    (images / "00000002_000.png").write_bytes(b"no picture")
    (images / "00000003_000.png").unlink()
    write_picture(images / "00000003_000.jpg", number=3)  # JPEG will do, too
    result = evaluated("cxr14", tmp_path, Scripting(lambda n, q: "no", style=PLAIN))
    assert {entry.case for entry in result.failed} == {"00000001_000.png", "00000002_000.png"}
    (why,) = [entry.why for entry in result.failed if entry.case == "00000001_000.png"]
    assert why.startswith("The label of lung opacity is 'HEDGE' in the row of 00000001_000.png.")
    assert "YES or NO" in why
    assert {row.case for row in result.rows} == {"00000000_000.png", "00000003_000.png"}
    (images / "00000000_000.png").unlink()
    gone = evaluated("cxr14", tmp_path, Scripting(lambda n, q: "no", style=PLAIN))
    assert "1 that the table lists are not there, and are left out." in gone.notes


def test_a_table_that_is_something_else_is_refused(tmp_path: Path) -> None:
    model = Scripting(lambda n, q: "no", style=PLAIN)
    assert evaluated("cxr14", tmp_path, model).why == (
        "not found: cxr/nih/four_findings_expert_labels/test_labels.csv, cxr/nih/images"
    )
    write_cxr14(tmp_path, [("YES", "NO", "NO")])
    table = tmp_path / "cxr" / "nih" / "four_findings_expert_labels" / "test_labels.csv"
    table.write_bytes(b"\xff\xfe\x00\x01")
    result = evaluated("cxr14", tmp_path, model)
    assert (result.state, result.rows) == ("failed", [])
    assert "test_labels.csv cannot be read" in result.why
    table.write_text("Image Index,Patient ID,Fracture\n")
    assert "test_labels.csv has no column 'Airspace opacity'" in evaluated("cxr14", tmp_path, model).why


def test_chexpert_takes_the_test_set_or_says_that_it_is_not(tmp_path: Path) -> None:
    write_chexpert(tmp_path, [("1.0", "0.0", "0.0", "0.0", "0.0")] * 2, table="valid.csv")
    model = Scripting(lambda n, q: "Final Answer: no", style=PUBLISHED)
    result = evaluated("chexpert", tmp_path, model)
    assert len(result.rows) == 10
    assert any("validation set (234 pictures)" in note for note in result.notes)
    assert {question for _, question in model.asked} == {f"Is there {name} in this image?{END}" for name in FIVE}
    truths = [("1.0", "0.0", "-1.0", "", "0.0"), ("0.0", "1.0", "1.0", "0.0", "1.0")]
    write_chexpert(tmp_path, truths)
    result = evaluated("chexpert", tmp_path, Scripting(lambda n, q: "Final Answer: yes", style=PUBLISHED))
    assert not any("validation set" in note for note in result.notes)
    told = {(row.patient, row.part): row.truth for row in result.rows}
    assert ("patient64740", "consolidation") not in told  # uncertain
    assert ("patient64740", "edema") not in told  # missing
    assert told["patient64740", "atelectasis"] == "yes"
    assert len(told) == 8


def test_mimic_takes_frontal_pictures_of_the_test_split_with_the_labels_of_their_study(tmp_path: Path) -> None:
    labels = [("1.0", "-1.0", "", "0.0", "1.0"), *[("0.0", "1.0", "1.0", "0.0", "0.0")] * 5]
    write_mimic(tmp_path, labels)
    model = Scripting(lambda n, q: "Final Answer: yes", style=PUBLISHED)
    result = evaluated("mimic-cxr", tmp_path, model)
    assert {number for number, _ in model.asked} == {0, 1, 2, 4}  # 3 is lateral, 5 of the train split
    assert {question for _, question in model.asked} == {f"Is there {name} in this image?{END}" for name in FIVE}
    first = {row.part: row.truth for row in result.rows if row.case == Path(mimic_place(0)).name}
    assert first == {
        "atelectasis": "yes", "cardiomegaly": "no", "consolidation": "no", "edema": "no", "pleural effusion": "yes"
    }  # fmt: skip
    assert "All frontal pictures of the test split." in result.notes
    listed = [{"dicom_id": Path(mimic_place(number)).name} for number in (1, 3)]
    write_csv(tmp_path / "cxr" / "mimic-cxr" / "maira-images.csv", listed)
    model = Scripting(lambda n, q: "Final Answer: yes", style=PUBLISHED)
    evaluated("mimic-cxr", tmp_path, model)
    assert {number for number, _ in model.asked} == {1, 3}


def test_the_labels_of_med_gemini_are_asked_for_where_they_say_yes_or_no(tmp_path: Path) -> None:
    model = Scripting(lambda n, q: "Final Answer: yes", style=PUBLISHED)
    assert evaluated("mimic-cxr-med-gemini", tmp_path, model).why.startswith(
        "not found: cxr/mimic-cxr/med-gemini-labels.csv.gz"
    )
    labels = [("1.0", "-1.0", "", "0.0", "1.0"), ("0.0",) * 5]
    write_mimic(tmp_path, labels, table="med-gemini-labels.csv")
    result = evaluated("mimic-cxr-med-gemini", tmp_path, model)
    assert {row.part: row.truth for row in result.rows} == {
        "atelectasis": "yes", "edema": "no", "pleural effusion": "yes"
    }  # fmt: skip
    packed = tmp_path / "cxr" / "mimic-cxr" / "med-gemini-labels.csv.gz"
    packed.write_bytes(packed.read_bytes()[:40])
    result = evaluated("mimic-cxr-med-gemini", tmp_path, model)
    assert result.state == "failed"
    assert "med-gemini-labels.csv.gz cannot be read" in result.why


@pytest.mark.parametrize("cell", ["maybe", "2", "nan", "yes"])
def test_other_labels_are_none(cell: str) -> None:
    for read in (original_label, explicit_label):
        with pytest.raises(ValueError):  # noqa: PT011
            read(cell)
    assert [original_label(one) for one in ("1.0", "0", "-1", "")] == [True, False, False, False]
    assert [explicit_label(one) for one in ("1", "0.0", "-1.0", " ")] == [True, False, None, None]
    assert yes_no_word(" Yes ")
    with pytest.raises(ValueError):  # noqa: PT011
        yes_no_word("hedge")
