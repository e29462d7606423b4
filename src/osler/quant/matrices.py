"""The matrices beside the decoder's products that a plan can name: image tower, heads, adapter, volumes and time."""

from __future__ import annotations

import re

from torch import nn

from osler.model.config import OslerConfig
from osler.quant.formats import LANES
from osler.weights.assemble import empty_network

_DECODER = re.compile(r"language_model\.layers\.\d+\.(self_attn|mlp)\.")
_FEWEST_INPUTS = 64


def matrices(config: OslerConfig) -> dict[str, tuple[int, int]]:
    """Returns outputs and inputs of each, by the names of the layers.

    Those of fewer than 16 outputs or 64 inputs are left out: they take next to nothing, and what they give is a
    coordinate or a score.
    """
    found = {}
    for name, layer in empty_network(config).named_modules():
        if isinstance(layer, nn.Linear) and not _DECODER.match(name):
            rows, columns = layer.weight.shape
            if rows >= LANES and columns >= _FEWEST_INPUTS:
                found[name] = (rows, columns)
    return found
