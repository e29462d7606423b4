"""``osler models``: which models are here, on which terms, and what they need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json

if TYPE_CHECKING:
    from osler.weights.catalog import CatalogEntry


@guarded
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models: where they are, their licenses, sizes and the memory they need.

    Example: osler models --json
    """
    from osler.weights.catalog import list_models

    entries = list_models()
    if as_json:
        echo_json({"models": [_record(entry) for entry in entries]})
        return
    for number, entry in enumerate(entries):
        if number:
            typer.echo()
        _print_entry(entry)


def _print_entry(entry: CatalogEntry) -> None:
    from osler.writers import printable

    typer.secho(printable(entry.name), bold=True, nl=False)
    typer.echo("" if not entry.missing else "  (not ready)")
    rows = [("what", entry.what), ("where", str(entry.where) if entry.where else "not on this machine")]
    rows.append(("license", entry.licence))
    if entry.disk_bytes:
        rows.append(("on disk", _size(entry.disk_bytes)))
    if entry.memory_bytes:
        rows.append(("memory", f"{_size(entry.memory_bytes)} for the weights in bfloat16"))
    if entry.missing:
        rows.append(("to do", entry.missing))
    for label, text in rows:
        typer.echo(f"  {label:<9}{printable(text)}")


def _record(entry: CatalogEntry) -> dict[str, Any]:
    record: dict[str, Any] = {"name": entry.name, "what": entry.what, "license": entry.licence}
    record["ready"] = not entry.missing
    if entry.where is not None:
        record["where"] = str(entry.where)
    for name in ("disk_bytes", "memory_bytes"):
        if getattr(entry, name):
            record[name] = getattr(entry, name)
    if entry.missing:
        record["to_do"] = entry.missing
    return record


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
