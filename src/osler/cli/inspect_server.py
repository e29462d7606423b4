"""The list of studies on a server, for ``osler inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from osler.cli.json_output import echo_json

if TYPE_CHECKING:
    from osler.readers.dicomweb import ListedStudy


def list_server(path: str, *, as_json: bool) -> bool:
    """Prints the studies on a server; says whether the path names one, rather than a study or a file."""
    from osler.readers.web_address import is_address, parse_address

    if not is_address(path):
        return False
    address = parse_address(path)
    if address.study and not address.query:
        return False
    from osler.readers.dicomweb import list_studies

    studies = list_studies(path)
    if as_json:
        echo_json({"schema": "1.0", "source": address.shown, "studies": [_record(study) for study in studies]})
        return True
    typer.echo(f"{address.shown}: {len(studies)} {'study' if len(studies) == 1 else 'studies'}")
    if studies:
        _print_table(studies)
        typer.echo("Open one by its address: osler inspect " + studies[0].address)
    return True


def _record(study: ListedStudy) -> dict[str, object]:
    record: dict[str, object] = {"study_uid": study.study_uid, "address": study.address}
    known = {
        "date": study.date.isoformat() if study.date else "",
        "description": study.description,
        "modalities": list(study.modalities),
        "series": study.series,
        "instances": study.instances,
    }
    return record | {name: value for name, value in known.items() if value not in ("", [], None)}


def _print_table(studies: tuple[ListedStudy, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from osler.writers import printable

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (
        ("date", "left"),
        ("kind", "left"),
        ("series", "right"),
        ("images", "right"),
        ("description", "left"),
        ("study", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")
    for study in studies:
        cells = (
            study.date.isoformat() if study.date else "-",
            ", ".join(study.modalities) or "-",
            "-" if study.series is None else str(study.series),
            "-" if study.instances is None else str(study.instances),
            study.description or "-",
            study.study_uid,
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)
