"""The metrics of a run as a table that renews itself in the terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from osler.train.recipe import Recipe

_MEAN_OVER = 20


@contextmanager
def live_table(recipe: Recipe, *, console: Console | None = None) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Shows a run while it goes.

    Yields:
        A listener for the metrics of each update.
    """
    recent: dict[str, deque[float]] = {}
    with Live(console=console, refresh_per_second=2) as live:

        def show(metrics: Mapping[str, float]) -> None:
            for name, value in metrics.items():
                recent.setdefault(name, deque(maxlen=_MEAN_OVER)).append(float(value))
            live.update(_table(recipe, recent=recent))

        yield show


def _table(recipe: Recipe, *, recent: Mapping[str, deque[float]]) -> Table:
    if "step" in recent:
        title = f"{recipe.stage}: update {int(recent['step'][-1]) + 1} of {recipe.optimizer.steps}"
    else:
        title = f"{recipe.stage}: preparing"
    table = Table(title=title)
    table.add_column("metric")
    table.add_column("now", justify="right")
    table.add_column(f"mean of {_MEAN_OVER}", justify="right")
    for name, values in recent.items():
        if name != "step":
            table.add_row(name, f"{values[-1]:.4g}", f"{sum(values) / len(values):.4g}")
    return table
