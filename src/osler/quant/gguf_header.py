"""What a GGUF file says of a network and its tokenizer, in llama.cpp's terms.

The keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import RequestError
from osler.model.config import DecoderConfig, OslerConfig
from osler.weights.gguf_config import config_from_gguf
from osler.weights.gguf_file import BLOCK_FORMATS, GgufFile, GgufTensor
from osler.weights.tokenizer_files import Vocabulary

_NORMAL, _UNUSED = 1, 5
_CONTROL_SCORE = -1000.0
_TOKENIZER = "tokenizer.ggml."


def header(config: OslerConfig, *, name: str, licence: str, tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metadata of a file.

    Args:
        config: Of the network.
        name: Of the model. licence: Of its weights.
        tokenizer: From `tokenizer_of_vocabulary` or `tokenizer_of_file`.

    Raises:
        RequestError: If GGUF cannot describe the decoder, so that llama.cpp would compute something else.
    """
    kind, content = _decoder(config.decoder)
    described = {
        "general.architecture": kind,
        "general.name": name,
        "general.license": licence,
        **{f"{kind}.{key}": value for key, value in content.items()},
        **tokenizer,
        f"{_TOKENIZER}bos_token_id": config.tokens.bos,
        f"{_TOKENIZER}eos_token_id": config.tokens.eos,
        f"{_TOKENIZER}eot_token_id": config.tokens.end_of_turn,
        f"{_TOKENIZER}padding_token_id": config.tokens.pad,
    }
    _require_same(config, described)
    return described


def tokenizer_of_file(file: GgufFile, *, rows: int) -> dict[str, Any]:
    """Returns the tokenizer's metadata of another file, for an embedding that may have more rows than it.

    Args:
        rows: Of the embedding.
    """
    found = {key: value for key, value in file.metadata.items() if key.startswith(_TOKENIZER)}
    return found | _filled(
        list(found[f"{_TOKENIZER}tokens"]),
        scores=np.asarray(found[f"{_TOKENIZER}scores"], dtype=np.float32),
        kinds=np.asarray(found[f"{_TOKENIZER}token_type"], dtype=np.int32),
        rows=rows,
    )


def tokenizer_of_vocabulary(vocabulary: Vocabulary, *, rows: int) -> dict[str, Any]:
    """Returns the metadata of a tokenizer.

    The merges of Gemma's tokenizer apply in the order of the pieces' ids, which
    llama.cpp reads from falling scores.

    Args:
        rows: Of the embedding, which may be more than there are pieces.
    """
    pieces, kinds = list(vocabulary.pieces), np.asarray(vocabulary.kinds, dtype=np.int32)
    normal = kinds == _NORMAL
    scores = np.full(len(pieces), _CONTROL_SCORE, dtype=np.float32)
    scores[normal] = -np.arange(normal.sum(), dtype=np.float32)
    return {
        f"{_TOKENIZER}model": "llama",
        f"{_TOKENIZER}pre": "default",
        **_filled(pieces, scores=scores, kinds=kinds, rows=rows),
        f"{_TOKENIZER}unknown_token_id": pieces.index("<unk>") if "<unk>" in pieces else 3,
        f"{_TOKENIZER}add_bos_token": True,
        f"{_TOKENIZER}add_eos_token": False,
        f"{_TOKENIZER}add_space_prefix": False,
    }


def _filled(pieces: list[str], *, scores: np.ndarray, kinds: np.ndarray, rows: int) -> dict[str, Any]:
    """Fills a vocabulary up: llama.cpp refuses an embedding whose rows are not as many as its tokens."""
    more = max(0, rows - len(pieces))
    names = [f"[PAD{number}]" for number in range(len(pieces), len(pieces) + more)]
    return {
        f"{_TOKENIZER}tokens": [*pieces[:rows], *names],
        f"{_TOKENIZER}scores": np.pad(scores[:rows], (0, more), constant_values=_CONTROL_SCORE),
        f"{_TOKENIZER}token_type": np.pad(kinds[:rows], (0, more), constant_values=_UNUSED),
    }


def _decoder(config: DecoderConfig) -> tuple[str, dict[str, Any]]:
    kind = "gemma3" if config.qk_norm == "rms" else "gemma2"
    content: dict[str, Any] = {
        "context_length": config.max_positions,
        "embedding_length": config.width,
        "block_count": config.layers,
        "feed_forward_length": config.mlp_width,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
        "attention.sliding_window": config.window,
        "rope.freq_base": config.rope_theta,
    }
    if config.rope_scale != 1.0:
        content |= {"rope.scaling.type": "linear", "rope.scaling.factor": config.rope_scale}
    if kind == "gemma2":
        content |= {
            "attn_logit_softcapping": config.attention_softcap,
            "final_logit_softcapping": config.logit_softcap,
        }
    return kind, {key: value for key, value in content.items() if value is not None}


def _require_same(config: OslerConfig, described: dict[str, Any]) -> None:
    """Reads the metadata as they will be read, and compares."""
    decoder = config.decoder
    table = GgufTensor(
        name="token_embd.weight", shape=(decoder.vocab, decoder.width), format=BLOCK_FORMATS[0], offset=0
    )
    file = GgufFile(path=Path("header"), metadata=described, tensors={table.name: table}, data=np.empty(0, np.uint8))
    found = config_from_gguf(file).decoder
    differing = [key for key in decoder.__dataclass_fields__ if getattr(found, key) != getattr(decoder, key)]
    if differing:
        shown = ", ".join(f"{key} {getattr(decoder, key)!r}" for key in differing)
        raise RequestError(
            f"GGUF cannot describe the decoder of {config.name!r}: {shown}.",
            allowed="The shapes of the published Gemma 2 and Gemma 3.",
            next_step="Write a folder instead: --out FOLDER.",
        )
