"""What weights take in memory, known from configurations and headers before they are loaded.

torch is not imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from osler.errors import CheckpointError
from osler.model.config import HeadsConfig, OslerConfig, TemporalConfig, VisionConfig, VolumeConfig
from osler.weights.config_json import config_from_dict
from osler.weights.gguf_file import read_gguf
from osler.weights.hf_config import config_from_huggingface

BYTES_A_WEIGHT = 2
"""In bfloat16."""


def memory_bytes(path: Path) -> int:
    """Returns what the weights of a folder or GGUF file take in memory in bfloat16.

    The decoder of an Osler folder that uses the embedded one counts, though it lies elsewhere, and
    packed weights count as they are unpacked.

    Args:
        path: A Hugging Face folder, an Osler folder or a GGUF file.

    Returns:
        Bytes; of a folder whose configuration cannot be read, the size of its safetensors, and 0 of a
        file that cannot be read.
    """
    if path.is_dir():
        try:
            content = json.loads((path / "config.json").read_text(encoding="utf-8"))
            return parameter_count(_config(content, source=str(path))) * BYTES_A_WEIGHT
        except (OSError, ValueError, TypeError, AttributeError, KeyError, CheckpointError):
            return sum(file.stat().st_size for file in path.glob("*.safetensors"))
    try:
        return sum(prod(tensor.shape) for tensor in read_gguf(path).tensors.values()) * BYTES_A_WEIGHT
    except CheckpointError:
        return 0


def needs_embedded_decoder(content: Mapping[str, Any]) -> bool:
    """Whether a config.json says that the decoder is the embedded one."""
    return content.get("decoder_home") == "embedded"


def parameter_count(config: OslerConfig) -> int:
    """Counts the weights of a network from its configuration."""
    decoder = config.decoder
    heads = (2 * decoder.heads + 2 * decoder.kv_heads) * decoder.head_dim * decoder.width
    norms = 4 * decoder.width + (2 * decoder.head_dim if decoder.qk_norm == "rms" else 0)
    total = decoder.vocab * decoder.width + decoder.width
    total += decoder.layers * (heads + 3 * decoder.mlp_width * decoder.width + norms)
    if config.vision is None:
        return total
    vision = config.vision
    attention = 4 * (vision.width + 1) * vision.width
    mlp = 2 * vision.width * vision.mlp_width + vision.width + vision.mlp_width
    total += vision.layers * (attention + mlp + 4 * vision.width) + 2 * vision.width
    total += (3 * vision.patch**2 + 1) * vision.width + vision.side**2 * vision.width
    total += vision.width + vision.width * decoder.width
    return total + _parts_count(config, vision=vision)


def _parts_count(config: OslerConfig, *, vision: VisionConfig) -> int:
    """Counts the weights of what a network adds to the published one."""
    total = 0
    if config.volume is not None:
        total += _volume_count(config.volume, vision=vision)
    if config.heads is not None:
        total += _heads_count(config.heads, vision=vision, text=config.decoder.width)
    if config.temporal is not None:
        total += _temporal_count(config.temporal, width=vision.width, text=config.decoder.width)
    if config.adapter is not None:
        inner = config.adapter.heads * config.adapter.head_dim
        norms = 2 * (config.decoder.width + vision.width)
        layer = 2 * inner * (config.decoder.width + vision.width) + norms + 1
        total += len(config.adapter.layers(config.decoder)) * layer
    return total


def _heads_count(heads: HeadsConfig, *, vision: VisionConfig, text: int) -> int:
    """Counts trunk, box, findings, progression and contrastive head."""
    width = vision.width
    layer = 4 * width * (width + 1) + 2 * width * vision.mlp_width + width + vision.mlp_width + 4 * width
    trunk = heads.trunk * layer + (2 * width if heads.trunk else 0)
    attention = 4 * width * (width + 1) + 2 * width
    mlp = 4 * width**2 + 3 * width
    box = (text + 1) * width + 48 * width + attention + 2 * width + mlp
    box += 6 * width * (width + 1) + width * (width + 1) + 6 * (width + 1) + width + 1
    count = len(heads.findings)
    finding = 2 * count * width + count + attention + 2 * width
    change = 2 * width + width * (width + 1) + 6 * (width + 1)
    alike = width + attention + heads.embedding * (width + text) + 2 * text + 2
    return trunk + box * (2 if heads.taught else 1) + finding + change + alike


def _temporal_count(temporal: TemporalConfig, *, width: int, text: int) -> int:
    """Counts event embedding, layers, last norm and gate."""
    event = (text + 1) * width + 5 * width + 2 * width
    gaps = 12
    attention = 2 * width + 4 * width * (width + 1) + (gaps + 1) * temporal.heads + gaps * width
    layer = 2 * attention + 2 * width + 4 * width**2 + 3 * width
    return event + temporal.layers * layer + 2 * width + 1


def _volume_count(volume: VolumeConfig, *, vision: VisionConfig) -> int:
    """Counts the weights of tubelet embedding and volumetric projection."""
    width = vision.width
    deviation = 3 * volume.depth * vision.patch**2 * width
    attention = 4 * width**2 + width
    mlp = 2 * width * volume.mlp_width + width + volume.mlp_width
    layers = volume.layers * (attention + mlp + 4 * width + 2 * width)
    return deviation + layers + (6 * volume.frequencies + 1) * width + width


def _config(content: Mapping[str, Any], *, source: str) -> OslerConfig:
    if content.get("model_type") == "osler":
        return config_from_dict(content, source=source)
    return config_from_huggingface(content, source=source).config
