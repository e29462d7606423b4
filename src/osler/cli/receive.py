"""``osler receive``: takes what PACS and scanners send, into a folder."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.task_options import QuietOption

if TYPE_CHECKING:
    from osler.readers.dimse import Received

_STEP = 0.2
_TABLE_ROWS = 40


@guarded
def receive(
    out: Annotated[Path, typer.Option(help="Folder for what comes: study/series/instance.dcm, named by UIDs.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port to listen at.")] = 11112,
    ae_title: Annotated[str, typer.Option(help="Own application entity title.")] = "OSLER",
    allow_ae: Annotated[
        list[str] | None, typer.Option(help="Accept this calling title only; repeatable.  [default: all]")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at. DICOM is not encrypted: open it on trusted networks only.")
    ] = "127.0.0.1",
    stop_when_idle: Annotated[
        float | None, typer.Option(min=0.1, help="Stop when nothing has come for so many seconds.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Receive studies from a PACS or a scanner (DICOM C-STORE); Ctrl-C ends it.

    Example: osler receive --out inbox --port 11112 --allow-ae MYPACS
    """
    from osler.readers.dimse import ReceiveOptions, Receiver

    options = ReceiveOptions(out=out, port=port, ae_title=ae_title, host=host, allow=tuple(allow_ae or ()))
    with Receiver(options) as receiver:
        if not quiet:
            typer.echo(f"{ae_title} listens at {host}:{port}; Ctrl-C ends.", err=True)
        try:
            _wait(receiver.received, idle=stop_when_idle, draw=not quiet and sys.stderr.isatty())
        finally:
            _print_summary(receiver.received, out=out)


def _wait(received: Received, *, idle: float | None, draw: bool) -> None:
    """Waits for Ctrl-C, or until nothing comes any more."""
    from rich.console import Console
    from rich.live import Live

    live = Live(_table(received), console=Console(stderr=True), refresh_per_second=4) if draw else None
    if live is not None:
        live.start()
    try:
        while idle is None or time.monotonic() - received.last < idle:
            time.sleep(_STEP)
            if live is not None:
                live.update(_table(received))
    finally:
        if live is not None:
            live.stop()


def _table(received: Received) -> object:
    from rich import box
    from rich.table import Table

    from osler.readers.dimse import describe
    from osler.writers import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (("kind", "left"), ("series", "left"), ("files", "right"), ("size", "right")):
        table.add_column(name, justify=justify, overflow="fold")
    for series in list(received.series.values())[-_TABLE_ROWS:]:
        table.add_row(*map(printable, describe(series)))
    return table


def _print_summary(received: Received, *, out: Path) -> None:
    from rich.console import Console

    studies = {series.study for series in list(received.series.values())}
    typer.echo(f"{out}: {received.files} files of {len(studies)} studies and {len(received.series)} series received.")
    if received.series:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 140
        console.print(_table(received))
    if received.again:
        typer.echo(f"Sent again, the same as before: {received.again}")
    for reason, count in sorted(received.refused.items()):
        typer.echo(f"Refused: {count}: {reason}")
    if received.broken:
        typer.echo(f"Connections that broke off: {received.broken}; whole files before that are kept.")
