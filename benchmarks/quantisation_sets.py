"""Evaluation sets at 16, 8 and 4 bits: the same cases in pairs, from the rows that `osler evaluate` keeps.

    osler evaluate --data data --sets perception,nih-findings,lung-boxes --bits 16 --out at-16
    osler evaluate --data data --sets perception,nih-findings,lung-boxes --bits 8 --out at-8
    python -m benchmarks.quantisation_sets at-16 at-8 --out benchmarks/quantisation_sets

The first folder is what the others are compared with, by the measures of each set. Differences are those of the same
cases, so that they are far nearer than two values with their own intervals; intervals are 95%, patients resampled.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from osler.evaluate.rows import MODEL, Measure, Row, measured, paired_difference
from osler.evaluate.runner import chosen_sets
from osler.evaluate.sets.types import EvaluationSet, Settling

_MOVED = 0.01
_HEAD = ("Set", "Measure", "Part", "Folder", "value", "difference", "values that moved", "answers that changed", "rows")
Key = tuple[str, ...]


def rows_of(folder: Path, one: EvaluationSet) -> list[Row]:
    """What a run kept of a set, judged together where the set asks for it; empty without a run."""
    file = folder / "rows" / f"{one.name}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()[1:] if file.is_file() else []
    rows = [Row.from_dict(row) for line in lines for row in json.loads(line)["rows"]]
    return one.settle(rows) if rows and isinstance(one, Settling) else rows


def keyed(rows: Sequence[Row]) -> dict[Key, Row]:
    """Rows by what was asked of whom."""
    return {(row.patient, row.case, row.group, row.part, row.asked): row for row in rows}


def shared(runs: Sequence[Sequence[Row]]) -> list[dict[Key, Row]]:
    """The rows that all runs have, in one order: one that was stopped or limited has fewer."""
    known = [keyed(rows) for rows in runs]
    return [{key: rows[key] for key in known[0] if all(key in other for other in known)} for rows in known]


def moved(first: Mapping[Key, Row], second: Mapping[Key, Row], *, field: str) -> int:
    """In how many rows the two numbers of a measure differ by more than a hundredth."""
    pairs = [(row.values[field][MODEL], second[key].values[field][MODEL]) for key, row in first.items()]
    return sum(any(abs(a - b) > _MOVED for a, b in zip(*pair, strict=True)) for pair in pairs)


def compared(one: EvaluationSet, folders: Sequence[Path], *, groups: bool) -> Iterator[tuple[str, ...]]:
    """Cells of each measure of a set in each folder that has it, on the cases that all of them have."""
    kept = [(folder, rows) for folder in folders if (rows := rows_of(folder, one))]
    for measure in one.measures if len(kept) > 1 else ():
        field = measure.field
        runs = shared([[row for row in rows if MODEL in row.values.get(field, {})] for _, rows in kept])
        for group in ("all", *(sorted({key[2] for key in runs[0]} - {"all"}) if groups else ())):
            parts = [{key: row for key, row in rows.items() if group in ("all", row.group)} for rows in runs]
            first = parts[0]
            for (folder, _), rows in zip(kept, parts, strict=True):
                found = next(iter(measured([*rows.values()], [measure])), None)
                if found is None:
                    continue
                gap = "" if rows is first else _gap([*rows.values()], [*first.values()], measure=measure)
                told = sum(first[key].said != row.said for key, row in rows.items())
                yield (
                    one.name, measure.name, group, folder.name, _shown(found.systems[MODEL].value, measure=measure),
                    gap, str(moved(first, rows, field=field)), str(told), str(len(rows)),
                )  # fmt: skip


def _gap(second: Sequence[Row], first: Sequence[Row], *, measure: Measure) -> str:
    gap, _ = paired_difference(second, first, measure=measure)
    scale = 100 if measure.unit == "share" else 1
    return f"{gap.value * scale:+.2f} ({gap.low * scale:+.2f} to {gap.high * scale:+.2f})"


def _shown(value: float, *, measure: Measure) -> str:
    return f"{value:.1%}" if measure.unit == "share" else f"{value:.2f}"


def table(folders: Sequence[Path], *, groups: bool) -> Iterator[str]:
    """Writes the comparison in Markdown; differences of shares are in points."""
    yield f"| {' | '.join(_HEAD)} |"
    yield f"|{'---|' * len(_HEAD)}"
    for one in chosen_sets(()):
        for cells in compared(one, folders, groups=groups):
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of `osler evaluate --out`; the first is the reference")
    parser.add_argument("--groups", action="store_true", help="parts of the sets, too, such as real and synthetic ones")
    parser.add_argument("--out", type=Path, required=True, help="write OUT-table.md")
    options = parser.parse_args()
    text = "\n".join(table(options.folders, groups=options.groups)) + "\n"
    print(text)
    options.out.with_name(f"{options.out.name}-table.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
