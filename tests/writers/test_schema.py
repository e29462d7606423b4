"""What is printed is what the published schemas say."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest

from osler.errors import GeometryError, OslerError, RequestError
from osler.study import ANSWER_SCHEMA_VERSION
from osler.writers import SCHEMA_NAMES, failure_to_dict, load_schema
from tests.writers.answers import full_answer, least_answer


def validate(record: dict[str, Any], *, name: str) -> None:
    schema = load_schema(name)
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(record)


def unknown_keys(record: Any, *, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """Keys of a record that its schema does not describe."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if isinstance(record, list):
        return [k for entry in record for k in unknown_keys(entry, schema=schema.get("items", {}), root=root, at=at)]
    if not isinstance(record, dict) or "additionalProperties" in schema:
        return []
    known = schema.get("properties", {})
    found = [f"{at}/{key}" for key in record if key not in known]
    for key in record.keys() & known.keys():
        found += unknown_keys(record[key], schema=known[key], root=root, at=f"{at}/{key}")
    return found


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_schemas_are_schemas_of_this_version(name: str) -> None:
    schema = load_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:osler:schema:{name}:{ANSWER_SCHEMA_VERSION}"


@pytest.mark.parametrize("make", [least_answer, full_answer])
def test_answers_match_the_schema_and_hold_nothing_it_does_not_name(make: Any) -> None:
    record = make().to_dict()
    validate(record, name="answer")
    schema = load_schema("answer")
    assert unknown_keys(record, schema=schema, root=schema) == []


def test_every_field_of_the_schema_is_filled_by_some_answer() -> None:
    assert full_answer().to_dict().keys() == load_schema("answer")["properties"].keys()


def test_fields_of_later_tasks_are_absent_not_null() -> None:
    record = least_answer().to_dict()
    assert not {"boxes", "findings", "progression"} & record.keys()
    assert "null" not in least_answer().to_json() + full_answer().to_json()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "2.0"),
        (("stopped",), "tired"),
        (("boxes", 0, "score"), 1.5),
        (("boxes", 0, "slice"), -1),
        (("boxes", 0, "mm", "low"), [0, 0]),
        (("model", "bits"), 3),
        (("timings", "read"), -1),
        (("used", 0, "slices"), None),
    ],
)
def test_the_schema_refuses_what_an_answer_never_holds(path: tuple[str | int, ...], value: object) -> None:
    record = copy.deepcopy(full_answer().to_dict())
    place: Any = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(record, name="answer")


@pytest.mark.parametrize(
    "error",
    [
        GeometryError("Slices overlap.", allowed="Slices side by side.", next_step="Name one series."),
        OslerError("Something."),
    ],
)
def test_failures_match_their_schema(error: OslerError) -> None:
    record = failure_to_dict(error)
    validate(record, name="failure")
    assert record["error"]["kind"] == type(error).__name__
    assert record["error"]["problem"] == error.problem


def test_an_unknown_schema_is_named_with_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"Unknown schema 'anser'.*Did you mean 'answer'"):
        load_schema("anser")
