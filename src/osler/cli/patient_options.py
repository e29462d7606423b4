"""Options that every command about a patient takes: priors, records, and mixing patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

PriorOption = Annotated[
    list[Path] | None,
    typer.Option("--prior", help="An earlier study of the same patient; repeatable.", show_default=False),
]
RecordOption = Annotated[
    list[Path] | None,
    typer.Option("--record", help="The patient's record: FHIR file, folder or NDJSON; repeatable.", show_default=False),
]
MixedPatientsOption = Annotated[
    bool,
    typer.Option("--allow-mixed-patients", help="For research: put files of different patients together, and say so."),
]


def mixing_of(allow_mixed_patients: bool) -> Literal["refuse", "allow"]:
    """The reader's word for the flag."""
    return "allow" if allow_mixed_patients else "refuse"
