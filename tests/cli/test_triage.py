"""``osler triage``, as its help shows it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from osler.cli.triage import LiveOrder
from osler.tasks.triage_journal import TriagedStudy
from osler.writers import load_schema
from tests.cli.mini import needs_mini
from tests.cli.running import invoke, loaded_after, require_refusal


@needs_mini
def test_the_example_of_the_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inbox/one").mkdir(parents=True)
    Image.new("L", (40, 40), 90).save("inbox/one/x.png")
    Path("inbox/two.dcm").write_bytes(b"no image")
    result = invoke("triage", "inbox/", "--out", "worklist.csv")
    assert result.exit_code == 0, result.output
    assert "1. routine: inbox/one" in result.stdout
    assert "two.dcm" in result.stdout
    assert result.stdout.count("inbox/one") == 1, "a study is listed once"
    assert Path("worklist.csv").read_text(encoding="utf-8").splitlines()[0].startswith("place,study,level")
    again = invoke("triage", "inbox/", "--out", "worklist.csv", "--json")
    jsonschema.validate(json.loads(again.stdout), load_schema("answer"))
    assert json.loads(again.stdout).get("untrained", []) == []


def test_the_order_is_shown_as_it_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, studies stand in order with their reasons, and no name acts as markup or as a control code."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    stat = TriagedStudy(
        path="in/[red]b\x1b[2J", stamp="", arrived=2.0, level="immediate", reasons=("requested as STAT",)
    )
    late = TriagedStudy(path="in/a", stamp="", arrived=1.0)
    with LiveOrder(quiet=False) as live:
        live.update(1, 3, [late])
        live.update(2, 3, [stat, late])
    text = shown.getvalue()
    assert "2 of 3 studies" in text
    assert "[red]b" in text
    assert "\x1b[2J" not in text
    last = text[text.rindex("2 of 3 studies") :]
    assert last.index("requested as STAT") < last.index("routine")
    quiet = Terminal()
    monkeypatch.setattr("sys.stderr", quiet)
    with LiveOrder(quiet=True) as live:
        live.update(1, 1, [late])
    assert quiet.getvalue() == ""


def test_a_file_of_others_is_kept(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "x.dcm").write_bytes(b"x")
    (tmp_path / "mine.csv").write_text("a,b\n", encoding="utf-8")
    require_refusal(invoke("triage", tmp_path / "inbox", "--out", tmp_path / "mine.csv"))
    assert (tmp_path / "mine.csv").read_text(encoding="utf-8") == "a,b\n"


def test_a_folder_in_which_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "x.dcm").write_bytes(b"x")
    result = invoke("triage", tmp_path / "inbox", "--out", tmp_path / "list.csv", "--model", "gemma-3-270m")
    assert result.exit_code == 2
    assert "x.dcm" in result.stdout
    assert ",failed," in (tmp_path / "list.csv").read_text(encoding="utf-8")


def test_weights_that_find_nothing_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    code = f"from osler.tasks.triage import *\ntriage(TriageRequest(model='gemma-3-270m', inbox={str(tmp_path)!r}))"
    assert "torch" not in loaded_after(code)
