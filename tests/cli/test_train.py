"""``osler train``: a recipe that is not there is refused like any other input."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import invoke, require_refusal


def test_an_absent_recipe_is_refused(tmp_path: Path) -> None:
    result = invoke("train", tmp_path / "absent.toml")
    require_refusal(result)
    assert "absent.toml" in result.stderr
