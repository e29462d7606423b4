"""Writes ``prepare.json`` anew from the output of the published processor in ``transformers``.

Run from the project's root: ``python tests/golden/write_prepare.py``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

from osler.prepare import Preprocess

TESTS = Path(__file__).parents[1]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    support, golden = load(TESTS / "prepare/conftest.py"), load(TESTS / "prepare/test_golden.py")
    tokenizer = support.SmallTokenizer(support.build_tokenizer())
    published = Preprocess(image_size=896, image_tokens=256, sampling="published", prompt="published")
    record = {}
    for name, case in golden.build_cases(support.Make).items():
        output = golden.reference_outputs(
            case,
            preprocess=golden.contract_of(published, name),
            tokenizer=tokenizer,
            chat_template=support.CHAT_TEMPLATE,
        )
        ids, pixels = output["input_ids"][0], output["pixel_values"]
        record[name] = {
            "pixels_shape": list(pixels.shape),
            "pixels_sha256": golden.digest(pixels.astype("<f4")),
            "tokens": len(ids),
            "token_ids_sha256": golden.digest(ids.astype("<i8")),
        }
    golden.GOLDEN.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
