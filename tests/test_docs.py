"""README and docs say what is so: snippets run, commands exist, generated pages are fresh."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from osler.cli import failure
from osler.cli.demo import demo_scan
from osler.weights.catalog import MINI_FOLDER
from tests.cli.mini import needs_mini
from tests.cli.running import invoke
from tests.readers import make_slide
from tests.readers.make_document import make_pdf
from tests.readers.make_fhir import observation, patient, write

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [text for kind, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> list[str]:
    """The ``osler`` commands in the console blocks of a page, continued lines joined."""
    lines = "".join(blocks(page, language="console")).replace("\\\n", " ").splitlines()
    typed = [line.removeprefix("$ ").replace(".venv/bin/osler", "osler") for line in lines if line.startswith("$ ")]
    return [line for line in typed if line.startswith("osler ")]


def speaks(text: str) -> bool:
    """Whether a snippet or a command needs the words of the trained model."""
    return "osler.load" in text or (
        re.match(r"osler (ask|chat|index|search|report|locate|findings|compare|demo|doctor|quantize|train)\b", text)
        is not None
        and "||" not in text
    )


PYTHON_PAGES = [
    pytest.param(page, id=page.name, marks=[needs_mini] if any(map(speaks, snippets)) else [])
    for page in PAGES
    if (snippets := blocks(page, language="python"))
]
COMMANDS = [
    pytest.param(line, id=f"{page.stem}: {line}", marks=[needs_mini] if speaks(line) else [])
    for page in PAGES
    for line in commands(page)
]


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_snippets_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    expected: list[str] = []
    for snippet in blocks(page, language="python"):
        exec(compile(snippet, str(page), "exec"), names)
        expected += re.findall(r"^print\(.*\)  # (.*)$", snippet, re.MULTILINE)
    printed = capsys.readouterr().out
    for line in expected:
        assert line in printed.splitlines()


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(demo_scan(), folder / "1.dcm")
    for name, width in (("now.json", 90), ("before.json", 60)):
        (tmp_path / name).write_text(f'[{{"label": "nodule", "x0": 9, "y0": 9, "x1": {width}, "y1": 40}}]')
    write(tmp_path / "record.json", patient(), observation(), observation(value=1.1, date="2020-01-01"))
    if "slide.svs" in line:
        pixels = make_slide.tissue_pixels(width=2000, height=1900, blobs=((0.4, 0.4, 0.3),))
        make_slide.write_svs(tmp_path / "slide.svs", pixels)
    if "archive" in line:
        (tmp_path / "archive").mkdir()
        shutil.copytree(folder, tmp_path / "archive" / "one")
        (tmp_path / "archive" / "one" / "report.txt").write_text("A pleural effusion on the left.")
    if "search archive.index" in line:
        invoke("index", tmp_path / "archive", "--out", tmp_path / "archive.index")
    if "osler train" in line or "my-model" in line:
        # The words of a small run; that it learns is tested in tests/train/test_fine_tune_how_to.py.
        rows = [f"folder/1.dcm,What is it?,A scan.,{side}" for side in ("train", "kept-out")]
        (tmp_path / "scans.csv").write_text("\n".join(["path,question,answer,split", *rows]))
    if "--model my-model" in line:
        invoke("train", "--csv", tmp_path / "scans.csv", "--out", tmp_path / "my-model", "--steps", "1")
    if "report.pdf" in line:
        make_pdf(tmp_path / "report.pdf", [[(60, "Potassium"), (200, "4.1 mmol/L"), (330, "3.5 - 5.1")]])
    monkeypatch.chdir(tmp_path)
    refused = "||" in line
    words = shlex.split(line.split("||")[0].split(">")[0])[1:]
    places = {"path/to/dicom-folder": "folder", "path/to/folder": "folder", "scan.nii.gz": "folder", "PATH": "folder"}
    places |= {"today": "folder", "before": "folder"}
    few = ["--steps", "1"] if line.startswith("osler train --csv") else []
    result = invoke(*(places.get(word, word) for word in words), *few)
    assert result.exit_code == (2 if refused else 0), result.output


def test_the_command_reference_is_what_the_commands_say() -> None:
    check = subprocess.run([sys.executable, ROOT / "docs" / "reference" / "generate.py", "--check"], check=False)
    assert check.returncode == 0, "docs/reference/cli.md is stale: run `make docs`"


def test_links_lead_somewhere() -> None:
    card = MINI_FOLDER / "MODEL_CARD.md"
    for page in (*PAGES, *sorted((ROOT / "benchmarks").glob("*.md")), *([card] if card.is_file() else [])):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            # The model card comes with the trained parts.
            absent = MINI_FOLDER.name in Path(target).parts and not (MINI_FOLDER / "config.json").is_file()
            assert absent or (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_two_commands_of_the_readme_are_targets() -> None:
    shown = "".join(blocks(ROOT / "README.md", language="console"))
    for target in ("demo", "test"):
        assert f"$ make {target}" in shown
        subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)


def test_every_exit_code_is_on_the_page_for_scripts() -> None:
    page = (ROOT / "docs/how-to/json-for-scripts.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+) +\S", failure.__doc__ or "", re.MULTILINE)
    assert listed == ["0", "1", "2", "130", "141", "143"]
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == listed
