"""Facts as JSON: columnar writing and reading back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from osler.errors import FileFormatError
from osler.synth.draw import draw_facts
from osler.synth.metadata import metadata_json
from osler.synth.reports import facts_json, read_report_facts


def test_facts_come_back_as_they_were() -> None:
    table = draw_facts(seed=3, patients=np.arange(400))
    facts, metadata = facts_json(table).to_pylist(), metadata_json(table).to_pylist()
    row = 0
    for number in range(400):
        patient = table.patient(number)
        for exam in patient.exams:
            found = read_report_facts(facts[row], metadata=metadata[row])
            assert found.exam == exam
            assert (found.seed, found.patient, found.sex) == (3, number, patient.sex)
            assert found.age == patient.age + int(np.floor(exam.day / 365.25)) or abs(found.age - patient.age) <= 30
            row += 1
    assert row == len(facts)


def test_unset_values_are_left_out() -> None:
    table = draw_facts(seed=3, patients=np.arange(50))
    for text in facts_json(table).to_pylist():
        for finding in json.loads(text)["findings"]:
            if finding["certainty"] == "absent":
                assert set(finding) == {"key", "certainty"}
            assert None not in finding.values()


def test_another_version_and_broken_facts_are_refused() -> None:
    table = draw_facts(seed=3, patients=np.arange(1))
    facts, metadata = facts_json(table)[0].as_py(), metadata_json(table)[0].as_py()
    with pytest.raises(FileFormatError, match=r"version '9\.9'.*reads version 1\.0"):
        read_report_facts(facts.replace('"1.0"', '"9.9"', 1), metadata=metadata)
    with pytest.raises(FileFormatError, match=r"Metadata of version '9\.9'"):
        read_report_facts(facts, metadata=metadata.replace('"1.0"', '"9.9"', 1))
    for broken in ("", "[]", "{}", facts[:40], "null"):
        with pytest.raises(FileFormatError, match="Not the facts of a report"):
            read_report_facts(broken, metadata=metadata)
