"""``osler doctor``: what is right is said, what is wrong comes with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from osler.cli.checks import run_checks
from tests.cli.mini import needs_mini
from tests.cli.running import invoke


@needs_mini
def test_a_right_installation_passes() -> None:
    result = invoke("doctor", "--json")
    assert result.exit_code == 0, result.output
    status = {check["name"]: check["status"] for check in json.loads(result.stdout)["checks"]}
    # What depends on the machine alone may be a note, never a failure.
    noted = ("processor", "threads", "kernels", "jax", "jax kernels", "painting")
    assert {status.pop(name) for name in noted} <= {"ok", "note"}
    assert status == {
        "python": "ok",
        "packages": "ok",
        "image decoders": "ok",
        "memory": "ok",
        "decoder cache": "ok",
        "shipped weights": "ok",
        "preprocessing": "ok",
        "known answer": "ok",
    }


def test_a_failing_check_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("OSLER_CACHE", str(blocked / "cache"))
    cache = next(check for check in run_checks() if check.name == "decoder cache")
    assert cache.status == "fail"
    assert "cannot be used" in cache.found
    assert "OSLER_CACHE" in cache.next_step
