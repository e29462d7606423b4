"""``osler quantize``, ``osler build-kernels`` and ``--bits``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from osler.model.osler import Osler
from osler.weights import read_gguf, save_huggingface
from osler.weights.safetensors_io import read_metadata
from osler.weights.tokenizer import GemmaTokenizer
from tests.cli.mini import needs_mini
from tests.cli.running import invoke
from tests.engine.conftest import config, model, tokenizer

__all__ = ["config", "model", "tokenizer"]


@needs_mini
def test_the_mini_is_quantized_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_KERNELS", "torch")
    out = tmp_path / "mini4"
    made = invoke("quantize", "osler-mini", "--bits", "4", "--calibration", "none", "--out", str(out), "--json")
    assert made.exit_code == 0, made.output
    content = json.loads(made.stdout)
    assert content["formats"] == ["int4-g32-asym", "int8-g32"]
    assert content["calibration"] == "none"
    assert content["bytes"] < 0.5 * content["bfloat16_bytes"]
    asked = invoke("ask", "--no-image", "What is pneumonia?", "--model", str(out), "--max-tokens", "6", "--json")
    assert asked.exit_code == 0, asked.output
    answer = json.loads(asked.stdout)
    assert answer["model"]["bits"] == 4
    assert answer["text"].strip()
    again = invoke("quantize", "osler-mini", "--out", str(out))
    assert again.exit_code == 2
    assert "not an empty folder" in again.output


@pytest.fixture(scope="module")
def debug(tmp_path_factory: pytest.TempPathFactory, model: Osler, tokenizer: GemmaTokenizer) -> str:
    """A small network with random weights as a folder."""
    place = tmp_path_factory.mktemp("model") / "debug"
    save_huggingface(model, place, tokenizer=tokenizer)
    return str(place)


def test_four_bits_are_calibrated(debug: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "debug4"
    made = invoke("quantize", debug, "--calibration-tokens", "900", "--out", str(out), "--json")
    assert made.exit_code == 0, made.output
    content = json.loads(made.stdout)
    assert content["calibration"] == "gptq"
    assert 900 <= content["calibration_tokens"] < 2000
    assert content["folder"] == str(out)
    assert "synthetic reports" in json.loads(read_metadata(out / "weights.safetensors")["calibration"])["source"]


def test_a_file_for_llama_cpp(debug: str, tmp_path: Path) -> None:
    out = tmp_path / "debug.gguf"
    made = invoke("quantize", debug, "--bits", "8", "--out", str(out))
    assert made.exit_code == 0, made.output
    assert "decoder and the tokenizer" in made.output
    assert read_gguf(out).tensor("blk.0.ffn_down.weight").format.name == "Q8_0"
    assert [path.name for path in tmp_path.iterdir()] == ["debug.gguf"]
    again = invoke("quantize", debug, "--bits", "8", "--out", str(out))
    assert again.exit_code == 2
    assert "exists" in again.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--calibration", "gtpq"), "Unknown calibration 'gtpq'"),
        (("--calibration-tokens", "0"), "A calibration on 0 tokens"),
        (("--layers", "int4-g128"), "Groups of 128 do not divide the 64 inputs"),
        (("--layers", "int3-g32"), "Weights of 3 bits do not exist here"),
        (("--calibration", "none", "--calibration-tokens", "900"), "none of them would be read"),
        (("--bits", "8", "--calibration-tokens", "900"), "Methods that read them: awq, gptq, awq-gptq"),
        (("--layers", "int8-g32"), "'int8-g32' for the layers has 8 bits, and 4 were asked for"),
        (
            ("--bits", "8", "--layers", "int8-g32-asym", "--out", "x.gguf"),
            "GGUF has no blocks of 8 bits with an",
        ),
    ],
)
def test_what_cannot_be_quantized_is_said(
    debug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("quantize", debug, "--out", "new", *options)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


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
