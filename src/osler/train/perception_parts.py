"""The trained parts of the perception stage, calibrated and written into the folder of the weights they belong to.

Dimensions: N films, F findings.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from osler.engine.head_features import spoken
from osler.model.config import HeadsConfig, OslerConfig
from osler.model.heads import Heads, PictureNorm
from osler.model.vision import VisionTower
from osler.prepare import Preprocess
from osler.train.calibration import Calibration, fit_calibration
from osler.train.checkpoints import save_json
from osler.train.heads_recipe import HeadsRecipe
from osler.train.perception_bank import FeatureBank
from osler.train.perception_batch import known_findings
from osler.train.perception_data import PerceptionData
from osler.train.picture_book import open_book
from osler.train.presence import LUNGS, teach_absence
from osler.weights.config_json import config_to_dict
from osler.weights.osler_folder import PARTS_FILE, parts_of
from osler.weights.safetensors_io import write_safetensors

_AT_ONCE = 16


@torch.no_grad()
def settle_states(heads: Heads, *, banks: Sequence[FeatureBank], most: int = 1200) -> None:
    """Takes mean and variance of the states of findings anew, over pictures of training, with the final weights.

    What was gathered in training is of weights that changed meanwhile, and of others than their running mean.

    Args:
        heads: Trained; changed in place where states are normalized over pictures.
        banks: With features of the frozen layers. most: Pictures of each bank that are read, evenly spread.
    """
    norm = heads.findings.norm
    if not isinstance(norm, PictureNorm):
        return
    count, total, squares = 0, torch.zeros_like(norm.mean), torch.zeros_like(norm.mean)

    def gather(_: object, given: tuple[Tensor, ...]) -> None:
        nonlocal count
        state_BFV = given[0].float()
        count += len(state_BFV)
        total.add_(state_BFV.sum(0))
        squares.add_(state_BFV.square().sum(0))

    hook = norm.register_forward_pre_hook(gather)
    heads.eval()
    for bank in banks:
        rows = np.unique(np.linspace(0, len(bank.rows) - 1, min(most, len(bank.rows))).round().astype(int))
        for start in range(0, len(rows), _AT_ONCE):
            heads.findings(heads.trunk(bank.features(rows[start : start + _AT_ONCE].tolist()).float()))
    hook.remove()
    mean_FV = total / count
    # Weights are shipped in bfloat16: what is calibrated afterwards must see the same mean.
    norm.mean.copy_(mean_FV.bfloat16())
    norm.variance.copy_((squares / count - mean_FV.square()).clamp(min=0).bfloat16())


@torch.no_grad()
def calibrate(heads: Heads, *, features_NPV: Tensor, wanted_NF: Tensor) -> Calibration:
    """Fits the findings head's scale and shifts on films of patients kept out of training, and sets them.

    Args:
        heads: Trained; changed in place.
        features_NPV: Of the frozen layers.
        wanted_NF: 0 to 1, NaN where nobody labeled it.
    """
    logits = []
    for rows_NPV in features_NPV.split(_AT_ONCE):
        with torch.autocast("cpu", torch.bfloat16, enabled=features_NPV.dtype == torch.bfloat16):
            logits.append(heads.findings(heads.trunk(rows_NPV))[1].float())
    with torch.enable_grad():
        found = fit_calibration(torch.cat(logits), wanted_NF=wanted_NF)
    heads.findings.scale.copy_(found.scale_F)
    heads.findings.shift.copy_(found.shift_F)
    return found


def finish_heads(
    heads: Heads,
    *,
    recipe: HeadsRecipe,
    data: PerceptionData,
    tower: VisionTower,
    settled: Sequence[FeatureBank],
) -> HeadsConfig:
    """Settles and calibrates trained heads, teaches them when lungs are not there; changes them in place.

    Args:
        tower: Whose first layers the heads' trunk reads.
        settled: Banks of pictures of training, see `settle_states`.

    Returns:
        Their configuration, with what the recipe says of their use.
    """
    settle_states(heads, banks=settled)
    heads.eval()
    if data.kept:
        calibrate(
            heads,
            features_NPV=data.kept_bank.features([views[0].row for views in data.kept_bank.views]),
            wanted_NF=known_findings(data.kept, findings=data.findings),
        )
    if recipe.pictures:
        teach_absence(
            heads,
            tower=tower,
            book=open_book(Path(recipe.data), split="train", preprocess=data.preprocess),
            text_QC=torch.stack([data.label_states[label] for label in LUNGS]),
            preprocess=data.preprocess,
            count=recipe.pictures,
            seed=recipe.seed,
        )
    return replace(
        heads.config,
        labels=recipe.labels or tuple(sorted({spoken(label) for label in data.label_states})),
        slices=recipe.slices,
        boxes_on=recipe.boxes_on,
        witness=recipe.witness,
    )


def ship_parts(
    folder: Path,
    *,
    tensors: Mapping[str, Tensor],
    config: OslerConfig,
    preprocess: Preprocess,
    skills: Collection[str] = (),
) -> None:
    """Writes heads and temporal attention in bfloat16 and notes them in the folder's configuration.

    Args:
        folder: An Osler folder.
        tensors: Under the network's names.
        config: With the parts.
        preprocess: The contract that they were trained with.
        skills: Added to those that the folder is listed as trained for.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    metadata = {"format": "pt", "preprocess": preprocess.to_json(), "preprocess_hash": preprocess.hash}
    plain = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    write_safetensors(plain, path=folder / PARTS_FILE, metadata=metadata)
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = parts_of(config)
    content |= {name: config_to_dict(config)[name] for name in names}
    content |= {"parts": names, "trained": sorted({*content.get("trained", ()), *skills})}
    save_json(folder / "config.json", content)
