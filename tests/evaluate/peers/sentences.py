"""A small SentencePiece tokenizer as Llama's and Mistral's folders hold one, trained on a few sentences."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece

_TEXT = (
    "[INST] Is there a mass in the left lung? [/INST] Yes",
    "No, the heart and lungs are normal.",
    "CT of the head",
)


def write_sentencepiece(folder: Path) -> int:
    """Writes ``tokenizer.model`` and its configuration; returns the size of the vocabulary."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXT * 20),
        model_writer=out,
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        hard_vocab_limit=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    config = {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": True,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    return loaded.vocab_size()
