"""``osler index`` and ``osler search``, as their help shows them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from osler.writers import load_schema
from tests.cli.mini import needs_mini
from tests.cli.running import invoke, require_refusal


@needs_mini
def test_the_examples_of_the_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("archive/one", "archive/two", "new-scan"):
        Path(name).mkdir(parents=True)
        pixels = np.random.default_rng(len(name)).integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(Path(name) / "x.png")
    Path("archive/one/report.txt").write_text("A pleural effusion on the left.", encoding="utf-8")
    Path("archive/broken.dcm").write_bytes(b"no image")

    made = invoke("index", "archive/", "--out", "archive.index")
    assert made.exit_code == 0, made.output
    assert "2 studies added, 0 unchanged, 0 no longer there, 1 could not be read" in made.stdout
    assert "broken.dcm" in made.stderr

    like = invoke("search", "archive.index", "new-scan/", "--json")
    record = json.loads(like.stdout)
    jsonschema.validate(record, load_schema("answer"))
    assert len(record["matches"]) == 2
    assert record["untrained"] == ["embeddings"]

    words = invoke("search", "archive.index", "pleural effusion on the left")
    assert words.exit_code == 0
    assert "A pleural effusion on the left." in words.stdout
    assert json.loads(invoke("index", "archive/", "--out", "archive.index", "--json").stdout)["kept"] == 2


def test_an_index_that_is_absent(tmp_path: Path) -> None:
    result = invoke("search", tmp_path / "no.index", "effusion")
    require_refusal(result)
    assert "osler index FOLDER" in result.stderr
    require_refusal(invoke("index", tmp_path / "absent", "--out", tmp_path / "x"))
