"""What guessing ahead brings: passes of the network and time for report-like answers, which stay what they are.

    python -m benchmarks.speculation --out benchmarks/speculation

Two kinds of work on the embedded model, greedy. *Reports*: two synthetic
reports of the same kind of exam stand in the prompt, and the model goes on with
a third. *Rows*: laboratory values in words, written as JSON under a schema.
Each answer is written token by token, then with lookup; rows also with and
without forced tokens read together. The runs are interleaved, at each of the
widths of the weights that are asked for.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

import osler
from benchmarks.machine import measure
from osler.engine.constrained import Forced, Grammars, JsonSchema, Rule
from osler.engine.decode import Generated
from osler.engine.generate import Prompt, generate
from osler.engine.options import Decoding, Speculation
from osler.engine.session import Session
from osler.synth.iterate import iterate_reports

_SEED = 20_26
_ROW = {
    "type": "object",
    "properties": {
        "name": {"enum": ["sodium", "potassium", "creatinine", "hemoglobin", "glucose"]},
        "value": {"type": "number"},
        "unit": {"enum": ["mmol/L", "mg/dL", "g/dL", "umol/L"]},
        "flag": {"enum": ["normal", "high", "low"]},
    },
    "required": ["name", "value", "unit", "flag"],
    "additionalProperties": False,
}
_SCHEMA = JsonSchema({"type": "array", "items": _ROW, "minItems": 5, "maxItems": 5})
_VALUES = "Sodium 139 mmol/L (normal). Potassium 5.6 mmol/L (high). Creatinine 88 umol/L (normal). "
_VALUES += "Hemoglobin 10.9 g/dL (low). Glucose 101 mg/dL (normal)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How answers are written."""

    name: str
    speculation: Speculation
    forced: Forced = "together"


REPORT_WAYS = (Way(name="token by token", speculation="none"), Way(name="lookup", speculation="lookup"))
ROW_WAYS = (
    Way(name="token by token", speculation="none", forced="singly"),
    Way(name="forced tokens together", speculation="none"),
    Way(name="forced together, and lookup", speculation="lookup"),
)


def report_prompts(session: Session, *, count: int) -> Iterator[Prompt]:
    """Two reports, and the first words of a third."""
    rows = (row.report for row in iterate_reports(seed=_SEED) if row.language == "en" and len(row.report) < 1600)
    for _ in range(count):
        first, second, third = islice(rows, 3)
        text = f"{first}\n\n{second}\n\n{third[:60]}"
        ids = [session.runner.config.tokens.bos, *session.checkpoint.tokenizer.encode(text)]
        yield Prompt(token_ids=np.array(ids))


def row_prompt(session: Session) -> Prompt:
    """Values in words."""
    text = f"{_VALUES}\nThe same values as JSON:\n"
    return Prompt(token_ids=np.array([session.runner.config.tokens.bos, *session.checkpoint.tokenizer.encode(text)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An answer, and what writing it took after the prompt, in seconds on the clock and of the processor."""

    answer: Generated
    clock: float
    processor: float


def write(session: Session, prompt: Prompt, *, decoding: Decoding, rule: Rule | None) -> Written:
    """Writes one answer."""
    read: list[float] = []
    (answer,) = generate(
        session.runner,
        [prompt],
        decoding=decoding,
        rules=[rule] if rule else (),
        on_prefill=lambda done, of: read.append(time.process_time()),
    )
    return Written(answer=answer, clock=answer.decode_seconds, processor=time.process_time() - read[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--bits", type=int, nargs="*", default=[16, 8, 4])
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--rows", type=int, default=2, help="turns of the values in JSON")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = [
        measure(threads=(1,), peaks=()).markdown(),
        "",
        "| Bits | Work | Way | tokens | passes | tokens a pass | s, median | processor, s | answers changed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for bits in options.bits:
        lines += lines_of(bits, options=options)
    text = "\n".join(lines) + "\n"
    print(text)
    options.out.with_name(f"{options.out.name}-table.md").write_text(text, encoding="utf-8")


def lines_of(bits: int, *, options: argparse.Namespace) -> list[str]:
    """Measures one width of the weights; returns rows of the table."""
    session = osler.load(options.model, bits=bits, studies="memory")
    tokens = session.runner.config.tokens
    grammars = Grammars(
        session.checkpoint.tokenizer,
        vocab=session.runner.config.decoder.vocab,
        ends=(tokens.end_of_turn, tokens.eos),
    )
    found: dict[tuple[str, str], list[Written]] = {}
    decoding = Decoding(max_tokens=options.tokens)
    for prompt in report_prompts(session, count=options.prompts):
        for way in REPORT_WAYS:
            one = write(session, prompt, decoding=replace(decoding, speculation=way.speculation), rule=None)
            found.setdefault(("reports", way.name), []).append(one)
    for _ in range(options.rows):
        for way in ROW_WAYS:
            rule = grammars.start(_SCHEMA, forced=way.forced)
            many = replace(decoding, speculation=way.speculation, max_tokens=400)
            found.setdefault(("rows", way.name), []).append(
                write(session, row_prompt(session), decoding=many, rule=rule)
            )
    lines = []
    for (work, name), results in found.items():
        answers = [one.answer for one in results]
        plain = [one.answer for one in found[(work, "token by token")]]
        changed = sum(one.token_ids != other.token_ids for one, other in zip(answers, plain, strict=True))
        written, passes = sum(len(one.token_ids) for one in answers), sum(one.passes for one in answers)
        seconds, processor = (statistics.median(getattr(one, key) for one in results) for key in ("clock", "processor"))
        lines.append(
            f"| {bits} | {work} | {name} | {written} | {passes} | {written / passes:.2f} | {seconds:.2f} | "
            f"{processor:.2f} | {changed} of {len(results)} |"
        )
    print("\n".join(lines), flush=True)
    return lines


if __name__ == "__main__":
    main()
