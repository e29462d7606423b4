"""Runs commands as a user would: in this process where it is safe, in another where it matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
from typer.testing import CliRunner, Result

from osler.cli.app import app
from osler.writers import load_schema

SOURCES = Path(__file__).parents[2] / "src"
HEAVY = ("torch", "numpy", "pydicom", "nibabel", "PIL", "transformers", "tokenizers", "jax")


def invoke(*arguments: str | Path) -> Result:
    """Runs ``osler`` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def spawn(*arguments: str | Path, folder: Path | None = None, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs ``osler`` in a process of its own, as the console script does."""
    return subprocess.run(
        [sys.executable, "-m", "osler", *(str(argument) for argument in arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def require_refusal(result: Result, *, as_json: bool = False) -> dict[str, Any]:
    """Checks that a command refused its input in one clear message, and returns the failure object."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: "), result.stderr
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.output
    if not as_json:
        assert result.stdout == ""
        return {}
    record = json.loads(result.stdout)
    jsonschema.validate(record, load_schema("failure"))
    return record["error"]


def loaded_after(code: str) -> set[str]:
    """The heavy packages that a piece of code loads in a fresh interpreter."""
    report = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    run = subprocess.run([sys.executable, "-c", report], env=environment, capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())
