"""The report of a de-identification: counts and reasons, never a value of the input."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import osler
from osler.tasks.deidentify import REPORT_JSON, REPORT_MARKDOWN, DeidentifyRun
from osler.tasks.deidentify_profile import EDITION

__all__ = ["REPORT_JSON", "REPORT_MARKDOWN", "counted", "in_words", "to_dict", "to_json", "to_markdown"]

_NOT_DONE = (
    "Faces are not removed: a head CT or MR can be rendered, also from NIfTI.",
    "What is written in handwriting, or seen on the body (tattoos, jewelry), is not found.",
    "The report says nothing about law: whether the result is anonymous depends on what others know.",
)


def in_words(run: DeidentifyRun) -> str:
    """Counts files, patients and blanked regions in one sentence."""
    would = "would be " if run.dry_run else ""
    regions = sum(file.regions for file in run.files)
    return (
        f"{counted(len(run.files), 'file')} of {counted(run.patients, 'patient')}: "
        f"{run.count('written')} {would}written, {run.count('there already')} there already, "
        f"{run.count('refused')} refused; {counted(regions, 'region')} of burned-in text {would}blanked."
    )


def counted(count: int, what: str) -> str:
    """Says ``"1 file"`` or ``"2 files"``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def to_dict(run: DeidentifyRun) -> dict[str, Any]:
    """Returns the report as a JSON object."""
    return {
        "schema": "1.0",
        "program": f"osler {osler.__version__}",
        "profile": f"Basic Application Confidentiality Profile, {EDITION}",
        "options": list(run.options),
        "pixels_searched": run.pixels,
        "dry_run": run.dry_run,
        "patients": run.patients,
        "files": {status.replace(" ", "_"): run.count(status) for status in ("written", "there already", "refused")},
        "elements": [
            {"element": element, "action": action, "count": count}
            for (element, action), count in sorted(run.counts.items())
        ],
        "per_file": [
            {name: value for name in file.__dataclass_fields__ if (value := getattr(file, name)) not in ("", 0, ())}
            for file in run.files
        ],
        "not_done": list(_NOT_DONE),
    }


def to_json(run: DeidentifyRun) -> str:
    """Returns the report as JSON text."""
    return json.dumps(to_dict(run), indent=1) + "\n"


def to_markdown(run: DeidentifyRun) -> str:
    """Returns the report for people."""
    lines = [
        "# De-identification report",
        "",
        f"osler {osler.__version__}; Basic Application Confidentiality Profile, {EDITION}; "
        f"options: {', '.join(run.options) or 'none'}; pixels searched for text: {run.pixels}."
        + (" Dry run: nothing was written." if run.dry_run else ""),
        "",
        in_words(run),
        "",
        "Files are named by their place in the sorted list of the input; no name of the input is in this folder.",
        "",
    ]
    refused = Counter(file.why for file in run.files if file.status == "refused")
    if refused:
        lines += ["## Refused", "", "| Files | Why |", "|---:|---|"]
        lines += [f"| {count} | {why.replace('|', '/')} |" for why, count in refused.most_common()]
        lines += [""]
    notes = Counter(note for file in run.files for note in file.notes)
    if notes:
        lines += ["## To be known", "", "| Files | What |", "|---:|---|"]
        lines += [f"| {count} | {note} |" for note, count in notes.most_common()]
        lines += [""]
    lines += ["## What was changed", "", "| Element | Action | Times |", "|---|---|---:|"]
    lines += [f"| {element} | {action} | {count:,} |" for (element, action), count in sorted(run.counts.items())]
    lines += ["", "## What is not done", "", *(f"- {text}" for text in _NOT_DONE), ""]
    return "\n".join(lines)
