"""Times questions about many studies: one after another, and overlapped by `Session.ask_many`.

    python -m benchmarks.ask_many --data ../shared/data --out benchmarks/ask_many

Real studies (chest X-rays; a CT and two MR) are asked in turns that alternate between the ways, in
one process whose network uses ``--threads`` threads. Each way begins with nothing remembered, and
its answers must have the same text in all of them. X-rays are answered in float32, so that a batch
rounds as a single row does; CT and MR, one at a time in every way, in bfloat16 as for a user.

The page is written after each turn, so that a run that is cut off keeps its whole turns.
Two floors are given. No way of doing two things at once can take less than the processor time of
all of them over the cores, nor less than the longest of reading, encoding and answering.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import osler.engine.session as session_module
from benchmarks.machine import Machine, measure
from osler.engine.device import Choice
from osler.engine.load import load
from osler.engine.session import Session
from osler.study import Answer

QUESTION = "Which imaging modality is this, and which part of the body does it show?"
TOKENS, TURNS, BATCH = 24, 3, 8
READING = ("read", "prepare")
ENCODING = ("encode",)
ANSWERING = ("prefill", "decode")
Ask = Callable[[Session, Sequence[Path]], list[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One way through all studies.

    Args:
        way: How. seconds: Of the clock. processor: Of all threads and processes. texts: The answers.
        stages: Seconds of each stage, as each answer says, study by study.
    """

    way: str
    seconds: float
    processor: float
    texts: tuple[str, ...]
    stages: tuple[dict[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Studies that are asked about.

    Args:
        name: Of the kind. dtype: Of the weights. ways: Of `WAYS`.
        paths: Of the studies. turns: Those done, way by way.
    """

    name: str
    dtype: str
    ways: tuple[str, ...]
    paths: tuple[Path, ...]
    turns: list[Turn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--xrays", type=int, default=16)
    parser.add_argument("--works", nargs="+", choices=("X-rays", "CT and MR"), default=("X-rays", "CT and MR"))
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    os.environ["OSLER_STUDY_CACHE"] = "off"
    torch.set_num_threads(options.threads)
    machine = measure(peaks=())
    done: list[Work] = []
    for work in (work for work in works(options.data, xrays=options.xrays) if work.name in options.works):
        session = load(options.model, dtype=work.dtype)
        WAYS["one after another"](session, work.paths[-1:])  # pages in the weights
        done.append(work)
        for _ in range(options.turns):
            work.turns.extend([turn(session, work.paths, way=way) for way in work.ways])
            if any(one.texts != work.turns[0].texts for one in work.turns):
                raise SystemExit(f"{work.name}: the answers differ between the ways.")
            text = report(done, machine=machine, threads=options.threads, root=options.data)
            if options.out:
                record = [{**asdict(one), "paths": _named(one, root=options.data)} for one in done]
                options.out.with_suffix(".md").write_text(text)
                options.out.with_suffix(".json").write_text(
                    json.dumps({"machine": asdict(machine), "threads": options.threads, "works": record}, indent=1)
                    + "\n"
                )
    sys.stdout.write(text)


def works(root: Path, *, xrays: int) -> list[Work]:
    """Chest X-rays; and a CT of 64 slices (JPEG 2000), an MR head of 36 slices and an MR crop of the hippocampus."""
    films = sorted((root / "cxr/nih/images").glob("*.jpg"))[:xrays]
    hippocampus = sorted((root / "mr/hippocampus/images").glob("*.nii.gz"))[0]
    head = root / "mr/ms-longitudinal/patient01/study1_FLAIR.nii.gz"
    one_by_one = ("one after another", "read ahead", "read and encode ahead")
    volumes = (root / "ct/lung-petct-dx-a0001/dicom", head, hippocampus)
    return [
        Work(name="X-rays", dtype="float32", ways=tuple(WAYS), paths=tuple(films), turns=[]),
        Work(name="CT and MR", dtype="bfloat16", ways=one_by_one, paths=volumes, turns=[]),
    ]


def turn(session: Session, paths: Sequence[Path], *, way: str) -> Turn:
    """Asks about all studies one way."""
    session.forget()
    before, started = os.times(), time.perf_counter()
    answers = WAYS[way](session, paths)
    seconds, after = time.perf_counter() - started, os.times()
    names = (*READING, *ENCODING, *ANSWERING)
    return Turn(
        way=way,
        seconds=seconds,
        processor=sum(after[:4]) - sum(before[:4]),
        texts=tuple(answer.text for answer in answers),
        stages=tuple({name: (answer.timings or {}).get(name, 0.0) for name in names} for answer in answers),
    )


def _one_after_another(session: Session, paths: Sequence[Path]) -> list[Answer]:
    return [session.ask(path, QUESTION, max_tokens=TOKENS) for path in paths]


def _many(batch: int, turn: str) -> Ask:
    def ask(session: Session, paths: Sequence[Path]) -> list[Answer]:
        with _encoding(turn):
            answers = session.ask_many([(path, QUESTION) for path in paths], batch=batch, max_tokens=TOKENS)
            return [answer for answer in answers if isinstance(answer, Answer)]

    return ask


@contextmanager
def _encoding(turn: str) -> Iterator[None]:
    """Sets when images are encoded, whatever the session would choose."""
    plain = session_module.when_to_encode
    session_module.when_to_encode = lambda device: Choice(turn, "the benchmark")  # type: ignore[assignment]
    try:
        yield
    finally:
        session_module.when_to_encode = plain


WAYS: dict[str, Ask] = {
    "one after another": _one_after_another,
    "read ahead": _many(1, "in turn"),
    "read and encode ahead": _many(1, "ahead"),
    f"the same, {BATCH} answers at a time": _many(BATCH, "ahead"),
}


def report(done: Sequence[Work], *, machine: Machine, threads: int, root: Path) -> str:
    """Writes the page."""
    turns = " and ".join(f"{len(work.turns) // len(work.ways)} of {work.name}" for work in done)
    lines = [
        "# Many studies, overlapped",
        "",
        "`Session.ask_many`, `osler triage` and `osler evaluate` read and prepare the next study in a thread while the",
        "present one is encoded and answered; one study is held ready. Where the network leaves a core free, up to a",
        "batch of studies is encoded ahead, too (`osler.engine.ahead.when_to_encode`; with as many threads as cores,",
        "the default, it is not: then both cores work on one product at a time).",
        "",
        f"`{' '.join(['python -m benchmarks.ask_many', *sys.argv[1:]])}`: medians of turns ({turns}), the ways",
        f"alternating; the network uses {threads} of {machine.cores} cores.",
        "",
        machine.markdown(),
        "",
        f"Load at the end: {os.getloadavg()[0]:.1f}. All ways gave the same answers to the letter (asserted).",
        "Processor seconds count all threads and processes.",
    ]
    for work in done:
        lines += [
            "",
            f"## {work.name}: {len(work.paths)} studies, {work.dtype}",
            "",
            *_ways_table(work, machine=machine),
        ]
        if work.name != "X-rays":
            lines += ["", *_stage_table(work, root=root)]
    return "\n".join([*lines, ""])


def _ways_table(work: Work, *, machine: Machine) -> list[str]:
    lines = ["| | seconds | of one after another | processor seconds |", "|---|---|---|---|"]
    rows = {way: [one for one in work.turns if one.way == way] for way in work.ways}
    base = rows["one after another"]
    for way, mine in rows.items():
        shares = [one.seconds / other.seconds for one, other in zip(mine, base, strict=True)]
        spread = "" if way == "one after another" else _spread(shares)
        lines.append(f"| {way} | {_median(mine, 'seconds'):.1f} | {spread} | {_median(mine, 'processor'):.1f} |")
    stages = _stages(work)
    parts = {
        "reading and preparing": sum(stage[one] for stage in stages for one in READING),
        "encoding": sum(stage[one] for stage in stages for one in ENCODING),
        "answering": sum(stage[one] for stage in stages for one in ANSWERING),
    }
    longest = max(parts, key=lambda part: parts[part])
    return [
        *lines,
        "",
        "One after another, " + ", ".join(f"{part} takes {seconds:.1f} s" for part, seconds in parts.items()) + ".",
        f"Floors: the longest of these, {longest}, is {parts[longest] / sum(parts.values()):.0%} of their sum; "
        f"the processor time over {machine.cores} cores is {_median(base, 'processor') / machine.cores:.1f} s.",
    ]


def _stage_table(work: Work, *, root: Path) -> list[str]:
    """Seconds of each stage, and what a stream of such studies could save at most."""
    names = (*READING, *ENCODING, *ANSWERING)
    lines = ["| study | " + " | ".join(names) + " | saved at most by reading ahead | by encoding ahead, too |"]
    lines.append("|---" * (len(names) + 3) + "|")
    for path, stages in zip(_named(work, root=root), _stages(work), strict=True):
        seconds = [stages[name] for name in names]
        shares = [sum(seconds[:count]) / sum(seconds) for count in (len(READING), len(READING) + len(ENCODING))]
        most = " | ".join(f"{min(share, 1 - share):.0%}" for share in shares)
        lines.append(f"| {path} | " + " | ".join(f"{one:.2f}" for one in seconds) + f" | {most} |")
    return lines


def _stages(work: Work) -> list[dict[str, float]]:
    """Medians over the turns of one after another, study by study."""
    base = [one.stages for one in work.turns if one.way == "one after another"]
    return [
        {name: statistics.median(turn[place][name] for turn in base) for name in base[0][place]}
        for place in range(len(work.paths))
    ]


def _named(work: Work, *, root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in work.paths]


def _median(turns: Sequence[Turn], field: str) -> float:
    return statistics.median(getattr(one, field) for one in turns)


def _spread(shares: Sequence[float]) -> str:
    return f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"


if __name__ == "__main__":
    main()
