"""Asks questions with known answers over synthetic FHIR records and reports how many are answered right.

    PYTHONPATH=src python benchmarks/ehr_questions.py --records ../shared/data/fhir

The questions are those of `osler.evaluate.record_questions`; ``osler evaluate --sets ehr-questions``
gives intervals over patients as well.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from osler.evaluate.record_questions import questions
from osler.readers import open_study
from osler.tasks.ehr import answer_from_events


def main() -> None:
    """Asks everything and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--part", choices=("dev", "test"), default="test")
    parser.add_argument("--wrong", type=int, default=0, help="Print so many wrong answers (dev only).")
    given = parser.parse_args()
    files = sorted(given.records.glob("*.json"))[0 if given.part == "dev" else 1 :: 2]
    counts: Counter[tuple[str, bool, bool]] = Counter()
    invented, shown = 0, 0
    for path in files:
        study = open_study(path)
        for one in questions(path):
            answer = answer_from_events(study, one.text)
            text = "(left to the model)" if answer is None else answer.text
            right = one.right(text)
            counts[one.kind, one.held_out, right] += 1
            # A refusal in other words, or a question left to the model, is wrong here but invents nothing.
            if one.kind == "unanswerable" and not right and answer is not None:
                invented += 1
            if not right and shown < given.wrong and given.part == "dev" and not one.held_out:
                shown += 1
                print(f"{path.name[:4]} {one.kind}: {one.text}\n    -> {text[:200]!r}")
    print(f"{given.part}: {len(files)} patients, {sum(counts.values())} questions")
    print("| question | wordings tried | held-out wordings |\n|---|---|---|")
    for kind in sorted({kind for kind, _held, _right in counts}):
        print(f"| {kind} | {_share(counts, kind, held=False)} | {_share(counts, kind, held=True)} |")
    print(f"| all | {_share(counts, None, held=False)} | {_share(counts, None, held=True)} |")
    print(f"Values given where the record has none: {invented}")


def _share(counts: Counter[tuple[str, bool, bool]], kind: str | None, *, held: bool) -> str:
    rows = [(right, n) for (one, out, right), n in counts.items() if out == held and kind in (None, one)]
    total = sum(n for _right, n in rows)
    good = sum(n for right, n in rows if right)
    return f"{good} of {total} ({good / total:.1%})" if total else "-"


if __name__ == "__main__":
    main()
