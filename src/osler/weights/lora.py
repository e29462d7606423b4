"""Low-rank adapters (arXiv 2106.09685) in the file layout of `peft`, so that they travel.

``adapter_config.json`` holds rank, alpha and targets; ``adapter_model.safetensors``
holds ``base_model.model.<module>.lora_A.weight`` (rank, in) and ``lora_B.weight``
(out, rank). An adapted layer computes ``base(x) + alpha / rank * B(A(x))``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.errors import CheckpointError
from osler.model.osler import Osler
from osler.weights.assemble import check_tensors
from osler.weights.cache import whole_file
from osler.weights.json_file import read_json
from osler.weights.names import own_name
from osler.weights.safetensors_io import read_safetensors, write_safetensors

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
DECODER_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_PEFT_PREFIX = "base_model.model."
# Options of peft that change the computation, with the values that leave it as here.
_PLAIN = {
    "bias": ("none",),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layer_replication": (None,),
    "megatron_config": (None,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """What an adapter is.

    Args:
        rank: Inner width. alpha: The update is scaled by alpha over rank.
        targets: Last parts of the names of the layers, such as ``"q_proj"``, or whole names.
        base: Name of the model it was trained on.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = DECODER_LINEARS
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LowRank:
    """The update of one layer: ``scale * B A``.

    Args:
        a_RK: (rank, in). b_NR: (out, rank).
    """

    a_RK: Tensor
    b_NR: Tensor
    scale: float


class LoraLinear(nn.Module):
    """A linear layer with a low-rank update that starts at zero.

    Args:
        base: The layer; it is frozen.
        rank: Inner width. scale: Factor on the update.
    """

    def __init__(self, base: nn.Linear, *, rank: int, scale: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = scale
        # float32 whatever the base has: updates of a bfloat16 parameter smaller than 1/256 of it are lost.
        device = base.weight.device
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``base(x)`` plus the update, in the dtype of ``x``."""
        # Under autocast the products are rounded anyway: a copy in float32 would only be rounded back.
        dtype = x.dtype if torch.is_autocast_enabled(x.device.type) else self.lora_A.dtype
        update = F.linear(F.linear(x.to(dtype), self.scale * self.lora_A), self.lora_B)
        return self.base(x) + update.to(x.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Returns a linear layer that has taken up the update; computed in float32, then rounded once."""
        update = self.scale * (self.lora_B.float() @ self.lora_A.float())
        weight = (self.base.weight.float() + update).to(self.base.weight.dtype)
        self.base.weight = nn.Parameter(weight, requires_grad=False)
        return self.base


def add_lora(model: nn.Module, *, config: LoraConfig) -> list[nn.Parameter]:
    """Wraps the target layers in place and returns the new parameters, ready to train.

    The rest of the model keeps its ``requires_grad``; a loaded model is frozen.

    Raises:
        CheckpointError: If a target fits no linear layer.
    """
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    unmatched = [target for target in config.targets if not any(_fits(name, target) for name in found)]
    if unmatched:
        raise CheckpointError(
            f"No linear layer is called {', '.join(map(repr, unmatched))}.",
            allowed=f"Last parts of names: {', '.join(sorted({name.rpartition('.')[2] for name in found}))}.",
        )
    parameters = []
    for name in found:
        if any(_fits(name, target) for target in config.targets):
            layer = LoraLinear(model.get_submodule(name), rank=config.rank, scale=config.alpha / config.rank)
            _replace(model, name=name, module=layer)
            parameters += [layer.lora_A, layer.lora_B]
    return parameters


def merge_lora(model: nn.Module) -> None:
    """Adds every adapter to its layer's weight, in place, and takes the adapters off."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            _replace(model, name=name, module=module.merged())


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """Lets a model compute what its base does: within it, attached adapters add nothing."""
    layers = [module for module in model.modules() if isinstance(module, LoraLinear)]
    scales = [layer.scale for layer in layers]
    try:
        for layer in layers:
            layer.scale = 0.0
        yield
    finally:
        for layer, scale in zip(layers, scales, strict=True):
            layer.scale = scale


def save_adapter(model: Osler, folder: Path, *, config: LoraConfig, dtype: torch.dtype = torch.float32) -> None:
    """Writes the adapters of a model as `peft` does.

    Args:
        dtype: Of the stored matrices.

    Raises:
        CheckpointError: If the model has no adapters, or the folder cannot be written.
    """
    folder = Path(folder)
    tensors, modules = {}, []
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            modules.append(_module_path(name, model=model))
            stem = _PEFT_PREFIX + modules[-1]
            tensors[f"{stem}.lora_A.weight"] = module.lora_A.detach().to(dtype)
            tensors[f"{stem}.lora_B.weight"] = module.lora_B.detach().to(dtype)
    if not tensors:
        raise CheckpointError("The model has no adapter to save.", next_step="Call add_lora first.")
    write_safetensors(tensors, path=folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    with whole_file(folder / ADAPTER_CONFIG) as out:
        out.write((json.dumps(_peft_json(config, modules=modules), indent=2) + "\n").encode())


def load_adapter(model: Osler, folder: Path, *, mode: Literal["merge", "attach"] = "merge") -> LoraConfig:
    """Reads an adapter in peft's layout and puts it on a model.

    Args:
        mode: ``"merge"`` adds it to the weights; ``"attach"`` leaves it trainable beside them.

    Raises:
        CheckpointError: If files are missing, an option is unknown here, or tensors do not fit the model.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    shapes = {name: (module.out_features, module.in_features) for name, module in linears.items()}
    config, updates = read_adapter(folder, shapes=shapes)
    for name, update in updates.items():
        layer = LoraLinear(linears[name], rank=config.rank, scale=update.scale)
        layer.lora_A.data.copy_(update.a_RK)
        layer.lora_B.data.copy_(update.b_NR)
        _replace(model, name=name, module=layer.merged() if mode == "merge" else layer)
    return config


def read_adapter(folder: Path, *, shapes: Mapping[str, tuple[int, ...]]) -> tuple[LoraConfig, dict[str, LowRank]]:
    """Reads an adapter in peft's layout without a model.

    Args:
        shapes: Outputs and inputs of the model's layers, by their names.

    Raises:
        CheckpointError: As `load_adapter`.
    """
    return _read_updates(Path(folder), shapes=shapes)


def _read_updates(
    folder: Path, *, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[LoraConfig, dict[str, LowRank]]:
    """See `read_adapter`; without shapes only the ranks are checked."""
    content = read_json(folder / ADAPTER_CONFIG)
    stored = read_safetensors(folder / ADAPTER_WEIGHTS).tensors
    tensors = {_own_key(name): tensor for name, tensor in stored.items()}
    layers = sorted({name.rpartition(".")[0] for name in tensors})
    config = _lora_config(content, layers=layers, source=str(folder / ADAPTER_CONFIG))
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wanted = {}
    for name in layers:
        if shapes is None or name in shapes:
            inner = found.get(f"{name}.lora_A", (0, 0)), found.get(f"{name}.lora_B", (0, 0))
            outputs, inputs = (inner[1][0], inner[0][1]) if shapes is None else shapes[name]
            wanted[f"{name}.lora_A"] = (config.rank, inputs)
            wanted[f"{name}.lora_B"] = (outputs, config.rank)
    check_tensors(wanted=wanted, found=found, source=str(folder))
    scale = config.alpha / (math.sqrt(config.rank) if content.get("use_rslora") else config.rank)
    updates = {
        name: LowRank(a_RK=tensors[f"{name}.lora_A"], b_NR=tensors[f"{name}.lora_B"], scale=scale) for name in layers
    }
    return config, updates


def stack_adapters(first: Path, second: Path, *, out: Path, dtype: torch.dtype = torch.bfloat16) -> LoraConfig:
    """Writes one adapter that does what two do, one trained on top of the other.

    ``s1 B1 A1 + s2 B2 A2 = s1 [B1, s2/s1 B2] [A1; A2]``: the ranks add up.

    Args:
        first: Folder of the adapter beneath; its base is the new one's. second: Of that on top, on the same layers.
        out: Folder for the new one; may be one of both.
        dtype: Of the stored matrices.

    Raises:
        CheckpointError: As `load_adapter`; also if the two are not on the same layers.
    """
    (below, lower), (above, upper) = (_read_updates(folder) for folder in (Path(first), Path(second)))
    if lower.keys() != upper.keys():
        other = sorted(lower.keys() ^ upper.keys())[0]
        raise CheckpointError(
            f"The adapters in {str(first)!r} and {str(second)!r} are not on the same layers: {other!r}.",
            next_step="Train the second with the targets of the first.",
        )
    stored = read_safetensors(Path(first) / ADAPTER_WEIGHTS).tensors
    stems = {_own_key(name).rpartition(".")[0]: name.partition(".lora_")[0] for name in stored}
    tensors = {}
    for name, old in lower.items():
        new, stem = upper[name], stems[name]
        tensors[f"{stem}.lora_A.weight"] = torch.cat((old.a_RK.float(), new.a_RK.float())).to(dtype)
        b_NR = torch.cat((old.b_NR.float(), new.scale / old.scale * new.b_NR.float()), dim=1)
        tensors[f"{stem}.lora_B.weight"] = b_NR.to(dtype)
    rank = below.rank + above.rank
    scale = next(iter(lower.values())).scale
    config = LoraConfig(rank=rank, alpha=scale * rank, targets=below.targets, base=below.base)
    write_safetensors(tensors, path=Path(out) / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    with whole_file(Path(out) / ADAPTER_CONFIG) as file:
        content = _peft_json(config, modules=[stem.removeprefix(_PEFT_PREFIX) for stem in stems.values()])
        file.write((json.dumps(content, indent=2) + "\n").encode())
    return config


def _lora_config(content: dict[str, Any], *, layers: list[str], source: str) -> LoraConfig:
    odd = [f"{key} = {content[key]!r}" for key, plain in _PLAIN.items() if key in content and content[key] not in plain]
    rank, alpha = content.get("r"), content.get("lora_alpha")
    kind = content.get("peft_type")
    if kind != "LORA" or odd:
        raise CheckpointError(
            f"{source!r} is an adapter of a kind that Osler does not read: "
            f"{', '.join([f'peft_type = {kind!r}', *odd])}.",
            allowed="Plain LoRA, with or without use_rslora.",
            next_step="Merge it into its base model with peft, and load the merged folder.",
        )
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise CheckpointError(f"{source!r} has r = {rank!r} and lora_alpha = {alpha!r}.", allowed="Numbers above zero.")
    targets = tuple(sorted({name.rpartition(".")[2] for name in layers}))
    return LoraConfig(rank=rank, alpha=alpha, targets=targets, base=str(content.get("base_model_name_or_path") or ""))


def _peft_json(config: LoraConfig, *, modules: list[str]) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config.base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        # Whole names: peft would also find the last parts of decoder layers in the image tower.
        "target_modules": sorted(modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "use_dora": False,
        "use_rslora": False,
    }


def _module_path(name: str, *, model: Osler) -> str:
    """The module's name in `transformers` 5: peft matches adapters to modules by it."""
    return name.replace("language_model.", "model.", 1) if model.config.vision is None else f"model.{name}"


def _own_key(name: str) -> str:
    plain = name.removeprefix(_PEFT_PREFIX).removesuffix(".weight").replace(".default", "")
    return own_name(plain) or plain


def _fits(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _replace(model: nn.Module, *, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
