"""How good Osler-mini is: held-out patients, blanked images, unseen wordings, perplexity.

    python -m osler.evaluate.mini_quality --data ../shared/data --out benchmarks

Writes ``mini_quality.md`` and ``mini_quality.json``. Answers are generated
greedily and read by `answer_reader`, which knows nothing of the templates.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from osler.evaluate.answer_reader import is_echo, is_loop, read_answer
from osler.evaluate.asking import Asker, Reply, Sight
from osler.evaluate.held_out import Case, held_out_cases
from osler.evaluate.intervals import bootstrap_interval
from osler.evaluate.perplexity import general_texts, medical_texts, perplexity
from osler.evaluate.quality_report import markdown
from osler.evaluate.wordings import Asked, questions
from osler.train.checkpoints import save_json
from osler.train.pictures import Labels
from osler.weights import Checkpoint, load_checkpoint

WORDINGS = 500
AT_ONCE = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question, its answer and what was read from it."""

    source: str
    patient: str
    asked: str
    sight: Sight
    question: str
    answer: str
    stopped: str
    truth: str
    read: str | None

    @property
    def right(self) -> bool:
        """Whether what was read is true."""
        return self.read == self.truth


def truth_of(labels: Labels, *, asked: str) -> str:
    """The class that an answer must name; the pelvis counts as abdomen."""
    if asked == "modality":
        return labels.modality
    if asked == "region":
        return {"pelvis": "abdomen", "abdomen-pelvis": "abdomen"}.get(labels.region, labels.region)
    return labels.view if asked == "view" else labels.plane


def wording_for(case: Case, *, asked: Asked) -> str:
    """An unseen wording, chosen by a hash of the case."""
    choices = questions(asked=asked)
    digest = hashlib.sha256(f"{case.source}:{case.patient}:{asked}".encode()).hexdigest()
    return choices[int(digest[:8], 16) % len(choices)].text


def ask_cases(asker: Asker, cases: Sequence[Case], *, sights: tuple[Sight, ...] = ("seen", "blanked")) -> list[Row]:
    """Asks each case everything that is known of it, all in one batch a sight."""
    looked = [asker.look(case.study) for case in cases]
    rows: list[Row] = []
    for sight in sights:
        asked_of, prompts = [], []
        for case, (prepared, features) in zip(cases, looked, strict=True):
            shown = features if sight == "seen" else asker.blank(prepared)
            for asked in case.asked:
                text = wording_for(case, asked=asked)  # type: ignore[arg-type]
                asked_of.append((case, asked, text))
                prompts.append(asker.prompt(text, prepared=prepared, features=shown))
        replies = asker.ask(prompts, batch=1 if cases[0].form == "volume" else AT_ONCE)
        for (case, asked, text), reply in zip(asked_of, replies, strict=True):
            rows += _rows(case, asked=asked, sight=sight, question=text, reply=reply)
    return rows


def _rows(case: Case, *, asked: str, sight: Sight, question: str, reply: Reply) -> list[Row]:
    """One row, and a second one on AP or PA where an X-ray's orientation was asked and is known."""
    facets = [asked, "view"] if asked == "plane" and case.labels.view != "none" else [asked]
    return [
        Row(
            source=case.source,
            patient=case.patient,
            asked=facet,
            sight=sight,
            question=question,
            answer=reply.text,
            stopped=reply.stopped,
            truth=truth_of(case.labels, asked=facet),
            read=read_answer(reply.text, kind=facet),  # type: ignore[arg-type]
        )
        for facet in facets
    ]


def grouped(cases: Sequence[Case], *, most: int = 8) -> Iterator[list[Case]]:
    """Cuts cases into groups of pictures; a volume stands alone, as its prompt is long."""
    group: list[Case] = []
    for case in cases:
        if case.form == "volume":
            yield [case]
            continue
        group.append(case)
        if len(group) == most:
            yield group
            group = []
    if group:
        yield group


def summarize(rows: list[Row]) -> list[dict[str, Any]]:
    """Counts and intervals by facet and sight, over all and for each source."""
    table = []
    for asked in ("modality", "region", "plane", "view"):
        for source in (None, *sorted({row.source for row in rows})):
            for sight in ("seen", "blanked"):
                chosen = [
                    r for r in rows if r.asked == asked and r.sight == sight and (source is None or r.source == source)
                ]
                if not chosen:
                    continue
                right = [row.right for row in chosen]
                low, high = bootstrap_interval(right, patients=[f"{r.source}:{r.patient}" for r in chosen])
                table.append(
                    {
                        "asked": asked,
                        "source": source or "all",
                        "sight": sight,
                        "right": sum(right),
                        "of": len(right),
                        "share": sum(right) / len(right),
                        "low": low,
                        "high": high,
                        "patients": len({(r.source, r.patient) for r in chosen}),
                    }
                )
    return table


def confusion(rows: list[Row], *, asked: str) -> dict[str, int]:
    """Counts of ``truth -> read`` with the image seen."""
    pairs = Counter(f"{r.truth} -> {r.read or 'unreadable'}" for r in rows if r.asked == asked and r.sight == "seen")
    return dict(pairs.most_common())


def by_class(rows: list[Row], *, asked: str) -> dict[str, dict[str, int]]:
    """Counts right answers for each true class with the image seen: totals lean on the commonest class."""
    chosen = [row for row in rows if row.asked == asked and row.sight == "seen"]
    return {
        truth: {
            "right": sum(row.right for row in chosen if row.truth == truth),
            "of": sum(row.truth == truth for row in chosen),
        }
        for truth in sorted({row.truth for row in chosen})
    }


def check_wordings(asker: Asker, cases: list[Case], *, count: int = WORDINGS) -> dict[str, Any]:
    """Asks ``count`` unseen wordings once each and looks for echoes, loops and answers without an end."""
    chosen = questions()[:count]
    pictures = [case for case in cases if case.form == "picture"]
    looked = [asker.look(pictures[i * 7 % len(pictures)].study) for i in range(min(40, len(pictures)))]
    prompts = []
    for number, wording in enumerate(chosen):
        prepared, features = (None, None) if wording.asked == "text" else looked[number % len(looked)]
        prompts.append(asker.prompt(wording.text, prepared=prepared, features=features))
    replies = asker.ask(prompts)
    bad = [
        {"question": w.text, "answer": r.text, "stopped": r.stopped}
        for w, r in zip(chosen, replies, strict=True)
        if is_echo(r.text, question=w.text) or is_loop(r.text) or r.stopped != "end"
    ]
    pairs = list(zip(chosen, replies, strict=True))
    return {
        "asked": len(chosen),
        "echo": sum(is_echo(r.text, question=w.text) for w, r in pairs),
        "loop": sum(is_loop(r.text) for _, r in pairs),
        "without_end": sum(r.stopped != "end" for _, r in pairs),
        "bad": len(bad),
        "examples": bad[:20],
        "text_only": [{"question": w.text, "answer": r.text} for w, r in pairs if w.asked == "text"][:26],
    }


def check_perplexity(checkpoint: Checkpoint, *, root: Path) -> dict[str, dict[str, float]]:
    """Perplexity of the embedded decoder alone and of the shipped one, on general and medical text."""
    base = load_checkpoint("gemma-3-270m")
    out: dict[str, dict[str, float]] = {}
    for name, texts in (("general", general_texts()), ("medical", medical_texts(root))):
        before, count = perplexity(base.model, texts, tokenizer=base.tokenizer)
        after, _ = perplexity(checkpoint.model, texts, tokenizer=base.tokenizer)
        out[name] = {"before": before, "after": after, "tokens": count}
    return out


def evaluate(
    model: str, *, root: Path, out: Path, sets: tuple[str, ...] = (), earlier: Sequence[Row] = ()
) -> dict[str, Any]:
    """Runs everything and writes the report.

    Args:
        model: Name or folder of the checkpoint.
        root: Folder of the public sets. out: Where the report goes.
        sets: Ask only about these sets; empty for all.
        earlier: Rows measured before on other cases with the same weights, put into the same tables.
    """
    started = time.monotonic()
    checkpoint = load_checkpoint(model)
    perplexities = check_perplexity(checkpoint, root=root)
    asker = Asker(checkpoint)
    cases = [case for case in held_out_cases(root) if not sets or case.source in sets]
    words = check_wordings(asker, cases)
    rows = list(earlier)
    for group in grouped(cases):
        rows += ask_cases(asker, group)
        # What was measured so far survives an interruption.
        save_json(out / "mini_quality_rows.json", [asdict(row) for row in rows])
    contract = checkpoint.preprocess.short_hash
    seconds = time.monotonic() - started
    result = report(model, contract=contract, rows=rows, words=words, perplexities=perplexities, seconds=seconds)
    save_json(out / "mini_quality.json", result)
    (out / "mini_quality.md").write_text(markdown(result), encoding="utf-8")
    return result


def report(
    model: str,
    *,
    contract: str,
    rows: list[Row],
    words: dict[str, Any],
    perplexities: dict[str, dict[str, float]],
    seconds: float,
) -> dict[str, Any]:
    """Puts everything that was measured into one table of results."""
    return {
        "model": model,
        "preprocess": contract,
        "questions": sum(row.sight == "seen" and row.asked != "view" for row in rows),
        "table": summarize(rows),
        "classes": {asked: by_class(rows, asked=asked) for asked in ("modality", "region", "plane", "view")},
        "confusion": {asked: confusion(rows, asked=asked) for asked in ("modality", "region", "plane", "view")},
        "wordings": words,
        "perplexity": perplexities,
        "seconds": seconds,
    }


def read_rows(path: Path) -> list[Row]:
    """Reads the rows that an earlier evaluation left."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def main() -> None:
    """Reads the command line and evaluates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="osler-mini", help="name or folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    parser.add_argument("--sets", nargs="*", default=[], help="ask only about these sets")
    parser.add_argument("--earlier", type=Path, default=None, help="mini_quality_rows.json of an earlier part")
    chosen = parser.parse_args()
    earlier = read_rows(chosen.earlier) if chosen.earlier is not None else []
    evaluate(chosen.model, root=chosen.data, out=chosen.out, sets=tuple(chosen.sets), earlier=earlier)


if __name__ == "__main__":
    main()
