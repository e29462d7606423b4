"""Times questions about many studies: one after another, and overlapped by `Session.ask_many`.

    python -m benchmarks.ask_many --data ../shared/data --out benchmarks/ask_many
    python -m benchmarks.ask_many --data ../shared/data --stages         # each stage of single studies

Real studies are asked in turns that alternate between the ways, in one process whose network
uses ``--threads`` threads. Each way begins with nothing remembered, and its answers must have the
same text in all of them (weights in float32, so that a batch rounds as a single row does).

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
        stages: Seconds of each stage over all studies, as each answer says.
    """

    way: str
    seconds: float
    processor: float
    texts: tuple[str, ...]
    stages: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--xrays", type=int, default=16)
    parser.add_argument("--works", nargs="+", choices=("X-rays", "CT and MR"), default=("X-rays", "CT and MR"))
    parser.add_argument("--stages", action="store_true", help="only time the stages of single studies, once")
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    os.environ["OSLER_STUDY_CACHE"] = "off"
    torch.set_num_threads(options.threads)
    if options.stages:
        sys.stdout.write(stage_table(load(options.model), root=options.data))
        return
    machine = measure(peaks=())
    session = load(options.model, dtype="float32")
    works = {
        "X-rays": (sorted((options.data / "cxr/nih/images").glob("*.jpg"))[: options.xrays], tuple(WAYS)),
        "CT and MR": (volumes(options.data), ("one after another", "read ahead", "read and encode ahead")),
    }
    found = {}
    for name in options.works:
        paths, ways = works[name]
        WAYS["one after another"](session, paths[:1])  # pages in the weights
        turns = [turn(session, paths, way=way) for _ in range(options.turns) for way in ways]
        first = turns[0].texts
        if any(one.texts != first for one in turns):
            raise SystemExit(f"{name}: the answers differ between the ways.")
        found[name] = {"studies": [str(path.relative_to(options.data)) for path in paths], "turns": turns}
        text = report(found, machine=machine, threads=options.threads)
        if options.out:
            options.out.with_suffix(".md").write_text(text)
            record = {name: {**work, "turns": [asdict(one) for one in work["turns"]]} for name, work in found.items()}
            options.out.with_suffix(".json").write_text(
                json.dumps({"machine": asdict(machine), "threads": options.threads, "works": record}, indent=1) + "\n"
            )
    sys.stdout.write(text)


def stage_table(session: Session, *, root: Path) -> str:
    """Times the stages of single studies, and what a stream of such studies could save at most."""
    xrays = sorted((root / "cxr/nih/images").glob("*.jpg"))[:2]
    more = [root / "ct/lung-petct-dx-a0001/dicom", root / "slides/cmu-1-small-region.svs"]
    names = (*READING, *ENCODING, *ANSWERING)
    lines = ["| study | " + " | ".join(names) + " | saved by reading ahead | by encoding ahead, too |"]
    lines.append("|---" * (len(names) + 3) + "|")
    session.ask(xrays[0], QUESTION, max_tokens=TOKENS)  # pages in the weights
    for path in (*xrays[1:], *volumes(root), *more):
        session.forget()
        timings = session.ask(path, QUESTION, max_tokens=TOKENS).timings or {}
        seconds = [timings.get(name, 0.0) for name in names]
        shares = [sum(seconds[:count]) / sum(seconds) for count in (len(READING), len(READING) + len(ENCODING))]
        most = " | ".join(f"{min(share, 1 - share):.0%}" for share in shares)
        lines.append(f"| {path.relative_to(root)} | " + " | ".join(f"{one:.2f}" for one in seconds) + f" | {most} |")
    return "\n".join([*lines, ""])


def volumes(root: Path) -> list[Path]:
    """A CT of 92 slices (JPEG 2000), three MR crops and a whole MR head."""
    found = [root / "ct/lidc-idri-0314/dicom", *sorted((root / "mr/hippocampus/images").glob("*.nii.gz"))[:3]]
    return [*found, root / "mr/ms-longitudinal/patient01/study1_FLAIR.nii.gz"]


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
        stages={name: sum((answer.timings or {}).get(name, 0.0) for answer in answers) for name in names},
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


def report(found: dict[str, dict], *, machine: Machine, threads: int) -> str:
    """Writes the page."""
    turns = len([one for one in next(iter(found.values()))["turns"] if one.way == "one after another"])
    lines = [
        "# Many studies, overlapped",
        "",
        f"`{' '.join(['python -m benchmarks.ask_many', *sys.argv[1:]])}`, medians of {turns} turns, the ways "
        f"alternating; the network uses {threads} of {machine.cores} cores.",
        "",
        machine.markdown(),
        "",
        f"Load at the end: {os.getloadavg()[0]:.1f}. All ways gave the same answers to the letter.",
    ]
    for name, work in found.items():
        lines += ["", f"## {name}: {len(work['studies'])} studies", ""]
        lines += ["| | seconds | of one after another | processor seconds |", "|---|---|---|---|"]
        ways = list(dict.fromkeys(one.way for one in work["turns"]))
        rows = {way: [one for one in work["turns"] if one.way == way] for way in ways}
        base = rows["one after another"]
        for way, mine in rows.items():
            shares = [one.seconds / other.seconds for one, other in zip(mine, base, strict=True)]
            spread = "" if way == "one after another" else _spread(shares)
            lines.append(f"| {way} | {_median(mine, 'seconds'):.1f} | {spread} | {_median(mine, 'processor'):.1f} |")
        stages = {stage: statistics.median(one.stages[stage] for one in base) for stage in base[0].stages}
        parts = {
            "reading and preparing": sum(stages[one] for one in READING),
            "encoding": sum(stages[one] for one in ENCODING),
            "answering": sum(stages[one] for one in ANSWERING),
        }
        longest = max(parts, key=lambda part: parts[part])
        lines += [
            "",
            "One after another, " + ", ".join(f"{part} takes {seconds:.1f} s" for part, seconds in parts.items()) + ".",
            f"Floors: the longest of these, {longest}, is {parts[longest] / sum(parts.values()):.0%} of their sum; "
            f"the processor time over {machine.cores} cores is {_median(base, 'processor') / machine.cores:.1f} s.",
        ]
    return "\n".join([*lines, ""])


def _median(turns: Sequence[Turn], field: str) -> float:
    return statistics.median(getattr(one, field) for one in turns)


def _spread(shares: Sequence[float]) -> str:
    return f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"


if __name__ == "__main__":
    main()
