"""Measures a piece of code in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parents[2] / "src"
_REPORT = """
import json, pathlib, resource, sys
try:  # of this program alone; what getrusage tells on Linux counts its parent, too
    status = pathlib.Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"peak": peak, "result": result}))
"""


def measured(code: str, *arguments: str | Path, seconds: float = 600) -> dict[str, Any]:
    """Runs code, which leaves its ``result``, and returns that and the ``peak`` of its resident memory, bytes."""
    run = subprocess.run(
        [sys.executable, "-c", code + _REPORT, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])
