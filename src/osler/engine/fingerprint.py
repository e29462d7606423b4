"""What decides the numbers of an encoded study, beside its pixels."""

from __future__ import annotations

import hashlib
import json

import torch

from osler.engine.runner import Runner
from osler.weights import Checkpoint


def fingerprint(checkpoint: Checkpoint, *, runner: Runner, packing: str) -> str:
    """Digests weights, contract, precision and the kernels of this machine.

    Features and keys are equal to the bit only where all of these are equal.

    Args:
        checkpoint: With its ``identity``.
        runner: Of the network as it runs. packing: See `osler.engine.packing`.
    """
    parts = {
        "weights": checkpoint.identity,
        "preprocess": checkpoint.preprocess.hash,
        "dtype": str(runner.dtype),
        "device": _device_name(runner.device),
        "packing": packing,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()} amx={torch.cpu._is_amx_tile_supported()}"
