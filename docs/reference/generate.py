"""Writes docs/reference/cli.md from the real ``--help`` of every command.

python docs/reference/generate.py          write the page
python docs/reference/generate.py --check  exit 1 if the page is not what the commands say
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "cli.md"
COMMANDS = (
    "ask", "chat", "ehr", "extract", "report", "locate", "findings", "compare", "index", "search", "triage",
    "inspect", "receive", "deidentify", "models", "quantize", "build-kernels", "cache", "doctor", "demo", "train",
    "evaluate", "schema",
    "synth reports", "synth volumes", "synth patients", "synth show",
)  # fmt: skip
_WIDTH = "100"


def page() -> str:
    """Returns the whole page."""
    parts = [
        "# Commands",
        "<!-- Written by docs/reference/generate.py from the commands themselves; a test keeps it so. -->",
        section("osler", help_text()),
    ]
    parts += [section(f"osler {command}", help_text(*command.split())) for command in COMMANDS]
    return "\n\n".join(parts) + "\n"


def section(title: str, text: str) -> str:
    """Returns one command's heading and help."""
    return f"## {title}\n\n```text\n{text}\n```"


def help_text(*command: str) -> str:
    """Runs ``osler COMMAND --help`` at a fixed width, without color."""
    environment = {**os.environ, "COLUMNS": _WIDTH, "TERMINAL_WIDTH": _WIDTH, "NO_COLOR": "1", "TERM": "dumb"}
    environment.pop("FORCE_COLOR", None)
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'osler'; from osler.cli import main; main()",
            *command,
            "--help",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
