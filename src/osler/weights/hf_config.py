"""``config.json`` of Hugging Face folders to Osler's configuration, and back.

A key that is absent takes the default of its `transformers` class, as there.
Those defaults are *not* the values of the 4B network (2304 wide, 26 layers,
window 4096), so a configuration that is nearly the published one is warned about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from osler.errors import CheckpointError
from osler.model.config import DecoderConfig, OslerConfig, TokenIds, VisionConfig, get_config

_TEXT = {
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-6,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
}
_TEXT_GEMMA2 = _TEXT | {
    "vocab_size": 256_000,
    "max_position_embeddings": 8192,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "layer_norm_eps": 1e-6,
}
# Keys whose other values would change the computation into one that Osler does not have.
_ONLY_TEXT = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False,
    "use_bidirectional_attention": False,
    "tie_word_embeddings": True,
}
_ONLY_VISION = {"hidden_act": "gelu_pytorch_tanh", "num_channels": 3}
_KINDS = ("gemma3", "gemma3_text", "gemma2")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundConfig:
    """A configuration and what is odd about it."""

    config: OslerConfig
    warnings: tuple[str, ...] = ()


def config_from_huggingface(content: Mapping[str, Any], *, source: str) -> FoundConfig:
    """Returns the configuration that a ``config.json`` describes.

    Raises:
        CheckpointError: If it describes another network, or values are of the wrong type.
    """
    kind = content.get("model_type")
    if kind not in _KINDS:
        raise CheckpointError(
            f"{source!r} describes a network of type {kind!r}.",
            allowed=f"Osler runs {', '.join(_KINDS)}.",
            next_step="Choose a Gemma 2, Gemma 3 or MedGemma folder.",
        )
    try:
        return _multimodal(content, source=source) if kind == "gemma3" else _text_only(content, source=source)
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{source!r} holds values that make no network: {type(error).__name__}: {error}.",
            next_step="Copy config.json again from where the weights came from.",
        ) from error


def huggingface_config(config: OslerConfig) -> dict[str, Any]:
    """Returns the ``config.json`` of a network, complete, so that no default is left to a class."""
    text = _decoder_json(config)
    if config.vision is None:
        architecture = "Gemma3ForCausalLM" if config.decoder.qk_norm == "rms" else "Gemma2ForCausalLM"
        return {"architectures": [architecture], **text}
    vision = config.vision
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "mm_tokens_per_image": config.image_tokens,
        "boi_token_index": config.tokens.start_of_image,
        "eoi_token_index": config.tokens.end_of_image,
        "image_token_index": config.tokens.image,
        "eos_token_id": [config.tokens.eos, config.tokens.end_of_turn],
        "tie_word_embeddings": True,
        "text_config": text,
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp_width,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "num_channels": 3,
            "image_size": vision.image_size,
            "patch_size": vision.patch,
            "layer_norm_eps": vision.norm_eps,
            "hidden_act": "gelu_pytorch_tanh",
            "vision_use_head": False,
        },
    }


def _multimodal(content: Mapping[str, Any], *, source: str) -> FoundConfig:
    usual = TokenIds()
    text = content.get("text_config") or {}
    found = content.get("vision_config") or {}
    _refuse_others(found, only=_ONLY_VISION, source=f"{source}: vision_config")
    given = _VISION | {key: found[key] for key in _VISION if found.get(key) is not None}
    vision = VisionConfig(
        image_size=int(given["image_size"]),
        patch=int(given["patch_size"]),
        width=int(given["hidden_size"]),
        mlp_width=int(given["intermediate_size"]),
        layers=int(given["num_hidden_layers"]),
        heads=int(given["num_attention_heads"]),
        norm_eps=float(given["layer_norm_eps"]),
    )
    config = OslerConfig(
        name="gemma3",
        decoder=_decoder(text, gemma=3, source=f"{source}: text_config"),
        vision=vision,
        image_tokens=int(content.get("mm_tokens_per_image", 256)),
        tokens=TokenIds(
            pad=_first_id(text.get("pad_token_id"), usual=usual.pad),
            bos=_first_id(text.get("bos_token_id"), usual=usual.bos),
            start_of_image=int(content.get("boi_token_index", usual.start_of_image)),
            end_of_image=int(content.get("eoi_token_index", usual.end_of_image)),
            image=int(content.get("image_token_index", usual.image)),
        ),
    )
    return _against_the_table(config, text=text, vision=found, source=source)


def _text_only(content: Mapping[str, Any], *, source: str) -> FoundConfig:
    gemma = 2 if content["model_type"] == "gemma2" else 3
    usual = TokenIds()
    tokens = TokenIds(
        pad=_first_id(content.get("pad_token_id"), usual=usual.pad),
        bos=_first_id(content.get("bos_token_id"), usual=usual.bos),
    )
    decoder = _decoder(content, gemma=gemma, source=source)
    return FoundConfig(config=OslerConfig(name=f"gemma{gemma}", decoder=decoder, vision=None, tokens=tokens))


def _decoder(found: Mapping[str, Any], *, gemma: int, source: str) -> DecoderConfig:
    _refuse_others(found, only=_ONLY_TEXT, source=source)
    defaults = _TEXT if gemma == 3 else _TEXT_GEMMA2
    # A cap may be null on purpose; for every other key null means absent.
    given = defaults | {k: found[k] for k in defaults if k in found and (found[k] is not None or "softcapping" in k)}
    layers = int(given["num_hidden_layers"])
    every = _global_every(found, layers=layers, usual=6 if gemma == 3 else 2, source=source)
    rope = _rope(found, gemma=gemma, source=source)
    caps = [None if given[key] is None else float(given[key]) for key in _TEXT if key.endswith("softcapping")]
    return DecoderConfig(
        vocab=int(given["vocab_size"]),
        width=int(given["hidden_size"]),
        mlp_width=int(given["intermediate_size"]),
        layers=layers,
        heads=int(given["num_attention_heads"]),
        kv_heads=int(given["num_key_value_heads"]),
        head_dim=int(given["head_dim"]),
        window=int(given["sliding_window"]),
        global_every=every,
        query_scalar=float(given["query_pre_attn_scalar"]),
        qk_norm="rms" if gemma == 3 else "none",
        attention_softcap=caps[0],
        logit_softcap=caps[1],
        norm_eps=float(given["rms_norm_eps"]),
        max_positions=int(given["max_position_embeddings"]),
        **rope,
    )


def _rope(found: Mapping[str, Any], *, gemma: int, source: str) -> dict[str, float]:
    """Reads the rotary bases: `transformers` 5 nests them by kind of layer, 4 has them flat."""
    nested = found.get("rope_parameters") or {}
    usual = 1_000_000.0 if gemma == 3 else 10_000.0
    if gemma == 2:
        base = float(nested.get("rope_theta", found.get("rope_theta", usual)))
        scale = _rope_scale(nested or found.get("rope_scaling") or {}, source=source)
        if scale != 1.0:
            raise _refused(source, key="rope_scaling", value=scale, allowed="1 (none)")
        return {"rope_theta": base, "rope_theta_sliding": base}
    full = nested.get("full_attention") or {}
    local = nested.get("sliding_attention") or {}
    if _rope_scale(local, source=source) != 1.0:
        raise _refused(source, key="rope_parameters.sliding_attention", value=local, allowed="no scaling")
    return {
        "rope_theta": float(full.get("rope_theta", found.get("rope_theta", usual))),
        "rope_theta_sliding": float(local.get("rope_theta", found.get("rope_local_base_freq", 10_000.0))),
        "rope_scale": _rope_scale(full | (found.get("rope_scaling") or {}), source=source),
    }


def _rope_scale(found: Mapping[str, Any], *, source: str) -> float:
    kind = found.get("rope_type", found.get("type", "default"))
    if kind not in ("default", "linear"):
        raise _refused(source, key="rope_type", value=kind, allowed="'default' or 'linear'")
    return float(found.get("factor", 1.0)) if kind == "linear" else 1.0


def _global_every(found: Mapping[str, Any], *, layers: int, usual: int, source: str) -> int:
    every = int(found.get("sliding_window_pattern", found.get("_sliding_window_pattern", usual)))
    kinds = found.get("layer_types")
    if kinds is None:
        return every
    for candidate in (every, *range(1, layers + 2)):
        if kinds == ["full_attention" if (i + 1) % candidate == 0 else "sliding_attention" for i in range(layers)]:
            return candidate
    raise _refused(source, key="layer_types", value=kinds, allowed="every n-th layer full_attention")


def _against_the_table(
    config: OslerConfig, *, text: Mapping[str, Any], vision: Mapping[str, Any], source: str
) -> FoundConfig:
    published = get_config("medgemma-1.5-4b")
    decoder, wanted = config.decoder, published.decoder
    if (decoder.width, decoder.layers) != (wanted.width, wanted.layers):
        return FoundConfig(config=config)
    named = replace(config, name=published.name, tokens=published.tokens)
    if named == published:
        return FoundConfig(config=replace(config, name=published.name))
    differing = [
        f"{part}.{field.name} is {getattr(found, field.name)!r}, published {getattr(table, field.name)!r}"
        for part, found, table in (("decoder", decoder, wanted), ("vision", config.vision, published.vision))
        for field in fields(table)
        if getattr(found, field.name) != getattr(table, field.name)
    ]
    absent = [key for key in _TEXT if key not in text] + [f"vision {key}" for key in _VISION if key not in vision]
    warning = (
        f"{source} has the width and layers of Gemma 3 4B, but differs from the published values: "
        f"{'; '.join(differing) or 'image tokens'}. Keys that are absent took the defaults of their transformers "
        f"class, which are not the 4B values: {', '.join(absent) or 'none'}."
    )
    return FoundConfig(config=config, warnings=(warning,))


def _refuse_others(found: Mapping[str, Any], *, only: Mapping[str, Any], source: str) -> None:
    for key, value in only.items():
        given = found.get(key)
        if given is not None and given != value:
            raise _refused(source, key=key, value=given, allowed=repr(value))


def _refused(source: str, *, key: str, value: Any, allowed: str) -> CheckpointError:
    return CheckpointError(
        f"{source} has {key} = {value!r}.", allowed=f"Osler's network has {allowed}.", next_step="Choose another model."
    )


def _first_id(value: Any, *, usual: int) -> int:
    if isinstance(value, list):
        value = value[0] if value else None
    return usual if value is None else int(value)


def _decoder_json(config: OslerConfig) -> dict[str, Any]:
    decoder = config.decoder
    gemma3 = decoder.qk_norm == "rms"
    scaling = {"rope_type": "linear", "factor": decoder.rope_scale} if decoder.rope_scale != 1.0 else None
    kinds = {"global": "full_attention", "sliding": "sliding_attention"}
    common = {
        "model_type": "gemma3_text" if gemma3 else "gemma2",
        "vocab_size": decoder.vocab,
        "hidden_size": decoder.width,
        "intermediate_size": decoder.mlp_width,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.kv_heads,
        "head_dim": decoder.head_dim,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": decoder.max_positions,
        "rms_norm_eps": decoder.norm_eps,
        "rope_theta": decoder.rope_theta,
        "query_pre_attn_scalar": int(decoder.query_scalar)
        if decoder.query_scalar.is_integer()
        else decoder.query_scalar,
        "sliding_window": decoder.window,
        "layer_types": [kinds[decoder.kind(i)] for i in range(decoder.layers)],
        "attn_logit_softcapping": decoder.attention_softcap,
        "final_logit_softcapping": decoder.logit_softcap,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": config.tokens.bos,
        "eos_token_id": config.tokens.eos,
        "pad_token_id": config.tokens.pad,
    }
    if not gemma3:
        return common
    return common | {
        "rope_local_base_freq": decoder.rope_theta_sliding,
        "rope_scaling": scaling,
        "sliding_window_pattern": decoder.global_every,
    }
