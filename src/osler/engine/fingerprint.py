"""What decides the numbers of an encoded study, beside its pixels."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from osler.engine.backend import AnyRunner
    from osler.weights import Checkpoint


def fingerprint(checkpoint: Checkpoint, *, runner: AnyRunner, packing: str) -> str:
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
        "packing": packing,
        **runner.kernels,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
