"""``osler triage``: a folder of studies in the order in which they should be read."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json
from osler.cli.task_options import BackendOption, BitsOption, DeviceOption, JsonOption, ModelOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from osler.tasks.triage import Worklist
    from osler.tasks.triage_journal import TriagedStudy

_SHOWN = 15
_COLORS = {"immediate": "bold red", "urgent": "yellow", "soon": "cyan", "routine": "dim"}


@guarded
def triage(
    inbox: Annotated[str, typer.Argument(help="A folder in which each file or folder is one study.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The list as CSV; a journal beside it lets the next run go on.")
    ] = None,
    watch: Annotated[float | None, typer.Option("--watch", help="Look again after so many seconds.")] = None,
    model: ModelOption = "osler-mini",
    device: DeviceOption = "auto",
    bits: BitsOption = None,
    backend: BackendOption = "torch",
    force: Annotated[
        bool, typer.Option("--force", help="Let --out overwrite a file that Osler did not write.")
    ] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table while it runs.")] = False,
) -> None:
    """Put a folder of studies into order by urgency, with reasons.

    A study that cannot be read does not stop the others: it stands at the end of the list. Run
    again, it looks only at what is new or has changed.

    Example: osler triage inbox/ --out worklist.csv
    """
    from osler.tasks.triage import JOURNAL_ENDING, TriageRequest
    from osler.tasks.triage import triage as triage_task
    from osler.tasks.triage import watch as watch_task
    from osler.writers import check_writable

    target = check_writable(out, replace="any" if force else "ours", is_ours=_is_worklist) if out is not None else None
    journal = target.with_name(target.name + JOURNAL_ENDING) if target is not None else None
    request = TriageRequest(inbox=inbox, journal=journal, model=model, device=device, bits=bits, backend=backend)
    with LiveOrder(quiet=quiet or as_json) as live:
        if watch is not None:
            watch_task(
                request,
                seconds=watch,
                on_list=lambda found: _show(found, target=target, as_json=as_json),
                on_study=live.update,
            )
        found = triage_task(request, on_study=live.update)
    _show(found, target=target, as_json=as_json)
    if not found.studies:
        raise typer.Exit(2)


def _show(found: Worklist, *, target: Path | None, as_json: bool) -> None:
    from osler.writers import format_answer, write_atomic

    answer = found.answer()
    if target is not None:
        write_atomic(target, data=found.to_csv().encode("utf-8"))
    if as_json:
        echo_json(answer.to_dict())
        return
    typer.echo(format_answer(replace(answer, statements=())))  # they stand in the numbered list
    if target is not None:
        typer.echo(f"List: {target}")


def _is_worklist(path: Path) -> bool:
    from osler.tasks.triage import COLUMNS

    with path.open("rb") as file:
        return file.readline().decode("utf-8", errors="replace").strip() == ",".join(COLUMNS)


class LiveOrder:
    """The order as it forms, on standard error of a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._draw = not quiet and sys.stderr.isatty()

    def __enter__(self) -> LiveOrder:
        self._live = None
        if self._draw:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, done: int, total: int, order: Sequence[TriagedStudy]) -> None:
        """Shows the most urgent studies so far."""
        if self._live is not None:
            self._live.update(_table(done, total, order))


def _table(done: int, total: int, order: Sequence[TriagedStudy]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from osler.writers import printable

    table = Table(title=f"{done} of {total} studies", title_justify="left", expand=True)
    for name in ("", "level", "study", "reasons"):
        table.add_column(name)
    for place, study in enumerate(order[:_SHOWN], start=1):
        reasons = escape(printable("; ".join(study.reasons)))
        name = escape(printable(Path(study.path).name))
        table.add_row(str(place), f"[{_COLORS[study.level]}]{study.level}[/]", name, reasons)
    return table
