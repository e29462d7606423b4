"""Checkpoints in and out: safetensors, Hugging Face folders, GGUF, adapters, the embedded model.

Names are imported when first used: listing models must not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.weights.catalog import CatalogEntry, list_models
    from osler.weights.checkpoint import Checkpoint, load_checkpoint
    from osler.weights.embedded import embedded_gguf, verify_embedded
    from osler.weights.gguf_config import config_from_gguf
    from osler.weights.gguf_file import GgufFile, read_gguf
    from osler.weights.huggingface import load_huggingface, save_huggingface
    from osler.weights.lora import LoraConfig, add_lora, load_adapter, merge_lora, save_adapter
    from osler.weights.osler_folder import save_osler_folder
    from osler.weights.tokenizer import GemmaTokenizer, TextStream

_HOMES = {
    "CatalogEntry": "catalog",
    "Checkpoint": "checkpoint",
    "GemmaTokenizer": "tokenizer",
    "GgufFile": "gguf_file",
    "LoraConfig": "lora",
    "TextStream": "tokenizer",
    "add_lora": "lora",
    "config_from_gguf": "gguf_config",
    "embedded_gguf": "embedded",
    "load_adapter": "lora",
    "load_checkpoint": "checkpoint",
    "list_models": "catalog",
    "load_huggingface": "huggingface",
    "merge_lora": "lora",
    "read_gguf": "gguf_file",
    "save_adapter": "lora",
    "save_huggingface": "huggingface",
    "save_osler_folder": "osler_folder",
    "verify_embedded": "embedded",
}

__all__ = [
    "CatalogEntry",
    "Checkpoint",
    "GemmaTokenizer",
    "GgufFile",
    "LoraConfig",
    "TextStream",
    "add_lora",
    "config_from_gguf",
    "embedded_gguf",
    "list_models",
    "load_adapter",
    "load_checkpoint",
    "load_huggingface",
    "merge_lora",
    "read_gguf",
    "save_adapter",
    "save_huggingface",
    "save_osler_folder",
    "verify_embedded",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.weights' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"osler.weights.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
