"""``--without``: parts are switched off by name, and a wrong name is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.mini import needs_mini
from tests.cli.running import invoke, require_refusal


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("L", (40, 40), 90).save(tmp_path / "x.png")
    return tmp_path / "x.png"


@pytest.mark.parametrize(
    "command",
    [
        ["ask", "{}", "what?", "--without", "head"],
        ["compare", "{}", "{}", "--without", "volume,head"],
        ["locate", "{}", "right lung", "--without", "head"],
        ["evaluate", "--data", "{}", "--without", "head"],
    ],
)
def test_a_wrong_part_is_refused_with_the_nearest(command: list[str], picture: Path) -> None:
    done = invoke(*(word.format(picture) for word in command))
    require_refusal(done)
    assert "Unknown part 'head'" in done.output
    assert "Did you mean 'heads'?" in done.output


@needs_mini
def test_without_heads_no_box_is_drawn_by_them(picture: Path) -> None:
    done = invoke("locate", picture, "right lung", "--without", "heads", "--quiet")
    assert done.exit_code == 0
    assert "was not trained to draw boxes" in done.output


@needs_mini
def test_without_heads_the_answer_says_so(picture: Path) -> None:
    done = invoke("ask", picture, "Which plane?", "--without", "heads", "--max-tokens", "2", "--quiet")
    assert done.exit_code == 0
    assert "osler-mini runs without heads." in done.output
