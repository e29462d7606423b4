"""``osler cache``: encoded studies on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded
from osler.cli.json_output import echo_json

if TYPE_CHECKING:
    from osler.engine.study_cache import StudyCache


@guarded
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every encoded study.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the encoded studies that are kept on disk, or remove them.

    They make a second question about a study start sooner. OSLER_STUDY_CACHE names another
    folder, or is "off"; OSLER_STUDY_CACHE_GB sets the limit.

    Example: osler cache --clear
    """
    from osler.engine.study_cache import open_study_cache

    studies = open_study_cache()
    if studies is None:
        record: dict[str, object] = {"state": "off"}
        text = "The study cache is off (OSLER_STUDY_CACHE)."
    elif clear:
        count, size = studies.clear()
        record = {"state": "cleared", "folder": str(studies.folder), "entries": count, "bytes": size}
        text = f"Removed {count:,} entries, {size / 1e6:,.1f} MB: {studies.folder}"
    else:
        record, text = _described(studies)
    if as_json:
        echo_json(record)
        return
    typer.echo(text)


def _described(studies: StudyCache) -> tuple[dict[str, object], str]:
    entries = studies.entries()
    size = sum(entry.bytes for entry in entries)
    kinds = {kind: sum(entry.kind == kind for entry in entries) for kind in ("features", "prefix")}
    record: dict[str, object] = {
        "state": "on",
        "folder": str(studies.folder),
        "entries": len(entries),
        "bytes": size,
        "most_bytes": studies.most_bytes,
        **kinds,
    }
    text = (
        f"{kinds['features']:,} encoded images and {kinds['prefix']:,} read studies, {size / 1e6:,.1f} MB of at most "
        f"{studies.most_bytes / 1e9:.1f} GB: {studies.folder}"
    )
    return record, text
