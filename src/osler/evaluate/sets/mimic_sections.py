"""Parts the reports of MIMIC-CXR into sections, by the headings that its publisher's own code knows.

Source: ``section_parser.py`` of PhysioNet's MIMIC-CXR repository: a heading is in capitals at the start of a line,
with a colon behind; of sections of one kind the last that is not empty counts; a heading that names only the view is
one of findings. Its list of headings that are misspelt in single reports is not taken over.
"""

from __future__ import annotations

import re
from pathlib import Path

from osler.errors import FileFormatError

_HEADING = re.compile(r"(?:^|\n) *([A-Z][A-Z ()/,-]*):(?=\s|$)")
_SAME = {
    "finding": "findings",
    "conclusion": "impression",
    "conclusions": "impression",
    "reason for exam": "indication",
    "reason for examination": "indication",
}
_KINDS = ("impression", "findings", "history", "comparison", "addendum", "indication")
_VIEWS = re.compile(
    "chest|portable|pa and lat|lateral and pa|ap and lateral|lateral and ap|frontal and|two views|frontal view|pa view|"
    "ap view|one view|lateral view|bone window|frontal upright|frontal semi-upright|ribs"
)


def report_sections(text: str) -> dict[str, str]:
    """The sections of a report by kind, such as ``"findings"``, their lines joined.

    Example:
        >>> report_sections(" INDICATION:  Cough.\\n \\n FINDINGS:\\n \\n The lungs\\n are clear.")
        {'indication': 'Cough.', 'findings': 'The lungs are clear.'}
    """
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    found: dict[str, str] = {}
    for heading, end in zip(headings, ends, strict=True):
        if words := " ".join(text[heading.end() : end].split()):
            found[_kind(heading[1])] = words
    return found


def read_sections(path: Path) -> dict[str, str]:
    """The sections of a report file; none where there is no such file.

    Raises:
        FileFormatError: If it cannot be read.
    """
    try:
        return report_sections(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"The report {path.name} cannot be read: {error}.") from error


def _kind(heading: str) -> str:
    name = heading.lower().strip()
    if name in _SAME:
        return _SAME[name]
    if kind := next((kind for kind in _KINDS if kind in name), ""):
        return kind
    return "findings" if _VIEWS.search(name) else name
