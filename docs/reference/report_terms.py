"""Writes docs/reference/report-terms.md from the phrase tables of the reports.

python docs/reference/report_terms.py          write the page
python docs/reference/report_terms.py --check  exit 1 if the page is not what the tables say
"""

from __future__ import annotations

import csv
import sys
from importlib.resources import files
from pathlib import Path

PAGE = Path(__file__).parent / "report-terms.md"


def page() -> str:
    """Returns the whole page."""
    lines = [
        "# Terms of the reports",
        "",
        "<!-- Written by docs/reference/report_terms.py from the phrase tables; a test keeps it so. -->",
        "",
        "How findings and places are called in [reports](../concepts/report-language.md).",
        "",
        "## Findings",
        "",
        "| Finding | English | German |",
        "|---|---|---|",
        *(f"| {row['key']} | {_nouns(row['en'])} | {_nouns(row['de'])} |" for row in _rows("findings.csv")),
        "",
        "## Places",
        "",
        "| Place | After a noun or a verb | Before a noun | Short | German |",
        "|---|---|---|---|---|",
        *(
            f"| {row['key']} | {row['en'].replace('|', ', ')} | {row['attribute']} | {row['short']} | {row['de']} |"
            for row in _rows("sites.csv")
        ),
        "",
        "## Organs that head a paragraph",
        "",
        "| English | German |",
        "|---|---|",
        *(f"| {row['en'].replace('/', ', ')} | {row['de'].replace('/', ', ')} |" for row in _rows("organs.csv")),
    ]
    return "\n".join(lines) + "\n"


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("osler.synth.reports") / "phrases" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _nouns(text: str) -> str:
    return ", ".join(noun.lstrip("+~").partition(":")[0] for noun in text.split("/"))


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
