"""The trained parts of the perception stage: calibrated, and written into the folder of their weights.

Dimensions: N X-rays, F findings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from osler.model.config import OslerConfig
from osler.model.heads import Heads
from osler.model.vision import VisionTower
from osler.prepare import Preprocess
from osler.prepare.pixels import PixelBatches
from osler.train.calibration import Calibration, fit_calibration
from osler.train.checkpoints import save_json
from osler.train.labeled_xrays import LabeledXray, shown
from osler.weights.config_json import PARTS, config_to_dict
from osler.weights.osler_folder import PARTS_FILE
from osler.weights.safetensors_io import write_safetensors
from osler.weights.skills import Skill

_AT_ONCE = 16


@torch.no_grad()
def calibrate(
    heads: Heads, *, tower: VisionTower, films: Sequence[LabeledXray], preprocess: Preprocess
) -> Calibration | None:
    """Fits the probabilities of the findings head to X-rays of patients that it was not trained on.

    Returns:
        ``None`` where no film has findings.
    """
    known = [film for film in films if film.findings]
    if not known:
        return None
    shared = len(tower.encoder.layers) - len(heads.trunk.layers)
    dtype, rows = tower.embeddings.patch_embedding.weight.dtype, []
    for start in range(0, len(known), _AT_ONCE):
        pictures = [shown(film, size=preprocess.image_size, rng=None)[0] for film in known[start : start + _AT_ONCE]]
        pixels = torch.from_numpy(PixelBatches(rgb=np.stack(pictures), preprocess=preprocess).array())
        features = heads.trunk(tower.forward_to(pixels.to(dtype), layers=shared).float())
        rows.append(heads.findings(features)[1])
    keys = heads.config.findings
    wanted = torch.tensor([[film.findings.get(key, float("nan")) for key in keys] for film in known])
    with torch.enable_grad():
        return fit_calibration(torch.cat(rows).clone(), wanted_NF=wanted)


def ship_parts(
    folder: Path,
    *,
    tensors: Mapping[str, Tensor],
    config: OslerConfig,
    preprocess: Preprocess,
    skills: Sequence[Skill] = (),
) -> None:
    """Writes the parts in bfloat16 and notes them, and what they can do, in the folder's configuration.

    Args:
        folder: An Osler folder, which keeps what it has of other weights.
        tensors: Under the network's names.
        config: With the parts.
        preprocess: The contract that they were trained with.
        skills: Added to those that the folder lists.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    metadata = {"format": "pt", "preprocess": preprocess.to_json(), "preprocess_hash": preprocess.hash}
    plain = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    write_safetensors(plain, path=folder / PARTS_FILE, metadata=metadata)
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = config_to_dict(config)
    content |= {name: sizes[name] for name in PARTS}
    content["parts"] = [name for name in PARTS if sizes[name] is not None]
    content["trained"] = sorted({*content.get("trained", ["answers"]), *skills})
    save_json(folder / "config.json", content)
