"""The trained parts of the perception stage, written into the folder of the weights that they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from osler.model.config import OslerConfig
from osler.prepare import Preprocess
from osler.train.checkpoints import save_json
from osler.weights.config_json import config_to_dict
from osler.weights.safetensors_io import write_safetensors

PARTS_FILE = "parts.safetensors"


def ship_parts(folder: Path, *, tensors: Mapping[str, Tensor], config: OslerConfig, preprocess: Preprocess) -> None:
    """Writes heads and temporal attention in bfloat16 and notes them in the folder's configuration.

    Args:
        folder: An Osler folder.
        tensors: Under the network's names.
        config: With the parts.
        preprocess: The contract that they were trained with.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    metadata = {"format": "pt", "preprocess": preprocess.to_json(), "preprocess_hash": preprocess.hash}
    plain = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    write_safetensors(plain, path=folder / PARTS_FILE, metadata=metadata)
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parts = {name: config_to_dict(config)[name] for name in ("heads", "temporal")}
    save_json(folder / "config.json", content | parts)
