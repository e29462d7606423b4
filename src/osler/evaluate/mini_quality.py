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
            shown = features if sight == "seen" else asker.blank(len(features))
            for asked in case.asked:
                text = wording_for(case, asked=asked)  # type: ignore[arg-type]
                asked_of.append((case, asked, text))
                prompts.append(asker.prompt(text, prepared=prepared, features=shown))
        replies = asker.ask(prompts, batch=AT_ONCE)
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


def evaluate(model: str, *, root: Path, out: Path, most: int | None = None) -> dict[str, Any]:
    """Runs everything and writes the report.

    Args:
        model: Name or folder of the checkpoint.
        root: Folder of the public sets. out: Where the report goes.
        most: Ask only so many cases, spread over all, or ``None`` for every one.
    """
    started = time.monotonic()
    checkpoint = load_checkpoint(model)
    perplexities = check_perplexity(checkpoint, root=root)
    asker = Asker(checkpoint)
    cases = list(held_out_cases(root))
    if most is not None and most < len(cases):
        cases = [cases[i * len(cases) // most] for i in range(most)]
    rows = [row for group in grouped(cases) for row in ask_cases(asker, group)]
    result = {
        "model": model,
        "preprocess": asker.checkpoint.preprocess.short_hash,
        "cases": len(cases),
        "table": summarize(rows),
        "confusion": {asked: confusion(rows, asked=asked) for asked in ("modality", "region", "plane", "view")},
        "wordings": check_wordings(asker, cases),
        "perplexity": perplexities,
        "seconds": time.monotonic() - started,
        "rows": [asdict(row) for row in rows],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "mini_quality.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (out / "mini_quality.md").write_text(markdown(result), encoding="utf-8")
    return result


def main() -> None:
    """Reads the command line and evaluates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="osler-mini", help="name or folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    parser.add_argument("--most", type=int, default=None, help="ask only so many cases")
    chosen = parser.parse_args()
    evaluate(chosen.model, root=chosen.data, out=chosen.out, most=chosen.most)


if __name__ == "__main__":
    main()
