"""``osler synth``: synthetic patients. Other commands of this group stand in ``synth_*.py``."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.cli.failure import guarded

if TYPE_CHECKING:
    from osler.synth.report_run import Progress, RunResult


def _one_thread_a_process() -> None:
    """Lets each process compute on one core, unless the user says otherwise.

    Commands of this group run one process a core. NumPy's threads on top of them wait for each
    other and make drawing several times slower; they are bound when NumPy is first imported.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


synth = typer.Typer(
    callback=_one_thread_a_process,
    name="synth",
    help="Synthetic patients: facts first, everything else rendered from the same facts.",
    no_args_is_help=True,
)


class EngineName(StrEnum):
    """Who writes the shards."""

    LOCAL = "local"
    RAY = "ray"


@synth.command()
@guarded
def reports(
    count: Annotated[int, typer.Option("--count", help="Reports in all.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the shards; an unfinished run in it goes on.")],
    seed: Annotated[int, typer.Option("--seed", help="Of the collection.")] = 0,
    shard_size: Annotated[int, typer.Option("--shard-size", help="Patients of a shard.")] = 65_536,
    workers: Annotated[int, typer.Option("--workers", help="Processes.")] = 2,
    engine: Annotated[EngineName, typer.Option("--engine", help="This machine, or a Ray cluster.")] = EngineName.LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write reports with their facts and imaging metadata as Parquet shards.

    The same seed gives the same bytes, with any number of workers. Stopped or
    killed, the same command goes on from the last finished shard.

    Example: osler synth reports --count 1000 --out reports
    """
    from osler.synth.report_run import write_reports
    from osler.synth.shards import ReportRun

    run = ReportRun(count=count, seed=seed, shard_patients=shard_size)
    with ReportProgress() as progress:
        result = write_reports(run, folder=out, workers=workers, engine=engine.value, progress=progress)
    if as_json:
        from osler.cli.json_output import echo_json

        echo_json(_record(result, out=out))
        return
    for name in result.remade:
        typer.echo(f"Damaged, made again: {name}", err=True)
    manifest = result.manifest
    typer.echo(
        f"{manifest.rows:,} reports in {len(manifest.shards):,} shards, {manifest.bytes / 1e6:,.1f} MB: {out}"
        + ("" if result.written else " (all were there)")
    )


def _record(result: RunResult, *, out: Path) -> dict[str, object]:
    manifest = result.manifest
    return {
        "folder": str(out),
        "seed": manifest.run.seed,
        "reports": manifest.rows,
        "shards": len(manifest.shards),
        "bytes": manifest.bytes,
        "written": result.written,
        "remade": list(result.remade),
        "generator": manifest.generator,
        "schema": manifest.schema,
        "pyarrow": manifest.pyarrow,
    }


class ReportProgress:
    """A bar on standard error with reports per second and the time left; nothing if it is not a terminal."""

    def __enter__(self) -> Progress:
        self._bar = self._task = None
        return self._update if sys.stderr.isatty() else (lambda done, total: None)

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _update(self, done: int, total: int) -> None:
        if self._bar is None:
            self._start(done, total=total)
        self._bar.update(self._task, completed=done, rate=self._bar.tasks[0].speed or 0)

    def _start(self, done: int, *, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("Reports"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            speed_estimate_period=120,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=total, completed=done, rate=0)
