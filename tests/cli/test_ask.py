"""``osler ask``: arguments, refusals before any work, and one real answer."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from osler.cli.ask import path_and_question
from osler.cli.demo import demo_scan
from osler.errors import RequestError
from osler.writers import SAFETY_NOTE, is_own_picture, load_schema
from tests.cli.mini import needs_mini
from tests.cli.running import SOURCES, invoke, loaded_after, require_refusal

_QUESTION = "Which part of the body does this scan show?"


def test_a_path_and_a_question() -> None:
    assert path_and_question("a.dcm", "Why?", no_image=False) == ("a.dcm", "Why?")
    assert path_and_question("Why?", None, no_image=True) == (None, "Why?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None), r"Neither a scan nor a question.*osler ask PATH"),
        (("What is this?", None), r"A question without an image: 'What is this\?'.*add --no-image"),
        ((__file__, None), r"No question about '.*test_ask.py'.*Add a question"),
    ],
)
def test_what_is_missing_is_said(arguments: tuple[str | None, str | None], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        path_and_question(*arguments, no_image=False)


def test_no_image_takes_only_a_question() -> None:
    with pytest.raises(RequestError, match="--no-image without a question"):
        path_and_question(None, None, no_image=True)
    with pytest.raises(RequestError, match=r"'a.dcm' would not be looked at"):
        path_and_question("a.dcm", "Why?", no_image=True)


def test_a_question_without_an_image_is_refused_however_long() -> None:
    result = invoke("ask", "Why? " * 20_000)
    require_refusal(result)
    assert "A question without an image" in result.stderr
    assert len(result.stderr) < 500


@pytest.mark.parametrize(
    ("question", "message"),
    [("", "The question is empty"), (" \n", "The question is empty"), ("x" * 100_000, "100,000 characters")],
)
def test_an_empty_or_endless_question_is_refused(question: str, message: str) -> None:
    error = require_refusal(invoke("ask", demo_scan(), question, "--json"), as_json=True)
    assert message in error["problem"]
    assert error["kind"] == "RequestError"


@pytest.mark.parametrize("command", [("ask", _QUESTION), ("inspect",)])
def test_a_picture_that_cannot_be_written_is_refused_first(command: tuple[str, ...], tmp_path: Path) -> None:
    name, *question = command
    # The scan is absent too: the picture is looked at before anything is read.
    result = invoke(name, tmp_path / "absent.dcm", *question, "--picture", tmp_path / "no" / "seen.png")
    require_refusal(result)
    assert "No folder" in result.stderr


def test_a_foreign_picture_is_kept(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("L", (2, 2)).save(photo)
    before = photo.read_bytes()
    result = invoke("ask", demo_scan(), _QUESTION, "--picture", photo)
    require_refusal(result)
    assert "which Osler did not write" in result.stderr
    assert "--force" in result.stderr
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value"), [("--max-tokens", "0"), ("--top-p", "1.5"), ("--seed", "x"), ("--temperature", "-1")]
)
def test_options_out_of_range_are_refused(option: str, value: str) -> None:
    result = invoke("ask", demo_scan(), _QUESTION, option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


def test_options_that_only_sampling_knows_are_refused_without_loading_torch() -> None:
    code = (
        "from osler.cli.app import app\n"
        "from typer.testing import CliRunner\n"
        f"run = CliRunner().invoke(app, ['ask', {str(demo_scan())!r}, 'Why?', '--top-p', '0'])\n"
        "assert run.exit_code == 2 and 'The top_p 0.0 is out of range' in run.stderr, run.output"
    )
    assert "torch" not in loaded_after(code)


@pytest.mark.parametrize("command", [("ask", demo_scan(), _QUESTION), ("chat", demo_scan()), ("report", demo_scan())])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--speculation", "lokup"), ("Unknown speculation 'lokup'", "Did you mean 'lookup'?")),
        (("--speculation", "lookup", "--backend", "jax"), ("nothing would be guessed ahead", "one greedy answer")),
    ],
    ids=["unknown", "jax"],
)
def test_guessing_ahead_is_checked_first(
    command: tuple[str | Path, ...], options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    if "jax" in options and importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install 'osler[jax]'")
    result = invoke(*command, *options)
    require_refusal(result)
    assert all(word in result.stderr for word in words)


def test_drawn_answers_are_not_guessed_ahead() -> None:
    result = invoke("ask", demo_scan(), _QUESTION, "--speculation", "lookup", "--temperature", "0.7")
    require_refusal(result)
    assert "'lookup' with a temperature of 0.7" in result.stderr


@needs_mini
def test_guessing_ahead_leaves_the_answer() -> None:
    texts = []
    for speculation in ("none", "lookup"):
        result = invoke(
            "ask", demo_scan(), _QUESTION, "--max-tokens", 16, "--bits", 8, "--json", "--speculation", speculation
        )
        assert result.exit_code == 0, result.output
        texts.append(json.loads(result.stdout)["text"])
    assert texts[0] == texts[1] != ""


def test_an_unknown_model_is_named_with_the_nearest() -> None:
    error = require_refusal(invoke("ask", demo_scan(), _QUESTION, "--model", "oslermini", "--json"), as_json=True)
    assert error["problem"] == "Unknown model 'oslermini'."
    assert error["next_step"] == "Did you mean 'osler-mini'?"


@needs_mini
def test_a_real_answer_as_json_with_a_picture(tmp_path: Path) -> None:
    target = tmp_path / "seen.png"
    result = invoke("ask", demo_scan(), _QUESTION, "--json", "--picture", target, "--max-tokens", 32)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    jsonschema.validate(record, load_schema("answer"))
    assert record["text"]
    assert record["model"]["name"] == "osler-mini"
    assert len(record["preprocess"]) == 64
    (used,) = record["used"]
    assert used["modality"] == "CT"
    assert used["tokens"] == 64
    (evidence,) = record["evidence"]
    assert evidence["file"] == str(demo_scan())
    assert {"read", "load", "prepare", "encode", "prefill", "decode"} <= record["timings"].keys()
    assert is_own_picture(target)
    assert sorted(os.listdir(tmp_path)) == ["seen.png"]


@needs_mini
def test_a_real_answer_as_text_names_what_it_rests_on() -> None:
    result = invoke("ask", demo_scan(), _QUESTION, "--max-tokens", 32)
    assert result.exit_code == 0, result.output
    answer, evidence = result.stdout.split("\n\n", 1)
    assert answer.strip()
    for part in ("Used      CT", "Model     osler-mini", "Views     preprocessing ", "Time      read ", SAFETY_NOTE):
        assert part in evidence


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="watches the process through /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_question_leaves_nothing(number: signal.Signals, code: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "osler", "ask", "--no-image", "Why?", "--model", "gemma-3-270m", "--picture", "a.png"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    patience = time.monotonic() + 120
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text() and time.monotonic() < patience:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == []
