"""Tokenizer files read back to the same ids."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from osler.errors import CheckpointError
from osler.weights.gguf_file import GgufFile
from osler.weights.tokenizer import GemmaTokenizer


def _beside(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


corpus = _beside("tokenizer_corpus").corpus
sentencepiece_model = _beside("sentencepiece_model").sentencepiece_model


def _same_ids(first: GemmaTokenizer, second: GemmaTokenizer) -> bool:
    return all(
        first.encode(text, specials=specials) == second.encode(text, specials=specials)
        for text in corpus(2000)
        for specials in ("text", "parse")
    )


def test_a_saved_tokenizer_reads_back(tokenizer: GemmaTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    again = GemmaTokenizer.from_folder(tmp_path)
    assert len(again) == len(tokenizer)
    assert _same_ids(tokenizer, again)


def test_a_sentencepiece_file_reads_as_the_gguf_does(
    tokenizer: GemmaTokenizer, embedded: GgufFile, tmp_path: Path
) -> None:
    pieces = list(embedded.value("tokenizer.ggml.tokens"))
    # The original file has turn and unused tokens as user-defined symbols; they are control tokens all the same.
    kinds = [
        4 if piece.startswith(("<unused", "<start_of", "<end_of")) else int(kind)
        for piece, kind in zip(pieces, embedded.value("tokenizer.ggml.token_type"), strict=True)
    ]
    scores = [float(score) for score in embedded.value("tokenizer.ggml.scores")]
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model(pieces, kinds=kinds, scores=scores))
    assert _same_ids(tokenizer, GemmaTokenizer.from_folder(tmp_path))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tokenizer.*needs tokenizer\.json or tokenizer\.model"):
        GemmaTokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        json.dumps({"model": {"type": "Unigram"}, "added_tokens": []}).encode(),
        json.dumps(
            {"model": {"type": "BPE", "byte_fallback": True, "vocab": {"a": 5}, "merges": []}, "added_tokens": []}
        ).encode(),
    ],
)
def test_a_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json' is not a Gemma tokenizer"):
        GemmaTokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x0a", b"\x0a\xff", b"random bytes", b"\xff" * 40])
def test_a_damaged_model_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model' is not a Gemma tokenizer"):
        GemmaTokenizer.from_folder(tmp_path)
