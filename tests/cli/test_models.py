"""``osler models``: what is here, on which terms."""

from __future__ import annotations

import json

from tests.cli.running import invoke


def test_the_embedded_models_are_listed_with_their_terms() -> None:
    result = invoke("models")
    assert result.exit_code == 0, result.output
    for part in ("osler-mini", "gemma-3-270m", "medgemma-1.5-4b", "Gemma Terms of Use", "memory"):
        assert part in result.stdout


def test_json_says_which_are_ready() -> None:
    listed = {entry["name"]: entry for entry in json.loads(invoke("models", "--json").stdout)["models"]}
    assert listed["gemma-3-270m"]["ready"]
    assert listed["gemma-3-270m"]["disk_bytes"] == 253_113_024
    published = listed["medgemma-1.5-4b"]
    assert published["memory_bytes"] > 8e9
    if not published["ready"]:
        assert "where" not in published
        assert published["to_do"]
