"""Volumes as slabs against slices, with and without the parts that learn: quality, tokens, FLOPs, seconds, memory.

    osler train recipes/mini_volumes.toml
    PYTHONPATH=src python -m benchmarks.ablate_volumes --phantoms runs/phantoms --data ../shared/data \\
        --out benchmarks/ablate_volumes slices=osler-mini untrained=osler-mini@64 trained=runs/mini-volumes@64 \\
        no-volume=runs/mini-volumes:-volume@64 no-adapter=runs/mini-volumes:-adapter@64

Each way is ``NAME=MODEL[:-part,-part][@TOKENS]``: without ``@`` volumes are read slice by slice. The first way is what
the others are compared with, question by question: the difference is resampled over patients in pairs. Each way runs in
a process of its own, so that its peak of memory is its own; its rows are kept under ``--rows`` and taken up again.

Questions: those of the kept-out phantoms of the recipe in its table (wordings that training never sees), what the whole
ones of them are, and what the real held-out volumes of ``--data`` are (`osler.evaluate.held_out`). *Blanked*: the
same question, every voxel of one value. *Majority*: the commonest answer to that kind of question in the same rows.
Seconds are those of one processor core that a question took itself, all of them about the same volume together
(preparing and encoding once). FLOPs: PyTorch's counter over one first question on one volume, matrix products and
attention.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.ablations import Variant
from osler.errors import OslerError, RequestError
from osler.evaluate.answer_reader import read_answer
from osler.evaluate.rows import MODEL, Measure, Measured, Row, measured, paired_difference
from osler.weights.parts import parts_without

_MEASURE = Measure(name="accuracy", field="right")
_TOKENS = 20
_FACETS = ("modality", "region", "plane")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A model, parts that are switched off, and how it reads volumes: in so many tokens, or slice by slice (0)."""

    variant: Variant
    tokens: int = 0

    @classmethod
    def parse(cls, text: str) -> Way:
        """Reads ``NAME=MODEL[:-part,-part][@TOKENS]``.

        Raises:
            RequestError: If it is not of that form.
        """
        rest, at, tokens = text.rpartition("@") if "@" in text else (text, "", "0")
        if not tokens.isdigit() or (at and tokens == "0"):
            raise RequestError(f"The way {text!r}.", allowed="NAME=MODEL[:-part,-part][@TOKENS].")
        return cls(variant=Variant.parse(rest), tokens=int(tokens))

    @property
    def name(self) -> str:
        """In tables."""
        return self.variant.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question on one volume; ``data`` is the table that it stands in."""

    data: str
    path: Path
    patient: str
    kind: str
    asked: str
    truth: str


def phantom_questions(folder: Path) -> Iterator[Question]:
    """Those of kept-out phantoms; what the whole ones are is asked in wordings that training never sees."""
    from osler.evaluate.wordings import questions

    known: set[str] = set()
    with (folder / "questions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] != "kept-out":
                continue
            shared = {"data": "phantoms", "path": folder / row["path"], "patient": row["patient"]}
            if row["kind"] != "what":
                yield Question(**shared, kind=row["kind"], asked=row["question"], truth=row["answer"])
            if row["modality"] and row["path"] not in known:
                known.add(row["path"])
                for facet in _FACETS:
                    digest = int(hashlib.sha256(f"{row['patient']}:{facet}".encode()).hexdigest()[:8], 16)
                    choices = questions(asked=facet)  # type: ignore[arg-type]
                    asked = choices[digest % len(choices)].text
                    yield Question(**shared, kind=facet, asked=asked, truth=row[facet])


def real_questions(root: Path) -> Iterator[Question]:
    """What the real held-out volumes are."""
    from osler.evaluate.held_out import listed_volumes
    from osler.evaluate.mini_quality import truth_of, wording_for

    for one in listed_volumes(root):
        for facet in one.asked:
            yield Question(
                data="real",
                path=one.path or root,
                patient=f"{one.source}:{one.patient}",
                kind=facet,
                asked=wording_for(one, asked=facet),  # type: ignore[arg-type]
                truth=truth_of(one.labels, asked=facet),
            )


def is_right(question: Question, said: str) -> bool:
    """Whether an answer is right: of a facet by the independent reader, of others by its first word."""
    if question.kind in _FACETS:
        return read_answer(said, kind=question.kind) == question.truth  # type: ignore[arg-type]
    words = said.lower().replace(",", " ").replace(".", " ").split()
    return bool(words) and words[0] == question.truth.lower().split()[0].rstrip(".")


def run_way(way: Way, questions: Sequence[Question], *, blanked: bool) -> dict[str, Any]:
    """Asks all questions in this process; returns rows and costs."""
    from osler.engine.load import load
    from osler.evaluate.responder import blank_study
    from osler.readers import open_study

    session = load(way.variant.model, studies="memory", parts=parts_without(way.variant.without))
    reading = {"visual_tokens": way.tokens or "slices"}
    groups: dict[Path, list[Question]] = defaultdict(list)
    for question in questions:
        groups[question.path].append(question)
    rows: list[dict[str, Any]] = []
    seconds, prompt, asked = 0.0, 0, 0
    for path, mine in groups.items():
        study = open_study(path)
        started = time.process_time()
        answers = [session.ask(study, one.asked, max_tokens=_TOKENS, **reading) for one in mine]
        seconds += time.process_time() - started
        prompt += sum((answer.tokens or {}).get("prompt", 0) for answer in answers)
        asked += len(mine)
        blank = blank_study(study)
        unseen = [session.ask(blank, one.asked, max_tokens=_TOKENS, **reading) if blanked else None for one in mine]
        for one, answer, other in zip(mine, answers, unseen, strict=True):
            rows.append({**asdict(one), "path": str(one.path), "said": answer.text})
            if other is not None:
                rows[-1]["unseen"] = other.text
        session.forget()
    return {
        "rows": rows,
        "prompt": prompt / asked,
        "seconds": seconds / asked,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "gflops": question_flops(way, questions[0]) / 1e9,
    }


def question_flops(way: Way, question: Question) -> float:
    """FLOPs of the first question on a volume, the answer's tokens included."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from osler.engine.load import load

    session = load(way.variant.model, packing="plain", studies="memory", parts=parts_without(way.variant.without))
    # The counter has no formula for the fused attention of a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        session.ask(question.path, question.asked, max_tokens=4, visual_tokens=way.tokens or "slices")
    return float(counter.get_total_flops())


def judged(record: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Rows of `osler.evaluate` by data, with the majority of each kind."""
    commonest: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in record["rows"]:
        commonest[row["data"], row["kind"]][row["truth"]] += 1
    found: dict[str, list[Row]] = defaultdict(list)
    for row in record["rows"]:
        question = Question(**{name: row[name] for name in Question.__dataclass_fields__})
        values = {MODEL: is_right(question, row["said"])}
        values["majority"] = row["truth"] == commonest[row["data"], row["kind"]].most_common(1)[0][0]
        if "unseen" in row:
            values["blanked"] = is_right(question, row["unseen"])
        found[row["data"]].append(
            Row(
                case=f"{row['path']} {row['asked']}",
                patient=row["patient"],
                group=row["kind"],
                values={"right": {name: (float(value), 1.0) for name, value in values.items()}},
                asked=row["asked"],
                said=row["said"],
                truth=row["truth"],
            )
        )
    return found


def markdown(ways: Sequence[Way], records: Mapping[str, Mapping[str, Any]]) -> str:
    """What each way costs and gives."""
    lines = [
        "| Way | Model | Without | Volumes as | Prompt tokens | GFLOPs, first question | Core-s a question | Peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way in ways:
        record = records[way.name]
        lines.append(
            f"| {way.name} | {way.variant.model} | {', '.join(way.variant.without) or '-'} | "
            f"{f'slabs, {way.tokens} tokens' if way.tokens else 'slices'} | {record['prompt']:.0f} | "
            f"{record['gflops']:.0f} | {record['seconds']:.2f} | {record['peak_mb']} |"
        )
    rows = {way.name: judged(records[way.name]) for way in ways}
    for data in sorted({name for found in rows.values() for name in found}):
        head = "| Way | Kind | Right, % | Less the first way, points | Blanked | Majority | Rows | Patients |"
        lines += ["", f"### {data}", "", head, "|---|---|---|---|---|---|---|---|"]
        for way in ways:
            lines += _quality(way, mine=rows[way.name].get(data, []), first=rows[ways[0].name].get(data, []))
    return "\n".join(lines) + "\n"


def _quality(way: Way, *, mine: Sequence[Row], first: Sequence[Row]) -> Iterable[str]:
    for one in measured(mine, [_MEASURE]):
        chosen, others = ([row for row in rows if one.group in ("all", row.group)] for rows in (mine, first))
        less = "-" if mine == first else _span(asdict(paired_difference(chosen, others, measure=_MEASURE)[0]), sign="+")
        yield (
            f"| {way.name} | {one.group} | {_system(one, MODEL)} | {less} | {_system(one, 'blanked')} | "
            f"{_system(one, 'majority')} | {one.rows} | {one.patients} |"
        )


def _system(one: Measured, name: str) -> str:
    return _span(asdict(one.systems[name])) if name in one.systems else "-"


def _span(found: Mapping[str, float], *, sign: str = "") -> str:
    value, low, high = (f"{100 * found[end]:{sign}.0f}" for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main() -> None:
    """Runs each way that has no record yet, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="+", help="NAME=MODEL[:-part,-part][@TOKENS]")
    parser.add_argument("--phantoms", type=Path, required=True, help="folder of recipes/mini_volumes.toml")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=Path, default=Path("runs/ablate-volumes"))
    parser.add_argument("--blanked", choices=("yes", "no"), default="yes")
    parser.add_argument("--limit", type=int, default=None, help="volumes of each kind of data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        ways = [Way.parse(text) for text in given.ways]
        if given.alone:
            sets = (list(phantom_questions(given.phantoms)), list(real_questions(given.data)))
            chosen = [one for found in sets for one in _some(found, most=given.limit)]
            record = run_way(ways[0], chosen, blanked=given.blanked == "yes")
            given.rows.mkdir(parents=True, exist_ok=True)
            (given.rows / f"{ways[0].name}.json").write_text(json.dumps(record), encoding="utf-8")
            return
        for way, text in zip(ways, given.ways, strict=True):
            if not (given.rows / f"{way.name}.json").is_file():
                subprocess.run([sys.executable, "-m", "benchmarks.ablate_volumes", text, *_options(given)], check=True)
        records = {way.name: json.loads((given.rows / f"{way.name}.json").read_text(encoding="utf-8")) for way in ways}
        given.out.with_suffix(".tables.md").write_text(markdown(ways, records), encoding="utf-8")
    except OslerError as error:
        sys.exit(f"ablate_volumes: {error}")
    except subprocess.CalledProcessError:
        sys.exit("ablate_volumes: a way failed; see above")


def _options(given: argparse.Namespace) -> list[str]:
    options = ["--alone", "--out", str(given.out), "--blanked", given.blanked]
    for name in ("phantoms", "data", "rows", "limit"):
        if (value := getattr(given, name)) is not None:
            options += [f"--{name}", str(value)]
    return options


def _some(questions: Sequence[Question], *, most: int | None) -> list[Question]:
    """Questions on the first volumes, in the order of a hash, so that every kind of volume is among them."""
    paths = sorted({one.path for one in questions}, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest())
    kept = set(paths[:most])
    return [one for one in questions if one.path in kept]


if __name__ == "__main__":
    main()
