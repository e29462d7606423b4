"""Puts named tensors into a network without copying them, and names what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from osler.errors import CheckpointError
from osler.model.config import OslerConfig
from osler.model.osler import Osler

DTypeName = Literal["bfloat16", "float32"]
DTYPES: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}

_SHOWN = 6


def torch_dtype(name: str) -> torch.dtype:
    """Returns the torch type of a name.

    Raises:
        CheckpointError: For any other name; float16 overflows in this network.
    """
    if name not in DTYPES:
        raise CheckpointError(
            f"Weights cannot be held as {name!r}.",
            allowed="Choose 'bfloat16' or 'float32'.",
            next_step="float16 is left out on purpose: Gemma's activations overflow it." if name == "float16" else "",
        )
    return DTYPES[name]


def assemble(config: OslerConfig, tensors: Mapping[str, Tensor], *, source: str) -> Osler:
    """Builds a network around tensors, frozen and in evaluation mode.

    The tensors become the parameters: memory-mapped ones stay mapped.

    Args:
        tensors: Under the network's own parameter names.
        source: Named in the error.

    Raises:
        CheckpointError: Lists tensors that are missing, extra or of the wrong shape.
    """
    model = empty_network(config)
    check_tensors(
        wanted={name: tuple(value.shape) for name, value in model.state_dict().items()},
        found={name: tuple(value.shape) for name, value in tensors.items()},
        source=source,
    )
    model.load_state_dict(dict(tensors), assign=True)
    return model.requires_grad_(False).eval()


def empty_network(config: OslerConfig) -> Osler:
    """Builds a network whose parameters have shapes but no storage."""
    with _Uninitialized(), torch.device("meta"):
        return Osler(config)


class _Uninitialized(TorchFunctionMode):
    """Skips random initialization, which on the meta device imports a compiler for seconds."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # `nn.init` hands its own functions over, with everything by name: inside of them this mode is off.
        if func in (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def check_tensors(*, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Compares names and shapes.

    Raises:
        CheckpointError: Lists everything that differs.
    """
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    misshapen = [
        f"{name} {found[name]} instead of {wanted[name]}"
        for name in wanted
        if name in found and tuple(found[name]) != tuple(wanted[name])
    ]
    parts = [
        _listed(names, kind=kind)
        for kind, names in (("missing", missing), ("extra", extra), ("of the wrong shape", misshapen))
        if names
    ]
    if parts:
        raise CheckpointError(
            f"The weights of {source!r} do not fit their configuration: {'; '.join(parts)}.",
            allowed=f"{len(wanted)} tensors are expected.",
            next_step="Check that config.json belongs to these weights and that every file was copied.",
        )


def _listed(names: Iterable[str], *, kind: str) -> str:
    names = list(names)
    shown = ", ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {kind} ({shown}{more})"
