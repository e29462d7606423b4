"""Intervals resample patients, parts are averaged, and two runs are compared in pairs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from osler.evaluate.rows import MODEL, Measure, Row, measured, paired_difference, resampled

ACCURACY = Measure(name="accuracy", field="right")
BALANCED = Measure(name="balanced", field="right", over="parts")
AUROC = Measure(name="AUROC", field="probability", kind="auroc", over="parts")


def row(patient: str, *, right: bool, part: str = "", blind: bool = False, case: str = "") -> Row:
    values = {"right": {MODEL: (float(right), 1.0), "blanked": (float(blind), 1.0)}}
    return Row(case=case or patient, patient=patient, part=part, values=values)


def test_a_patient_with_many_rows_counts_once_in_the_interval() -> None:
    many = [row("a", right=True, case=str(n)) for n in range(98)] + [row("b", right=False), row("c", right=False)]
    (found,) = measured(many, [ACCURACY])
    estimate = found.systems[MODEL]
    assert estimate.value == pytest.approx(0.98)
    assert estimate.low == 0.0  # resamples without the one patient with all the right rows
    assert (found.rows, found.patients) == (100, 3)


def test_the_interval_of_independent_rows_is_the_binomial_one() -> None:
    rng = np.random.default_rng(1)
    rows = [row(str(n), right=bool(rng.random() < 0.7)) for n in range(400)]
    estimate = measured(rows, [ACCURACY], draws=2000)[0].systems[MODEL]
    half = 1.96 * np.sqrt(estimate.value * (1 - estimate.value) / 400)
    assert estimate.low == pytest.approx(estimate.value - half, abs=0.01)
    assert estimate.high == pytest.approx(estimate.value + half, abs=0.01)


def test_means_over_parts_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    truths = [str(one) for one in rng.choice(["a", "b", "c"], p=[0.7, 0.2, 0.1], size=200)]
    said = [truth if rng.random() < 0.6 else "a" for truth in truths]
    rows = [
        Row(case=str(n), patient=str(n), part=truth, values={"right": {MODEL: (float(truth == one), 1.0)}})
        for n, (truth, one) in enumerate(zip(truths, said, strict=True))
    ]
    found = {(entry.group, entry.part): entry for entry in measured(rows, [BALANCED])}
    assert found["all", ""].systems[MODEL].value == pytest.approx(balanced_accuracy_score(truths, said))
    assert set(found) == {("all", ""), ("all", "a"), ("all", "b"), ("all", "c")}


def test_macro_auroc_leaves_out_a_finding_without_both_classes() -> None:
    rng = np.random.default_rng(4)
    rows, expected = [], []
    for part in ("edema", "mass"):
        truths, scores = rng.integers(2, size=60), rng.random(60)
        expected.append(roc_auc_score(truths, scores))
        rows += [
            Row(case=f"{part}{n}", patient=str(n), part=part, values={"probability": {MODEL: (score, float(truth))}})
            for n, (truth, score) in enumerate(zip(truths, scores, strict=True))
        ]
    rows.append(Row(case="x", patient="x", part="hernia", values={"probability": {MODEL: (0.3, 0.0)}}))
    found = {entry.part: entry.systems[MODEL].value for entry in measured(rows, [AUROC])}
    assert found[""] == pytest.approx(np.mean(expected))
    assert np.isnan(found["hernia"])


def test_a_gain_is_resampled_in_pairs() -> None:
    rows = [row(str(n), right=n % 4 != 0, blind=n % 4 == 1) for n in range(80)]
    (found,) = measured(rows, [ACCURACY])
    gain = found.gains["blanked"]
    assert gain.value == pytest.approx(0.5)
    assert 0 < gain.low < 0.5 < gain.high < 1


def test_two_runs_are_compared_on_what_both_answered() -> None:
    first = [row(str(n), right=True) for n in range(20)]
    second = [row(str(n), right=n % 2 == 0) for n in range(5, 25)]
    difference, rows = paired_difference(first, second, measure=ACCURACY)
    assert rows == 15
    assert difference.value == pytest.approx(8 / 15)
    assert difference.low > 0
    same, _ = paired_difference(first, first, measure=ACCURACY)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_rows_survive_json() -> None:
    import json

    one = row("a", right=True, part="b")
    assert Row.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_the_first_resample_is_the_data_and_each_draws_as_many_patients() -> None:
    rows = [row(str(n % 5), right=True, case=str(n)) for n in range(20)]
    weights = resampled(rows, draws=50)
    assert (weights[0] == 1).all()
    assert (weights[1:].sum(axis=1) == 20).all()
