"""``osler doctor``: is this installation right, and what to do where it is not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json

if TYPE_CHECKING:
    from osler.cli.checks import Check

_MARKS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "fail": ("FAIL", "red")}


@guarded
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this installation: versions, processor, memory, weights, and a known answer.

    Example: osler doctor
    """
    from osler.cli.checks import run_checks

    found: list[Check] = []
    for check in run_checks():
        found.append(check)
        if not as_json:
            _print_check(check)
    failed = sum(check.status == "fail" for check in found)
    if as_json:
        echo_json({"ok": failed == 0, "checks": [asdict(check) for check in found]})
    else:
        typer.echo(f"\n{len(found) - failed} of {len(found)} checks passed.")
    if failed:
        raise typer.Exit(2)


def _print_check(check: Check) -> None:
    from osler.writers import printable

    mark, color = _MARKS[check.status]
    typer.secho(mark, fg=color, nl=False)
    typer.echo(f"  {check.name:<16}{printable(check.found)}")
    if check.next_step:
        typer.echo(f"      {'':<16}-> {printable(check.next_step)}")
