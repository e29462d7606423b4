"""``osler deidentify`` as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from osler.cli.deidentify import deidentify
from tests.cli.running import invoke, require_refusal, spawn
from tests.tasks import planted as p


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        p.save(p.planted(number=number), tmp_path / "study" / f"{number}.dcm")
    return tmp_path / "study"


def test_the_example_of_its_help_runs(study: Path) -> None:
    (line,) = re.findall(r"Example: osler (.*)", deidentify.__doc__ or "")
    result = invoke(*shlex.split(line))
    assert result.exit_code == 0, result.output
    assert "2 files of 1 patient: 2 written" in result.output
    report = json.loads((study.parent / "study-without-names" / "deidentify-report.json").read_text())
    assert report["files"] == {"written": 2, "there_already": 0, "refused": 0}
    assert {"element": "(0010,0010) PatientName", "action": "replaced", "count": 2} in report["elements"]


def test_nothing_of_the_patient_is_printed(study: Path) -> None:
    (study / "letter.pdf").write_bytes(b"%PDF-1.4 " + p.NAME.encode())
    run = spawn("deidentify", study, "--out", study.parent / "out", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["files"]["refused"] == 1
    assert not any(p.found_in((run.stdout + run.stderr).encode(), secret) for secret in p.SECRETS)


def test_bad_requests_are_refused(study: Path, tmp_path: Path) -> None:
    def refused(*words: object) -> str:
        result = invoke("deidentify", *map(str, words))
        require_refusal(result)
        return result.stderr

    assert "Did you mean 'full-dates'" in refused(study, "--out", tmp_path / "o", "--option", "full-date")
    assert "contradict" in refused(study, "--out", tmp_path / "o", "--option", "full-dates", "--option", "no-dates")
    assert "lie in each other" in refused(study, "--out", study)
    assert "neither a file nor a folder" in refused(tmp_path / "absent", "--out", tmp_path / "o")
    assert "Unknown value of --pixels" in refused(study, "--out", tmp_path / "o", "--pixels", "some")
    assert not (tmp_path / "o").exists()


def test_a_folder_in_which_nothing_can_be_cleaned(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("hello")
    result = invoke("deidentify", tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "The one file could not be de-identified" in result.stderr
    (tmp_path / "in" / "a.txt").unlink()
    p.save(p.planted(), tmp_path / "in" / "a.dcm")
    again = invoke("deidentify", tmp_path / "in", "--out", tmp_path / "out", "--pixels", "none")
    assert again.exit_code == 0, again.output  # the report of a run that wrote nothing is not in the way


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_what_cannot_be_opened_is_counted_and_named(study: Path) -> None:
    os.mkfifo(study / "pipe.dcm")
    result = invoke("deidentify", study, "--out", study.parent / "out", "--pixels", "none")
    assert result.exit_code == 0, result.output
    assert "3 files of 1 patient: 2 written, 0 there already, 1 refused" in result.stdout
    assert "pipe.dcm: not a regular file" in result.stderr
