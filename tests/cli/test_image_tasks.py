"""``osler locate``, ``findings``, ``report``, ``compare``, ``chat``: refusals first, real runs of their examples."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from osler.cli.app import app
from osler.cli.chat import chat
from osler.cli.compare import compare
from osler.cli.demo import demo_scan
from osler.cli.findings import findings
from osler.cli.locate import locate
from osler.cli.report import report
from osler.engine.load import load
from osler.writers import SAFETY_NOTE, is_own_picture, load_schema
from tests.cli.mini import needs_mini
from tests.cli.running import SOURCES, invoke, loaded_after, require_refusal

COMMANDS = {"locate": locate, "findings": findings, "report": report, "compare": compare, "chat": chat}


_load_once = functools.cache(load)


def example_of(name: str) -> str:
    """The example in a command's help."""
    (line,) = re.findall(r"Example: (.*)", COMMANDS[name].__doc__ or "")
    return line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the examples speak of."""
    for name in ("chest.dcm", "scan.dcm"):
        shutil.copy(demo_scan(), tmp_path / name)
    (tmp_path / "chest-ct").mkdir()
    shutil.copy(demo_scan(), tmp_path / "chest-ct" / "1.dcm")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 50)).astype(np.uint8)
    for name in ("chest.png", "now.png", "before.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    for name, width in (("now.json", 30), ("before.json", 20)):
        boxes = [{"label": "nodule", "x0": 1, "y0": 1, "x1": 1 + width, "y1": 9}]
        (tmp_path / name).write_text(json.dumps(boxes))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("osler.engine.load.load", _load_once)  # the real weights, once for all tests here
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_has_an_example(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert "Example: " in result.stdout
    assert f"osler {name}" in example_of(name)


@needs_mini
@pytest.mark.parametrize("name", ["locate", "findings", "report", "compare"])
def test_the_example_of_the_help_runs(name: str, folder: Path) -> None:
    result = invoke(*shlex.split(example_of(name))[1:], "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    jsonschema.validate(record, load_schema("answer"))
    assert record["task"] == name
    skill = {"locate": "boxes", "findings": "findings", "report": "reports", "compare": "progression"}[name]
    assert record.get("untrained", []) in ([], [skill])  # once trained, the commands stay as they are
    if name == "compare":
        (entry,) = record["progression"]
        assert (entry["finding"], entry["change"], entry["before"], entry["now"]) == ("nodule", "worsened", 20, 30)
    if name == "locate":
        assert is_own_picture(folder / "boxes.png")


@needs_mini
def test_the_example_of_chat_runs_in_a_pipe(folder: Path) -> None:
    words, command = (shlex.split(part) for part in example_of("chat").split("|"))
    lines = f"{words[1]}\n/evidence\n/nonsense\n/save talk.md\n/quit\nnever asked\n"
    result = CliRunner().invoke(app, command[1:], input=lines)
    assert result.exit_code == 0, result.output
    assert "Unknown command '/nonsense'" in result.stderr
    assert "Saved: " in result.stdout
    page = (folder / "talk.md").read_text()
    assert f"**Question:** {words[1]}" in page
    assert "never asked" not in page


@needs_mini
def test_text_says_what_is_not_trained_and_what_was_seen(folder: Path) -> None:
    result = invoke("report", "chest-ct", "--markdown", "report.md")
    assert result.exit_code == 0, result.output
    for part in ("Technique:", "By the file: CT", "Used      CT", SAFETY_NOTE, "Report: "):
        assert part in result.stdout
    assert "Technique" in (folder / "report.md").read_text()


def test_the_names_of_findings_are_listed_without_a_model() -> None:
    code = (
        "from osler.cli.app import app\n"
        "from typer.testing import CliRunner\n"
        "run = CliRunner().invoke(app, ['findings', '--list'])\n"
        "assert run.exit_code == 0 and 'pleural effusion  (CT chest, DX chest)' in run.stdout, run.output"
    )
    assert "torch" not in loaded_after(code)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("locate", "absent.dcm", " "), "no label"),
        (("locate", "absent.dcm", "heart"), "absent.dcm"),
        (("locate", "absent.dcm", "heart", "--model", "oslermini"), "Unknown model 'oslermini'"),
        (("locate", "absent.dcm", "heart", "--picture", "no/boxes.png"), "No folder"),
        (("findings",), "No scan"),
        (("findings", "absent.dcm", "gout"), "Unknown finding 'gout'"),
        (("report", "absent.dcm"), "absent.dcm"),
        (("compare", "absent.dcm", "old.dcm"), "absent.dcm"),
        (("compare", "absent.dcm", "old.dcm", "--finding", "gout"), "Unknown finding 'gout'"),
    ],
)
def test_what_is_at_fault_is_refused_before_the_model_is_loaded(
    command: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = require_refusal(invoke(*command, "--json"), as_json=True)
    assert message in error["problem"]
    assert os.listdir(tmp_path) == []


def test_a_mistyped_date_is_refused() -> None:
    result = invoke("compare", "a", "b", "--date", "yesterday")
    assert result.exit_code == 2
    assert "Invalid value for '--date'" in result.stderr


@needs_mini
def test_ctrl_c_stops_the_answer_and_not_the_chat(folder: Path) -> None:
    code = (
        "import signal, sys\n"
        "from osler.tasks.chat import Chat\n"
        "plain = Chat.ask\n"
        "def ask(self, question, **options):\n"
        "    if question == 'stop':\n"
        "        options['on_text'] = lambda piece: signal.raise_signal(signal.SIGINT)\n"
        "    return plain(self, question, **options)\n"
        "Chat.ask = ask\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.argv = ['osler', 'chat', 'scan.dcm', '--quiet']\n"
        "from osler.cli import main\n"
        "main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        input="stop\nWhich plane is this?\n/save talk.json\n",
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "(stopped; the question is not kept)" in process.stderr
    record = json.loads((folder / "talk.json").read_text())
    assert [turn["question"] for turn in record["turns"]] == ["Which plane is this?"]
