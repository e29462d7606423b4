"""CT-RATE and tables of one's own: the published questions, volumes that are what they should be, the metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from osler.evaluate.published import PLAIN, PUBLISHED
from osler.evaluate.rows import MODEL
from osler.evaluate.sets.volume_conditions import EIGHTEEN
from tests.evaluate.sets.published_folders import Scripting, write_conditions, write_ct_rate, write_volume
from tests.evaluate.sets.test_xray_labels import evaluated, values

ARGUE = 'You may write out your argument before stating your final answer "Final Answer: yes" or "Final Answer: no"'


def test_ct_rate_asks_for_eighteen_findings_of_the_first_reconstruction(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    truths, said = rng.integers(0, 2, (6, 18)), rng.integers(0, 2, (6, 18))
    truths[0] = said[0] = 1
    write_ct_rate(tmp_path, [[str(one) for one in row] for row in truths])

    def answer(number: int, question: str) -> str:
        (column,) = [n for n, finding in enumerate(EIGHTEEN) if f"is there {finding}?" in question]
        return f"Final Answer: {'yes' if said[number, column] else 'no'}"

    model = Scripting(answer, style=PUBLISHED)
    result = evaluated("ct-rate", tmp_path, model)
    assert result.failed == []
    assert (len(result.rows), result.cases) == (6 * 18, 6)
    assert (
        "You are an expert radiologist for chest CT. Looking at these CT slices, is there Emphysema? "
        "Answer with 'Final Answer: yes' or 'Final Answer: no'"
    ) in {question for _, question in model.asked}
    assert model.systems == {""}
    assert {row.patient for row in result.rows} == {"valid_1", "valid_2", "valid_3"}
    found = values("ct-rate", result)
    expected = [f1_score(truths[:, n], said[:, n]) for n in range(18)]
    assert found["macro F1", "", MODEL] == pytest.approx(np.mean(expected))
    assert ("macro F1", "", "blanked") not in found  # twice the work, so not for volumes


def test_a_volume_that_is_not_in_hu_or_damaged_costs_one_case(tmp_path: Path) -> None:
    write_ct_rate(tmp_path, [["1"] * 18, ["0"] * 18, ["0"] * 18, ["2"] * 18])
    scans = tmp_path / "ct" / "ct-rate" / "valid_fixed"
    write_volume(scans / "valid_1" / "valid_1_b" / "valid_1_b_1.nii.gz", number=1, modality="mr")
    (scans / "valid_2" / "valid_2_a" / "valid_2_a_1.nii.gz").write_bytes(b"no volume")
    result = evaluated("ct-rate", tmp_path, Scripting(lambda n, q: "yes", style=PLAIN))
    why = {entry.case: entry.why for entry in result.failed}
    assert set(why) == {"valid_1_b_1.nii.gz", "valid_2_a_1.nii.gz", "valid_2_b_1.nii.gz"}
    assert "is taken as MR, not as CT" in why["valid_1_b_1.nii.gz"]
    assert "slope and intercept" in why["valid_1_b_1.nii.gz"]
    assert "The label of Medical material is '2'" in why["valid_2_b_1.nii.gz"]
    assert {row.case for row in result.rows} == {"valid_1_a_1.nii.gz"}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    model = Scripting(lambda n, q: "yes", style=PLAIN)
    assert "ct/ct-rate/multi_abnormality_labels/valid_predicted_labels.csv" in evaluated("ct-rate", tmp_path, model).why
    assert evaluated("mr-conditions", tmp_path, model).why == "not found: mr/conditions/questions.csv"
    write_conditions(tmp_path, "mr", [(1, "hemorrhage", "yes", "")])
    (tmp_path / "mr" / "conditions" / "volumes" / "1.nii.gz").unlink()
    assert evaluated("mr-conditions", tmp_path, model).why == "the table is there, but no file that it lists"
    (tmp_path / "mr" / "conditions" / "questions.csv").write_text("volume,condition\n")
    assert "questions.csv has no column 'label'" in evaluated("mr-conditions", tmp_path, model).why


@pytest.mark.parametrize(
    ("modality", "name", "wanted"),
    [
        (
            "ct",
            "ct-conditions",
            'After looking at the indication and patient history "Flank pain."... Is there "renal calculus" in the CT '
            f"volume? {ARGUE}.",
        ),
        (
            "mr",
            "mr-conditions",
            f'After looking at the patient history "Flank pain.", Is there renal calculus in the MRI volume? {ARGUE}',
        ),
    ],
)
def test_a_table_of_ones_own_is_asked_with_its_history(tmp_path: Path, modality: str, name: str, wanted: str) -> None:
    rows = [
        (1, "renal calculus", "yes", "Flank pain."),
        (1, "appendicitis", "No", "Flank pain."),
        (2, "renal calculus", "no", ""),
        (3, "appendicitis", "yes", ""),
        (4, "appendicitis", "yes", ""),
        (4, "appendicitis", "no", ""),
    ]
    write_conditions(tmp_path, modality, rows)

    def answer(number: int, question: str) -> str:
        return "Final Answer: yes" if number < 3 else "A stone? Final Answer: no"

    model = Scripting(answer, style=PUBLISHED)
    result = evaluated(name, tmp_path, model)
    assert (1, wanted) in model.asked
    assert ["yes and no" in entry.why for entry in result.failed] == [True]  # the table contradicts itself
    found = values(name, result)
    assert found["macro accuracy", "renal calculus", MODEL] == 0.5
    assert found["macro accuracy", "appendicitis", MODEL] == 0.0
    assert found["macro accuracy", "", MODEL] == 0.25


def test_a_volume_without_a_place_or_outside_the_folder_costs_one_case(tmp_path: Path) -> None:
    write_conditions(tmp_path, "mr", [(1, "hemorrhage", "yes", "")])
    write_volume(tmp_path / "outside.nii.gz", number=2, modality="mr")
    with (tmp_path / "mr" / "conditions" / "questions.csv").open("a", encoding="utf-8") as file:
        file.write(",p2,hemorrhage,yes,\n ,p3,edema,no,\n")
        file.writelines(f"../../outside.nii.gz,p4,{one},yes,\n" for one in ("hemorrhage", "edema"))
    result = evaluated("mr-conditions", tmp_path, Scripting(lambda n, q: "yes", style=PLAIN))
    assert [row.case for row in result.rows] == ["volumes/1.nii.gz"]
    why = {entry.case: entry.why for entry in result.failed}
    assert set(why) == {"record 2", "record 3", "../../outside.nii.gz"}
    assert "questions.csv, 'record 2': '' names no file in conditions" in why["record 2"]
    assert "'../../outside.nii.gz' does not lie in conditions" in why["../../outside.nii.gz"]
