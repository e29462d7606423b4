"""From exceptions to messages and exit codes."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from osler.cli.failure import guarded
from osler.errors import FileFormatError
from tests.cli.running import SOURCES, require_refusal

SECRET = "Zyxwvut^Quentin"


def run_raising(action: Callable[[], None], *arguments: str) -> Result:
    """Runs a guarded command whose body is ``action``."""
    app = typer.Typer()

    @app.command()
    @guarded
    def command(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
        action()

    return CliRunner().invoke(app, list(arguments))


def refuse() -> None:
    raise FileFormatError("'a.dcm' is torn.", allowed="A whole file.", next_step="Copy it again.")


def test_an_osler_error_is_one_message() -> None:
    result = run_raising(refuse)
    require_refusal(result)
    assert result.stderr == "Error: 'a.dcm' is torn.\n  A whole file.\n  Copy it again.\n"


def test_with_json_standard_output_holds_the_failure() -> None:
    error = require_refusal(run_raising(refuse, "--json"), as_json=True)
    assert error == {
        "kind": "FileFormatError",
        "problem": "'a.dcm' is torn.",
        "allowed": "A whole file.",
        "next_step": "Copy it again.",
    }


def test_an_unexpected_exception_says_where_and_nothing_of_the_input() -> None:
    def fail() -> None:
        raise ValueError(f"invalid value for PN: {SECRET}")

    result = run_raising(fail)
    assert result.exit_code == 1
    assert SECRET not in result.output
    assert "met a fault of its own (ValueError)" in result.stderr
    assert "test_failure.py:" in result.stderr
    assert "in fail" in result.stderr


def test_debugging_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    monkeypatch.setenv("OSLER_DEBUG", "1")
    result = run_raising(fail)
    assert isinstance(result.exception, ValueError)


def test_an_interrupt_ends_with_130() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    result = run_raising(interrupt)
    assert result.exit_code == 130
    assert "nothing was written half" in result.stderr


def test_no_memory_is_a_capacity_error() -> None:
    def exhaust() -> None:
        raise MemoryError

    error = require_refusal(run_raising(exhaust, "--json"), as_json=True)
    assert error["kind"] == "CapacityError"


def test_libraries_keep_silent_about_values() -> None:
    def chatter() -> None:
        warnings.warn(f"Invalid value for VR UI: '{SECRET}'", stacklevel=1)
        logging.getLogger("pydicom").warning("odd %s", SECRET)

    result = run_raising(chatter)
    assert result.exit_code == 0
    assert SECRET not in result.output


def test_control_characters_in_a_message_are_dropped() -> None:
    def fail() -> None:
        raise FileFormatError("'a\x1b[2J.dcm' is torn.")

    assert run_raising(fail).stderr == "Error: 'a[2J.dcm' is torn.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX shells")
def test_a_closed_pipe_is_no_fault() -> None:
    process = spawn_with_closed_output()
    assert "Traceback" not in process.stderr
    assert "fault of its own" not in process.stderr


def spawn_with_closed_output() -> subprocess.CompletedProcess[str]:
    """Runs ``osler schema`` with a reader that is gone before anything is written."""
    code = "import os, sys; from osler.cli import main; sys.argv = ['osler', 'schema']; main()"
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{sys.executable}" -c "{code}" | true'],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )
