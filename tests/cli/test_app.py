"""The frame of the commands: help, version, completion, and how little they load."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import osler
from tests.cli.running import SOURCES, invoke, loaded_after, spawn

COMMANDS = ("ask", "inspect", "models", "doctor", "demo", "train", "schema")


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert f" {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"osler {command}" in result.stdout or f"{command} [OPTIONS]" in result.stdout


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "from osler.cli.app import app\n"
        "from typer.testing import CliRunner\n"
        "for arguments in (['--help'], ['ask', '--help'], ['doctor', '--help'], ['--version'], ['schema']):\n"
        "    assert CliRunner().invoke(app, arguments).exit_code == 0"
    )
    assert loaded_after(code) == set()


def test_importing_osler_loads_nothing_heavy() -> None:
    assert loaded_after("import osler; dir(osler); osler.__version__") == set()


def test_opening_a_study_does_not_load_torch() -> None:
    assert "torch" not in loaded_after("import osler; osler.open_study; osler.Study; osler.Answer")


def test_version() -> None:
    run = spawn("--version")
    assert run.stdout == f"osler {osler.__version__}\n"
    assert run.returncode == 0


def test_nothing_given_shows_the_help() -> None:
    result = invoke()
    assert "Usage:" in result.output
    assert " ask " in result.output


def test_an_unknown_command_is_refused() -> None:
    result = invoke("aks")
    assert result.exit_code == 2
    assert "No such command 'aks'" in result.stderr


def test_the_shell_completes_commands_and_options() -> None:
    code = "import sys; sys.argv[:] = ['osler']; from osler.cli import main; main()"
    for typed, wanted in (("osler as", "ask"), ("osler ask --pict", "--picture")):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "PYTHONPATH": str(SOURCES),
                "_OSLER_COMPLETE": "complete_bash",
                "COMP_WORDS": typed,
                "COMP_CWORD": str(len(typed.split()) - 1),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.split() == [wanted]


def test_public_names_are_the_documented_ones() -> None:
    assert sorted(osler.__all__) == [
        "Answer", "Session", "Study", "__version__", "compare", "findings", "load", "locate", "open_study", "report",
    ]  # fmt: skip
    assert set(osler.__all__) <= set(dir(osler))
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        osler.lod  # noqa: B018
