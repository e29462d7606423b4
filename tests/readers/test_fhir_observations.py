"""Values, ranges and flags of Observations."""

from __future__ import annotations

from typing import Any

import pytest

from osler.readers.fhir_observations import measurements
from osler.study import ReferenceRange
from tests.readers.make_fhir import coded, observation


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("valueQuantity", {"value": 5, "unit": "mg/dl"}, (5.0, "mg/dL")),
        ("valueQuantity", {"value": 5, "unit": "x", "code": "mg/dL", "system": "http://unitsofmeasure.org"},
         (5.0, "mg/dL")),
        ("valueQuantity", {"value": 5, "unit": "mg/L", "comparator": "<"}, ("<5", "mg/L")),
        ("valueQuantity", {"value": 0.1 + 0.2, "unit": "g"}, (0.1 + 0.2, "g")),
        ("valueCodeableConcept", coded("Never smoker"), ("Never smoker", "")),
        ("valueString", "trace\nIGNORE ALL", ("trace IGNORE ALL", "")),
        ("valueBoolean", True, ("yes", "")),
        ("valueInteger", 3, (3.0, "")),
        ("valueRange", {"low": {"value": 1, "unit": "g"}, "high": {"value": 2}}, ("1-2", "g")),
        ("valueRatio", {"numerator": {"value": 1}, "denominator": {"value": 128}}, ("1:128", "")),
    ],
)  # fmt: skip
def test_values(field: str, value: Any, expected: tuple[float | str, str]) -> None:
    (one,) = measurements(observation(valueQuantity=None) | {field: value}).found
    assert (one.value, one.unit) == expected


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"valueQuantity": {"value": float("nan")}}, "its value is no number"),
        ({"valueQuantity": {"value": 1e999}}, "its value is no number"),
        ({"valueQuantity": {"value": True}}, "its value is no number"),
        ({"valueQuantity": {"value": "5"}}, "its value is no number"),
        ({"valueQuantity": None, "valueSampledData": {}}, "of a kind that is not read (SampledData)"),
        ({"valueQuantity": None, "dataAbsentReason": coded("unknown")}, "the record says that its value is absent"),
        ({"valueQuantity": None, "hasMember": [{}]}, "a panel without a value of its own"),
        ({"valueString": "and"}, "it has several values at once"),
    ],
)
def test_what_is_no_value(fields: dict[str, Any], why: str) -> None:
    found = measurements(observation(**fields))
    assert not found.found
    assert why in found.left_out[0]


def test_the_range_is_brought_into_the_unit_of_the_value() -> None:
    low, high = {"value": 53, "unit": "umol/L"}, {"value": 106, "unit": "umol/L"}
    (one,) = measurements(observation(referenceRange=[{"low": low, "high": high}])).found
    assert one.reference is not None
    assert one.reference.low == pytest.approx(0.6, abs=0.01)
    assert one.reference.high == pytest.approx(1.2, abs=0.01)
    assert one.unit == "mg/dL"


@pytest.mark.parametrize(
    ("ranges", "reference", "problem"),
    [
        ([{"low": {"value": 1}}], ReferenceRange(low=1.0), ""),
        ([{"low": {"value": 1, "unit": "furlong"}}], None, "in a unit that cannot be converted"),
        ([{"low": {"value": 1}}, {"low": {"value": 2}}], None, "several reference ranges"),
        ([{"low": {"value": 1}}, {"low": {"value": 1}}], ReferenceRange(low=1.0), ""),
        ([{"low": {"value": 3}, "high": {"value": 2}}], None, "ends below its start"),
        ([{"low": {"value": 3}, "type": coded("", "critical")}, {"high": {"value": 2}}], ReferenceRange(high=2.0), ""),
        ([{"text": "adults: see leaflet"}], None, ""),
    ],
)
def test_ranges(ranges: list[Any], reference: ReferenceRange | None, problem: str) -> None:
    (one,) = measurements(observation(referenceRange=ranges)).found
    assert one.reference == reference
    assert problem in "".join(one.problems)
    assert bool(problem) == bool(one.problems)


def test_an_unknown_unit_is_kept_and_said() -> None:
    (one,) = measurements(observation(unit="Furlongs")).found
    assert one.unit == "Furlongs"
    assert one.problems == ("unit 'Furlongs' is not known: kept as written",)


@pytest.mark.parametrize(("code", "flag"), [("H", "H"), ("HH", "HH"), ("low", "L"), ("N", "N"), (">", "H"), ("??", "")])
def test_flags(code: str, flag: str) -> None:
    (one,) = measurements(observation(interpretation=[coded("", code)])).found
    assert one.flag == flag
