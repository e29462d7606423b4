"""One part of a network in PyTorch with random weights, and the same weights for its JAX twin."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from osler.jax.arrays import to_jax

Part = TypeVar("Part", bound=nn.Module)

TOLERANCE = 1e-5
"""Greatest difference in float32, relative to the greatest value."""


def random_part(part: Part, *, seed: int) -> Part:
    """Gives a part random weights, gates included: none of its branches is an identity."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in part.state_dict().items():
        gate = name.endswith(("gate", "scale", "shift"))
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * (1.0 if gate else 0.2))
    return part.eval().requires_grad_(False)


def tree_of(part: nn.Module) -> dict[str, Any]:
    """Lays the weights of a part out as `osler.jax.parameters` does, layers stacked."""
    tree: dict[str, Any] = {}
    stacks: dict[tuple[str, ...], dict[int, Tensor]] = {}
    for name, tensor in part.state_dict().items():
        before, layers, after = name.rpartition("layers.")
        number, _, leaf = after.partition(".")
        if layers and number.isdecimal():
            path = (*(piece for piece in before.split(".") if piece), "layers", leaf)
            stacks.setdefault(path, {})[int(number)] = tensor
        else:
            tree[name] = to_jax(tensor)
    for (*folders, leaf), rows in stacks.items():
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = to_jax(torch.stack([rows[number] for number in sorted(rows)]))
    return tree


def require_near(found: Any, wanted: Tensor) -> None:
    """Compares an array or tensor with a tensor."""
    theirs = wanted.double().numpy()
    ours = np.asarray(found).astype(np.float64)
    assert ours.shape == theirs.shape
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    worst = np.nanmax(np.abs(ours - theirs), initial=0) / max(float(np.nanmax(np.abs(theirs), initial=0)), 1e-30)
    assert worst < TOLERANCE, worst
