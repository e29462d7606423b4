"""Records what `osler doctor` compares with; run it after the shipped weights or the preprocessing change.

python tests/golden/record.py
"""

from __future__ import annotations

import json
from pathlib import Path

import osler.cli
from osler.cli.checks import golden_answer, golden_pixels, golden_weights
from osler.cli.demo import DEMO_QUESTION

if __name__ == "__main__":
    contract, pixels = golden_pixels()
    answer = golden_answer()
    record = {
        "preprocess": contract,
        "pixels": pixels,
        "weights": golden_weights(),
        "question": DEMO_QUESTION,
        "answer": answer.text,
    }
    target = Path(osler.cli.__file__).parent / "golden.json"
    target.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(target, answer.text, sep="\n")
