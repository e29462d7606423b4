"""What a GGUF file says about its network, in Osler's terms: configuration and tensor names."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from osler.errors import CheckpointError
from osler.model.config import DecoderConfig, OslerConfig, TokenIds
from osler.weights.gguf_file import GgufFile

# llama.cpp's names, left, and the published ones.
_OUTER = {"token_embd.weight": "language_model.embed_tokens.weight", "output_norm.weight": "language_model.norm.weight"}
_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_norm.weight": "pre_feedforward_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "post_ffw_norm.weight": "post_feedforward_layernorm.weight",
}
_ARCHITECTURES = ("gemma2", "gemma3")


def config_from_gguf(file: GgufFile) -> OslerConfig:
    """Returns the configuration that a GGUF file's metadata describe: text only.

    Raises:
        CheckpointError: If the file holds another architecture or lacks a value.
    """
    kind = file.value("general.architecture")
    if kind not in _ARCHITECTURES:
        raise CheckpointError(
            f"{str(file.path)!r} holds a network of architecture {kind!r}.",
            allowed=f"Osler runs {' and '.join(_ARCHITECTURES)} files.",
            next_step="Choose a Gemma 2 or Gemma 3 file.",
        )
    try:
        return _config(file, kind=kind)
    except (TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"The metadata of {str(file.path)!r} make no network: {error}.",
            next_step="Convert the model again with a current llama.cpp.",
        ) from error


def gguf_names(file: GgufFile) -> dict[str, str]:
    """Returns llama.cpp's names by the published ones."""
    return {_published(name): name for name in file.tensors if name != "rope_freqs.weight"}


def gguf_name(published: str) -> str:
    """Returns llama.cpp's name of a tensor of the decoder.

    Raises:
        KeyError: If it is none.
    """
    own = {name: outer for outer, name in _OUTER.items()}
    if published in own:
        return own[published]
    block, _, rest = published.removeprefix("language_model.layers.").partition(".")
    return f"blk.{block}.{({name: inner for inner, name in _LAYER.items()})[rest]}"


def gguf_tensors(file: GgufFile, *, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the tensors under their published names, one at a time.

    llama.cpp stores the factor ``1 + w`` of a Gemma norm; the published tensor is ``w``.
    """
    for name in file.tensors:
        if name == "rope_freqs.weight":
            continue
        published = _published(name)
        if name.endswith("norm.weight"):
            yield published, (file.read(name, dtype=torch.float32) - 1).to(dtype)
        else:
            yield published, file.read(name, dtype=dtype)


def _config(file: GgufFile, *, kind: str) -> OslerConfig:
    heads = int(file.value(f"{kind}.attention.head_count"))
    width = int(file.value(f"{kind}.embedding_length"))
    head_dim = int(file.metadata.get(f"{kind}.attention.key_length", 256))
    common = DecoderConfig(
        vocab=file.tensor("token_embd.weight").shape[0],
        width=width,
        mlp_width=int(file.value(f"{kind}.feed_forward_length")),
        layers=int(file.value(f"{kind}.block_count")),
        heads=heads,
        kv_heads=int(file.value(f"{kind}.attention.head_count_kv")),
        head_dim=head_dim,
        window=int(file.value(f"{kind}.attention.sliding_window")),
        norm_eps=_round(file.value(f"{kind}.attention.layer_norm_rms_epsilon")),
        max_positions=int(file.value(f"{kind}.context_length")),
        query_scalar=_query_scalar(width=width, heads=heads, head_dim=head_dim),
        rope_scale=float(file.metadata.get(f"{kind}.rope.scaling.factor", 1.0)),
        **_family(file, kind=kind),
    )
    return OslerConfig(
        name=str(file.metadata.get("general.name", file.path.stem)), decoder=common, vision=None, tokens=_tokens(file)
    )


def _published(name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    block, _, rest = name.removeprefix("blk.").partition(".")
    if not name.startswith("blk.") or rest not in _LAYER:
        return name
    return f"language_model.layers.{block}.{_LAYER[rest]}"


def _family(file: GgufFile, *, kind: str) -> dict[str, object]:
    base = _round(file.metadata.get(f"{kind}.rope.freq_base", 1_000_000.0 if kind == "gemma3" else 10_000.0))
    if kind == "gemma3":
        return {"rope_theta": base}
    return {
        "rope_theta": base,
        "rope_theta_sliding": base,
        "global_every": 2,
        "qk_norm": "none",
        "attention_softcap": float(file.metadata.get("gemma2.attn_logit_softcapping", 50.0)),
        "logit_softcap": float(file.metadata.get("gemma2.final_logit_softcapping", 30.0)),
    }


def _query_scalar(*, width: int, heads: int, head_dim: int) -> float:
    """The files do not say it; the two 27B networks are the ones that scale by width over heads."""
    return width / heads if (width, heads) in ((4608, 32), (5376, 32)) else float(head_dim)


def _tokens(file: GgufFile) -> TokenIds:
    usual = TokenIds()
    return TokenIds(
        pad=int(file.metadata.get("tokenizer.ggml.padding_token_id", usual.pad)),
        eos=int(file.metadata.get("tokenizer.ggml.eos_token_id", usual.eos)),
        bos=int(file.metadata.get("tokenizer.ggml.bos_token_id", usual.bos)),
    )


def _round(value: float) -> float:
    """A float32 of the file, such as 9.999999974752427e-07, as the decimal that was meant."""
    return float(f"{float(value):.6g}")
