"""Laboratory tests in JSON: what is read of an answer, which tests are the same, and the F1 of fields."""

from __future__ import annotations

import json

import pytest
from sklearn.metrics import f1_score

from osler.evaluate.laboratory_json import field_counts, matched, plain_test, read_tests, same_value

ONE = {"name": "Hemoglobin", "result": "13.4", "unit": "g/dL"}
TWO = {"name": "Potassium", "result": "5.8", "unit": "mmol/L"}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([ONE, TWO]),
        f'thinking of {{"name": "x"}}<unused95>Here:\n```json\n{json.dumps([ONE, TWO], indent=1)}\n```\nDone.',
        json.dumps({"tests": [ONE, TWO]}),
        json.dumps([ONE, TWO])[:-1] + ', {"name": "Sodium", "resu',
        "{broken} " + json.dumps(ONE) + json.dumps(TWO),
    ],
)
def test_objects_with_a_name_are_read_from_any_answer(text: str) -> None:
    assert read_tests(text) == [ONE, TWO]


@pytest.mark.parametrize("text", ["", "no tests", "[[[[", "[" * 5000, '{"name"', "[1, 2]", '{"result": 3}'])
def test_answers_without_tests_give_none(text: str) -> None:
    assert read_tests(text) == []


def test_numbers_and_null_become_text_and_other_fields_are_left_out() -> None:
    said = '[{"name": " Na ", "result": 139, "unit": null, "range": "1-2", "panel": "x"}]'
    assert read_tests(said) == [{"name": "Na", "result": "139", "unit": ""}]


def test_tests_are_matched_in_phases_each_once() -> None:
    wanted = [
        {"name": "Glucose", "result": "90"},
        {"name": "Glucose", "result": "200"},
        {"name": "Hb", "result": "13"},
        {"name": "Vitamin D 25-OH total", "result": "30"},
        {"name": "Sodium", "result": "139"},
    ]
    said = [
        {"name": "glucose", "result": "200"},
        {"name": "GLUCOSE", "result": "91"},
        {"name": "Hemoglobin", "result": "13"},
        {"name": "25-OH Vitamin D", "result": "30"},
        {"name": "Chloride", "result": "139"},
    ]
    found = {(match.wanted, match.said): match.named for match in matched(wanted, said)}
    assert found == {(0, 1): True, (1, 0): True, (2, 2): True, (3, 3): False}


def test_a_name_that_is_only_alike_is_not_right_and_its_values_are_compared() -> None:
    wanted = [{"name": "Vitamin D 25-OH total", "result": "30", "unit": "ng/mL"}]
    said = [{"name": "25-OH Vitamin D", "result": "30", "unit": "ng/mL"}]
    assert field_counts(wanted, said) == {"name": (0.0, 2.0), "result": (2.0, 2.0), "unit": (2.0, 2.0)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LDL Cholesterol", "HDL Cholesterol"),
        ("LDL cholesterol, calculated", "HDL cholesterol, calculated"),
        ("Total bilirubin", "Direct bilirubin"),
        ("Hepatitis A antibody", "Hepatitis B antibody"),  # "A" is no article here
        ("Widgets %", "Widgets #"),
    ],
)
def test_another_test_of_a_like_name_is_not_compared(one: str, other: str) -> None:
    wanted, said = [{"name": one, "result": "1.0"}], [{"name": other, "result": "1.0"}]
    assert field_counts(wanted, said) == {"name": (0.0, 2.0), "result": (0.0, 2.0)}


@pytest.mark.parametrize("nothing", ["", None])
def test_a_field_that_is_empty_in_every_wanted_test_is_not_counted(nothing: str | None) -> None:
    wanted = [plain_test({**ONE, "specimen": nothing}), plain_test({**TWO, "specimen": nothing})]
    assert set(field_counts(wanted, [{**ONE, "specimen": "Serum"}])) == {"name", "result", "unit"}


@pytest.mark.parametrize(
    ("field", "one", "other", "same"),
    [
        ("result", "13.40", "13.4", True),
        ("result", "< 5", "<5.0", True),
        ("result", "<5", "5", False),
        ("result", "Negative", "negative", True),
        ("unit", "µmol/l", "umol/L", True),
        ("unit", "10^9/L", "10*9/L", True),
        ("unit", "g/dL", "mg/dL", False),
        ("unit", "widgets", "Widgets", True),
        ("sample_collection_time", "03-02-2021 08:15:00", "3-2-2021 8:15:00", True),
        ("sample_collection_time", "03-02-2021 08:15:00", "02-03-2021 08:15:00", False),
        ("method", "", "", False),
    ],
)
def test_fields_say_the_same(field: str, one: str, other: str, same: bool) -> None:
    assert same_value(field, {field: one}, {field: other}) is same


def test_counts_give_the_f1_that_scikit_learn_gives() -> None:
    wanted = [ONE, TWO, {"name": "Sodium", "result": "139", "unit": "mmol/L"}]
    said = [{**ONE, "result": "14"}, TWO, {"name": "Zinc", "result": "1", "unit": ""}]
    counts = field_counts(wanted, said)
    # One decision a value: those that are wanted, and those that were said and stand nowhere.
    #              Hb     K      Na     Zn    | the wrong 14 is a value too many beside the 13.4 that is missing
    name = f1_score([1, 1, 1, 0], [1, 1, 0, 1])
    result = f1_score([1, 1, 1, 0, 0], [0, 1, 0, 1, 1])
    unit = f1_score([1, 1, 1], [1, 1, 0])
    assert {field: pair[0] / pair[1] for field, pair in counts.items()} == pytest.approx(
        {"name": name, "result": result, "unit": unit}
    )
    assert set(counts) == {"name", "result", "unit"}  # nobody says what the others are
