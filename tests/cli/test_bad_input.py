"""Bad input, end to end: one clear error, exit code 2, nothing written, no patient named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.bad_inputs import BAD, PATIENT_ID, PATIENT_NAME, no_permission, two_patients
from tests.cli.running import invoke, require_refusal, spawn

_QUESTION = "What does this scan show?"
_MAKERS = [
    pytest.param(
        make,
        id=make.__name__,
        marks=pytest.mark.skipif(make is no_permission and os.geteuid() == 0, reason="root may read everything"),
    )
    for make in BAD
]


def everything_in(folder: Path) -> set[str]:
    """All paths below a folder, links not followed."""
    return {os.path.join(top, name) for top, folders, names in os.walk(folder) for name in (*folders, *names)}


def require_no_patient(text: str) -> None:
    for secret in (PATIENT_NAME, *PATIENT_NAME.split("^"), PATIENT_ID, "19070707"):
        assert secret not in text


@pytest.mark.parametrize("make", _MAKERS)
def test_inspect_refuses_it(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    before = everything_in(tmp_path)
    result = invoke("inspect", path, "--json", "--picture", tmp_path / "seen.png")
    error = require_refusal(result, as_json=True)
    assert error.get("allowed") or error.get("next_step"), error
    require_no_patient(result.output)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("make", _MAKERS)
def test_ask_refuses_it(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    before = everything_in(tmp_path)
    result = invoke("ask", path, _QUESTION, "--picture", tmp_path / "seen.png")
    require_refusal(result)
    require_no_patient(result.output)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("as_json", [False, True])
def test_a_process_of_its_own_ends_the_same_way(as_json: bool, tmp_path: Path) -> None:
    run = spawn("inspect", two_patients(tmp_path), *(["--json"] if as_json else []), folder=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("Error: ")
    assert "2 patients" in run.stderr
    require_no_patient(run.stdout + run.stderr)
    assert not (tmp_path / "osler-inspect.png").exists()


def test_the_file_is_named_and_the_next_step_given(tmp_path: Path) -> None:
    result = invoke("inspect", tmp_path / "absent.dcm")
    require_refusal(result)
    assert "absent.dcm" in result.stderr


_ALL_IN_ONE = """
import os, pathlib, sys
from tests.cli.bad_inputs import BAD, no_permission
from tests.cli.running import invoke

for make in BAD:
    if make is no_permission and os.geteuid() == 0:
        continue  # root may read everything
    folder = pathlib.Path(sys.argv[1], make.__name__)
    folder.mkdir()
    path = make(folder)
    for arguments in (("inspect", path, "--no-picture"), ("ask", path, "What is it?")):
        print(make.__name__, arguments[0], flush=True)
        print(invoke(*arguments).exit_code, flush=True)
status = pathlib.Path("/proc/self/status")
print("peak", status.read_text().partition("VmHWM:")[2].split()[0] if status.is_file() else 0)
"""


def test_none_of_it_hangs_or_fills_the_memory(tmp_path: Path) -> None:
    """A guard against hanging, not a clock: 5 s for each command on average, in one process; 600 MB in all."""
    root = Path(__file__).parents[2]
    paths = os.pathsep.join((str(root / "src"), str(root)))
    try:
        run = subprocess.run(
            [sys.executable, "-c", _ALL_IN_ONE, tmp_path],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=5 * 2 * len(BAD),
        )
    except subprocess.TimeoutExpired as expired:
        pytest.fail(f"it hangs at: {(expired.stdout or b'').decode().splitlines()[-1:]}")
    assert run.returncode == 0, run.stderr
    *lines, (_, peak) = [line.split() for line in run.stdout.splitlines()]
    commands, codes = lines[::2], [code for (code,) in lines[1::2]]
    assert len(codes) >= 2 * len(BAD) - 2
    assert [command for command, code in zip(commands, codes, strict=True) if code != "2"] == []
    assert int(peak) < 600_000
