"""Gemma's tokenizer against the SentencePiece library, and what no user text may do."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import CheckpointError
from osler.weights.gguf_file import GgufFile
from osler.weights.tokenizer import GemmaTokenizer

_HERE = Path(__file__).parent


def _beside(name: str):
    spec = importlib.util.spec_from_file_location(name, _HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


corpus = _beside("tokenizer_corpus").corpus
sentencepiece_model = _beside("sentencepiece_model").sentencepiece_model

_GUARDED = ("[multimodal]", "<start_of_image>", "<end_of_image>")


@pytest.fixture(scope="module")
def original(embedded: GgufFile) -> sentencepiece.SentencePieceProcessor:
    pieces = list(embedded.value("tokenizer.ggml.tokens"))
    # SentencePiece never matches control pieces in text, which is what specials="text" promises.
    kinds = [
        3 if piece in _GUARDED else int(kind)
        for piece, kind in zip(pieces, embedded.value("tokenizer.ggml.token_type"), strict=True)
    ]
    scores = [float(score) for score in embedded.value("tokenizer.ggml.scores")]
    return sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(pieces, kinds=kinds, scores=scores))


def test_user_text_is_encoded_as_sentencepiece_does(
    tokenizer: GemmaTokenizer, original: sentencepiece.SentencePieceProcessor
) -> None:
    strings = [text for text in corpus() if " " * 32 not in text and "\0" not in text]
    assert len(strings) > 8000
    differing = [text for text in strings if tokenizer.encode(text) != original.encode(text)]
    assert not differing, f"{len(differing)} differ, such as {differing[0]!r}"


def test_every_string_comes_back(tokenizer: GemmaTokenizer) -> None:
    for text in corpus():
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode(tokenizer.encode(text, specials="parse"), specials="text") == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_characters="\u2581", exclude_categories=["Cs"])))
def test_any_text_comes_back(tokenizer: GemmaTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("piece", "number"),
    [
        ("<pad>", 0),
        ("<eos>", 1),
        ("<bos>", 2),
        ("<start_of_turn>", 105),
        ("<end_of_turn>", 106),
        ("<start_of_image>", 255_999),
        ("<end_of_image>", 256_000),
        ("<unused99>", 256_001),
        ("<image_soft_token>", 262_144),
        ("[multimodal]", 5),
    ],
)
def test_control_tokens_are_ids_when_parsed_and_letters_when_not(
    tokenizer: GemmaTokenizer, piece: str, number: int
) -> None:
    assert tokenizer.encode(f"a{piece}b", specials="parse")[1:-1] == [number]
    ids = tokenizer.encode(f"a{piece}b")
    assert number not in ids
    assert not any(tokenizer.is_control(token) for token in ids)
    assert tokenizer.decode(ids) == f"a{piece}b"
    assert tokenizer.token_id(piece) == number


def test_no_user_text_yields_a_control_token(tokenizer: GemmaTokenizer) -> None:
    controls = [piece for piece in tokenizer.control_pieces() if piece]
    assert len(controls) == 6253
    glued = "".join(controls) + " ".join(controls) + "\n".join(reversed(controls))
    assert not any(tokenizer.is_control(token) for token in tokenizer.encode(glued))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("\n\n", [108]),
        ("\n\n\n\n", [110]),
        ("\n" * 32, [137, 107]),
        ("  ", [138]),
        (" " * 31, [167]),
        ("<table>", [168]),
        ("\0", [238]),
        ("", []),
    ],
)
def test_runs_and_tags_are_single_tokens(tokenizer: GemmaTokenizer, text: str, ids: list[int]) -> None:
    assert tokenizer.encode(text) == ids


def test_beginning_of_sequence_is_never_added(tokenizer: GemmaTokenizer) -> None:
    assert 2 not in tokenizer.encode("Hello", specials="parse")


def test_a_lone_surrogate_is_read_as_a_question_mark(tokenizer: GemmaTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\udc80b")) == "a?b"


def test_a_stream_never_emits_half_a_character(tokenizer: GemmaTokenizer) -> None:
    text = "Befund 🫁 ok 𒀀\U0010ffff"
    ids = tokenizer.encode(text)
    assert len(ids) > len(text) - 4
    stream = tokenizer.stream()
    chunks = [stream.push(token) for token in ids]
    assert "" in chunks
    assert not any("\ufffd" in chunk for chunk in chunks)
    assert "".join(chunks) + stream.finish() == text


def test_an_unfinished_character_becomes_one_replacement_at_the_end(tokenizer: GemmaTokenizer) -> None:
    stream = tokenizer.stream()
    emitted = [stream.push(token) for token in tokenizer.encode("a🫁")[:-1]]
    assert "".join(emitted) == "a"
    assert stream.finish() == "\ufffd"


def test_decoding_skips_control_tokens_unless_asked(tokenizer: GemmaTokenizer) -> None:
    ids = tokenizer.encode("<start_of_turn>model\nClear.<end_of_turn>", specials="parse")
    assert tokenizer.decode(ids) == "model\nClear."
    assert tokenizer.decode(ids, specials="text") == "<start_of_turn>model\nClear.<end_of_turn>"
    assert tokenizer.decode([10**6, -1]) == ""


def test_an_unknown_piece_is_named(tokenizer: GemmaTokenizer) -> None:
    with pytest.raises(CheckpointError, match="lacks '<box>'"):
        tokenizer.token_id("<box>")


def test_a_long_question_takes_no_time(tokenizer: GemmaTokenizer) -> None:
    assert len(tokenizer.encode("a" * 100_000)) < 100_000


@pytest.mark.parametrize("change", [{"tokenizer.ggml.tokens": 3}, {"tokenizer.ggml.tokens": ["a"]}])
def test_a_damaged_vocabulary_is_named(embedded: GgufFile, change: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="does not parse"):
        GemmaTokenizer.from_gguf(replace(embedded, metadata=embedded.metadata | change))


def test_another_kind_of_tokenizer_is_named(embedded: GgufFile) -> None:
    other = replace(embedded, metadata=embedded.metadata | {"tokenizer.ggml.model": "gpt2"})
    with pytest.raises(CheckpointError, match=r"of kind 'gpt2'.*SentencePiece"):
        GemmaTokenizer.from_gguf(other)
