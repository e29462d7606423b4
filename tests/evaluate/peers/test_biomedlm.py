"""BioMedLM's layout is read, scaled by layer, and continues a question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from osler.errors import CheckpointError, RequestError
from osler.evaluate.peers import find_peer
from osler.evaluate.peers.biomedlm import BioMedLMPeer
from osler.evaluate.responder import Inquiry


def write(folder: Path, *, scaled: bool = True) -> GPT2LMHeadModel:
    """A tiny GPT-2 with a byte-level tokenizer, in the published files."""
    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    vocab = {letter: number for number, letter in enumerate(letters)} | {"<|endoftext|>": len(letters)}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokens = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **tokens}))
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(vocab), n_embd=24, n_layer=3, n_head=2, n_positions=96, bos_token_id=len(letters),
        eos_token_id=len(letters), scale_attn_by_inverse_layer_idx=scaled, initializer_range=0.2,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    return model


def test_choices_are_scored_as_the_reference_scores_them(tmp_path: Path) -> None:
    reference = write(tmp_path)
    assert isinstance(find_peer(str(tmp_path)), BioMedLMPeer)
    responder = BioMedLMPeer().load(tmp_path, device="cpu")
    inquiry = Inquiry(study=None, question="Is it (A) or (B)?")
    scores = responder.score(inquiry, ["(A)", "(B)"])
    tokenizer = responder._tokenizer
    for choice, score in zip(["(A)", "(B)"], scores, strict=True):
        prompt = tokenizer("Is it (A) or (B)?\nAnswer:")["input_ids"]
        answer = tokenizer(f" {choice}")["input_ids"]
        ids = torch.tensor([[*prompt, *answer]])
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.inference_mode():
            loss = reference(input_ids=ids, labels=labels).loss
        assert score == pytest.approx(-float(loss) * len(answer), abs=1e-3)
    (text,) = responder.ask([inquiry], max_tokens=5)
    assert isinstance(text, str)


def test_a_long_question_keeps_its_end(tmp_path: Path) -> None:
    write(tmp_path)
    responder = BioMedLMPeer().load(tmp_path, device="cpu")
    inputs = responder.inputs(Inquiry(study=None, question="x" * 500))
    assert inputs["input_ids"].shape[1] == 48
    assert responder._tokenizer.decode(inputs["input_ids"][0]).endswith("x\nAnswer:")
    responder.ask([Inquiry(study=None, question="x" * 500)], max_tokens=400)


def test_another_gpt2_is_refused(tmp_path: Path) -> None:
    write(tmp_path, scaled=False)
    with pytest.raises(CheckpointError, match="scale_attn_by_inverse_layer_idx"):
        BioMedLMPeer().load(tmp_path, device="cpu")


def test_a_missing_extra_gives_the_line_for_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    write(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RequestError, match=r"pip install 'osler\[peers\]'"):
        BioMedLMPeer().load(tmp_path, device="cpu")
