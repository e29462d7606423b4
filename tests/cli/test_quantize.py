"""``osler quantize``, ``osler build-kernels`` and ``--bits``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.mini import needs_mini
from tests.cli.running import invoke


@needs_mini
def test_the_mini_is_quantized_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_KERNELS", "torch")
    out = tmp_path / "mini4"
    made = invoke("quantize", "osler-mini", "--bits", "4", "--out", str(out), "--json")
    assert made.exit_code == 0, made.output
    content = json.loads(made.stdout)
    assert content["formats"] == ["int4-g32-asym", "int8-g32"]
    assert content["bytes"] < 0.5 * content["bfloat16_bytes"]
    asked = invoke("ask", "--no-image", "What is pneumonia?", "--model", str(out), "--max-tokens", "6", "--json")
    assert asked.exit_code == 0, asked.output
    answer = json.loads(asked.stdout)
    assert answer["model"]["bits"] == 4
    assert answer["text"].strip()
    again = invoke("quantize", "osler-mini", "--out", str(out))
    assert again.exit_code == 2
    assert "not an empty folder" in again.output


@pytest.mark.parametrize("command", [("ask", "--no-image", "Why?"), ("findings", "x.png"), ("triage", "inbox")])
def test_bits_that_do_not_exist_are_refused_at_once(command: tuple[str, ...]) -> None:
    result = invoke(*command, "--bits", "3")
    assert result.exit_code == 2
    assert "3 bits do not exist here" in result.output


def test_quantizing_to_three_bits_is_refused(tmp_path: Path) -> None:
    result = invoke("quantize", "gemma-3-270m", "--bits", "3", "--out", str(tmp_path / "new"))
    assert result.exit_code == 2
    assert "4 or 8 bits" in result.output


def test_without_a_compiler_nothing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path))
    lenient = invoke("build-kernels", "--if-possible")
    assert lenient.exit_code == 0, lenient.output
    assert "no C++ compiler" in lenient.output
    assert invoke("build-kernels").exit_code == 2
