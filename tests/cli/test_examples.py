"""The help of every command has an example, and it runs, with the weights that are shipped.

What is not run here is listed with the reason.
"""

from __future__ import annotations

import functools
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from osler.cli.app import app
from osler.cli.demo import demo_scan
from osler.engine.load import load
from osler.writers import is_own_picture
from tests.cli.mini import needs_mini
from tests.evaluate.sets.folders import write_lungs, write_nih
from tests.readers.make_document import GERMAN, make_pdf
from tests.readers.make_fhir import coded, observation, patient, resource, write
from tests.readers.orthanc import free_port

_load_once = functools.cache(load)
_NOT_RUN_HERE = {
    "doctor": "tests/cli/test_doctor.py",
    "quantize": "tests/test_docs.py: the page on little memory has the same command",
}


def _commands(group: Any, *, before: str = "") -> Iterator[tuple[str, Any]]:
    """Names and commands, those of groups too; by what they have, as typer brings its own classes."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, before=f"{before}{name} ")
        else:
            yield f"{before}{name}", command


COMMANDS = dict(_commands(typer.main.get_command(app)))


def examples_of(name: str) -> list[str]:
    """The examples in the help of a command, each one line."""
    return re.findall(r"^ *Example: (.+)$", COMMANDS[name].help or "", flags=re.MULTILINE)


_EXAMPLES = [
    pytest.param(line, id=line) for name in COMMANDS if name not in _NOT_RUN_HERE for line in examples_of(name)
]


def _write_files(folder: Path) -> None:
    """All files that the examples speak of, one set for all of them."""
    for name in ("chest.dcm", "scan.dcm", "chest-ct/1.dcm", "study/1.dcm", "inbox/a/1.dcm", "archive/one/1.dcm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo_scan(), folder / name)
    shutil.copytree(folder / "chest-ct", folder / "new-scan")
    (folder / "archive" / "one" / "report.txt").write_text("A pleural effusion on the left.", encoding="utf-8")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 50)).astype(np.uint8)
    for name in ("chest.png", "now.png", "before.png"):
        Image.fromarray(pixels).save(folder / name)
    for name, width in (("now.json", 30), ("before.json", 20)):
        (folder / name).write_text(f'[{{"label": "nodule", "x0": 1, "y0": 1, "x1": {1 + width}, "y1": 9}}]')
    make_pdf(folder / "report.pdf", GERMAN)
    write_lungs(folder / "data", count=24)
    write_nih(folder / "data", count=24)
    (folder / "recipes").mkdir()
    shutil.copy(Path(__file__).parents[2] / "recipes" / "debug.toml", folder / "recipes")
    write(
        folder / "record.json", patient(), observation("HbA1c", 6.9, unit="%", code="4548-4", identity="o1"),
        resource("Condition", id="c1", code=coded("Asthma"), clinicalStatus=coded("", "active")),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("examples")
    _write_files(place)
    return place


def run(line: str) -> Result:
    """Runs a line of a shell: a command of ours, with what is piped into it."""
    *feed, line = line.split(" | ")
    words = shlex.split(line)
    assert words[0] == "osler"
    if words[1] == "receive":  # a server: on a port that is free, until nothing comes
        words[words.index("--port") + 1] = str(free_port())
        words += ["--stop-when-idle", "0.3"]
    piped = shlex.split(feed[0])[1] if feed else None
    return CliRunner().invoke(app, words[1:], input=piped)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example(name: str) -> None:
    examples = examples_of(name)
    assert examples
    assert all(f"osler {name} " in f"{line} " for line in examples)


@needs_mini
@pytest.mark.parametrize("line", _EXAMPLES)
def test_the_example_runs(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OSLER_STUDY_CACHE", str(folder / "cache"))
    monkeypatch.setattr("osler.engine.load.load", lambda name, **options: _load_once(name))
    if "search" in line and not (folder / "archive.index").exists():
        assert run(examples_of("index")[0]).exit_code == 0
    result = run(line)
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.stderr
    words = shlex.split(line.split(" | ")[-1])
    if "--picture" in words:
        assert is_own_picture(folder / words[words.index("--picture") + 1])
    for option in ("--sr", "--markdown", "--fhir", "--out"):
        if option in words:
            assert (folder / words[words.index(option) + 1]).exists()
