"""Compares checkpoints, or one checkpoint with parts switched off: quality, tokens, FLOPs, time and memory.

    PYTHONPATH=src python -m benchmarks.ablations --data ../shared/data --sets progression,nih-findings \\
        --out benchmarks/ablations full=osler-mini no-temporal=osler-mini:-temporal other=runs/other

Each variant is ``NAME=MODEL`` with parts to switch off behind a colon (``:-temporal,-adapter``).
The first one is what the others are compared with, on the same cases: the difference is
resampled over patients in pairs. A variant runs in a process of its own, so that its peak of
memory is its own; rows are kept under ``--out`` and taken up when the command runs again.

FLOPs are those of matrix products and attention in one question (PyTorch's counter, weights
as they lie), on the first case of the first set that asks the model.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from osler.errors import OslerError, RequestError
from osler.evaluate.rows import MODEL, Row, measured, paired_difference
from osler.evaluate.runner import chosen_sets
from osler.evaluate.sets.types import Settling
from osler.weights.parts import check_parts, parts_without


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is compared.

    Args:
        name: In the table. model: As for `osler.load`.
        without: Parts that are switched off.
    """

    name: str
    model: str
    without: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Reads ``NAME=MODEL[:-part,-part]``.

        Raises:
            RequestError: If it is not of that form.
        """
        name, equals, rest = text.partition("=")
        model, colon, parts = rest.partition(":-")
        without = tuple(part.strip().removeprefix("-") for part in parts.split(",")) if colon else ()
        if not (name and equals and model):
            raise RequestError(f"The variant {text!r}.", allowed="NAME=MODEL, or NAME=MODEL:-part,-part.")
        return cls(name=name, model=model, without=check_parts(without))


def run_variant(variant: Variant, *, data: Path, sets: Sequence[str], limit: int | None, out: Path) -> dict[str, Any]:
    """Evaluates one variant in this process.

    Returns:
        The result of `osler.evaluate`, with ``load_s``, ``peak_mb`` and ``flops`` of one question.
    """
    from osler.evaluate.evaluation import EvaluationRequest, evaluate_sets, load_responder
    from osler.evaluate.sets.types import Setting

    started = time.perf_counter()
    responder = load_responder(EvaluationRequest(data=data, model=variant.model, parts=parts_without(variant.without)))
    load_s = time.perf_counter() - started
    session = responder.session
    own = session is not None and session.checkpoint.model.config.name == "osler-mini"
    setting = Setting(root=data, responder=responder, split="held-out" if own else "all", limit=limit)
    record = evaluate_sets(chosen_sets(sets), setting, out=out)
    record["load_s"] = round(load_s, 2)
    record["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    record["flops"] = question_flops(variant, data=data)
    return record


def question_flops(variant: Variant, *, data: Path) -> float | None:
    """FLOPs of one question about the first picture of the data, the answer's tokens included; ``None`` without one."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from osler.engine.load import load
    from osler.evaluate.held_out import listed_pictures

    pictures = listed_pictures(data)
    if not pictures:
        return None
    try:
        session = load(variant.model, packing="plain", studies="memory", parts=parts_without(variant.without))
        # The counter has no formula for the fused attention of a CPU.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            session.ask(pictures[0].path, "What does the image show?", max_tokens=8)
    except OslerError:
        return None
    return float(counter.get_total_flops())


def read_rows(folder: Path, *, name: str) -> list[Row]:
    """Rows of a set that an evaluation kept."""
    path = folder / "rows" / f"{name}.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [Row.from_dict(row) for line in lines for row in json.loads(line)["rows"]]


def compared(variants: Sequence[Variant], *, sets: Sequence[str], out: Path) -> list[dict[str, Any]]:
    """One entry for each set, measure and variant, with its difference from the first variant."""
    table = []
    for one in chosen_sets(sets):
        rows = {variant.name: read_rows(out / variant.name, name=one.name) for variant in variants}
        if isinstance(one, Settling):
            rows = {name: one.settle(found) for name, found in rows.items()}
        first = rows[variants[0].name]
        for measure in one.measures:
            for variant in variants:
                mine = rows[variant.name]
                whole = [
                    entry.systems[MODEL]
                    for entry in measured(mine, [measure])
                    if entry.group == "all" and not entry.part and MODEL in entry.systems
                ]
                if not whole:
                    continue
                entry: dict[str, Any] = {"set": one.name, "measure": measure.name, "variant": variant.name}
                entry |= {"unit": measure.unit, "better": measure.better, "value": asdict(whole[0])}
                if variant is not variants[0] and first:
                    difference, count = paired_difference(mine, first, measure=measure)
                    entry |= {"difference": asdict(difference), "rows": count}
                table.append(entry)
    return table


def markdown(variants: Sequence[Variant], *, records: dict[str, Any], table: Sequence[dict[str, Any]]) -> str:
    """Writes what each variant costs, and what it gives."""
    from benchmarks.machine import measure as measure_machine

    lines = ["# Ablations", "", measure_machine(threads=(1,), peaks=()).markdown(), ""]
    lines += ["Values with 95% intervals over patients; differences from the first variant, resampled in pairs.", ""]
    lines += [
        "| Variant | Model | Without | Prompt tokens a question | GFLOPs a question | s a case | Peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in variants:
        record = records[variant.name]
        asked = sum(one["asked"] for one in record["sets"])
        seconds = sum(one["seconds"] for one in record["sets"])
        prompt = sum(one["tokens"]["prompt"] for one in record["sets"])
        flops = f"{record['flops'] / 1e9:.1f}" if record["flops"] else "-"
        lines.append(
            f"| {variant.name} | {variant.model} | {', '.join(variant.without) or '-'} | "
            f"{prompt / asked if asked else 0:.0f} | {flops} | {seconds / asked if asked else 0:.2f} | "
            f"{record['peak_mb']} |"
        )
    lines += ["", "| Set | Measure | Variant | Value | Less the first variant | Rows |", "|---|---|---|---|---|---|"]
    for entry in table:
        difference = _span(entry["difference"], entry["unit"], sign="+") if "difference" in entry else "-"
        lines.append(
            f"| {entry['set']} | {entry['measure']} | {entry['variant']} | {_span(entry['value'], entry['unit'])} | "
            f"{difference} | {entry.get('rows', '')} |"
        )
    for variant in variants:
        missed = [one for one in records[variant.name]["sets"] if one["state"] != "measured"]
        lines += [f"\n`{variant.name}`: {one['name']} {one['state']}: {one['why']}" for one in missed]
    return "\n".join(lines) + "\n"


def _span(found: dict[str, float], unit: str, *, sign: str = "") -> str:
    scale = 100 if unit == "share" else 1
    value, low, high = (f"{found[end] * scale:{sign}.1f}" for end in ("value", "low", "high"))
    return f"{value} ({low} to {high}){' %' if unit == 'share' else ''}"


def main() -> None:
    """Reads the command line, runs each variant in its own process, and writes the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", help="NAME=MODEL or NAME=MODEL:-part,-part")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default="", help="names or groups, with commas")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        variants = [Variant.parse(text) for text in given.variants]
        sets = tuple(name for name in given.sets.split(",") if name)
        if given.alone:
            (variant,) = variants
            folder = given.out / variant.name
            folder.mkdir(parents=True, exist_ok=True)
            record = run_variant(variant, data=given.data, sets=sets, limit=given.limit, out=folder)
            (folder / "variant.json").write_text(json.dumps(record), encoding="utf-8")
            return
        for text in given.variants:
            command = [sys.executable, "-m", "benchmarks.ablations", text, "--alone", "--data", str(given.data)]
            command += ["--sets", given.sets, "--out", str(given.out)]
            command += [] if given.limit is None else ["--limit", str(given.limit)]
            subprocess.run(command, check=True, env={**os.environ})
        records = {
            one.name: json.loads((given.out / one.name / "variant.json").read_text(encoding="utf-8"))
            for one in variants
        }
        text = markdown(variants, records=records, table=compared(variants, sets=sets, out=given.out))
        given.out.with_suffix(".md").write_text(text, encoding="utf-8")
        sys.stdout.write(text)
    except OslerError as error:
        sys.exit(f"ablations: {error}")
    except subprocess.CalledProcessError:
        sys.exit("ablations: a variant failed; see above")


if __name__ == "__main__":
    main()
