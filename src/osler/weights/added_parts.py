"""Parts that are added to a network after it was loaded: new ones to train, and trained ones from a folder.

A folder of a fine-tuned model names its base and holds only what was learned: an adapter on the
decoder, and the parts that learned beside it (`osler.weights.osler_folder.PARTS_FILE`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osler.errors import RequestError, unknown_name
from osler.model.adapter import CrossAttentionAdapter
from osler.model.config import AdapterConfig, OslerConfig, VolumeConfig
from osler.model.heads import Heads
from osler.model.osler import Osler
from osler.model.volume import TubeletEmbedding
from osler.model.volume_projection import VolumetricProjection
from osler.prepare import Preprocess, require_same
from osler.weights.assemble import check_tensors
from osler.weights.config_json import config_from_dict
from osler.weights.osler_folder import PARTS_FILE, listed_parts
from osler.weights.parts import PART_MODULES
from osler.weights.safetensors_io import read_safetensors

ADDABLE = ("volume", "adapter")
"""Parts that can learn on a network that was trained without them."""


def check_addable(names: Collection[str]) -> None:
    """Checks that parts can be added.

    Raises:
        RequestError: If one cannot, with the nearest name.
    """
    for name in names:
        if name not in ADDABLE:
            raise unknown_name("part that can learn", name=str(name), known=ADDABLE)


def with_parts(config: OslerConfig, names: Collection[str]) -> OslerConfig:
    """Returns a configuration with the named parts; those that it lacks get sizes that suit the network.

    Raises:
        RequestError: If a part is unknown, or the network has no image tower.
    """
    check_addable(names)
    if names and config.vision is None:
        raise RequestError(
            f"The model {config.name!r} reads text only, so it has no place for {' and '.join(names)}.",
            allowed="A base with an image tower.",
        )
    for name in names:
        if getattr(config, name) is None:
            config = dataclasses.replace(config, **{name: _suitable(config, name)})
    return config


def _suitable(config: OslerConfig, name: str) -> VolumeConfig | AdapterConfig:
    vision = config.vision
    assert vision is not None
    if name == "volume":
        return VolumeConfig(heads=vision.heads, mlp_width=2 * vision.width)
    return AdapterConfig(
        every=min(6, config.decoder.layers),
        heads=config.decoder.heads,
        # As many features of an image as it has soft tokens.
        pool=vision.side // math.isqrt(config.image_tokens),
    )


def add_parts(model: Osler, names: Collection[str], *, seed: int) -> None:
    """Gives a network, in place, the named parts that it lacks: identities, in float32, seeded.

    Raises:
        RequestError: As `with_parts`.
    """
    config = with_parts(model.config, names)
    torch.manual_seed(seed)
    for name in (name for name in ADDABLE if name in names and getattr(model.config, name) is None):
        for module, built in _built(config, name).items():
            setattr(model, module, built.requires_grad_(False).eval())
    model.config = config


def part_parameters(model: Osler, names: Collection[str]) -> Iterator[tuple[str, nn.Parameter]]:
    """Yields the parameters of parts by their names in the network."""
    for name in names:
        for module in PART_MODULES[name]:  # type: ignore[index]
            for key, parameter in model.get_submodule(module).named_parameters():
                yield f"{module}.{key}", parameter


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnParts:
    """Parts that a folder holds for its base.

    Args:
        names: Of the parts. config: With their sizes.
        tensors: By their names in the network.
        source: The folder.
    """

    names: tuple[str, ...]
    config: OslerConfig
    tensors: Mapping[str, Tensor]
    source: str

    def on(self, config: OslerConfig) -> OslerConfig:
        """Returns the configuration of the base with these parts in place of its own."""
        return dataclasses.replace(config, **{name: getattr(self.config, name) for name in self.names})

    def without(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the tensors of the base that stay."""
        gone = tuple(f"{module}." for name in self.names for module in PART_MODULES[name])  # type: ignore[index]
        return {key: tensor for key, tensor in tensors.items() if not key.startswith(gone)}

    def put_on(self, model: Osler) -> None:
        """Gives a network these parts, in place.

        Raises:
            CheckpointError: If tensors are missing, or do not fit.
        """
        model.config = self.on(model.config)
        with torch.device("meta"):
            built = {key: module for name in self.names for key, module in _built(model.config, name).items()}
        wanted = {f"{key}.{n}": tuple(t.shape) for key, module in built.items() for n, t in module.state_dict().items()}
        found = {key: tuple(tensor.shape) for key, tensor in self.tensors.items()}
        check_tensors(wanted=wanted, found=found, source=self.source)
        for key, module in built.items():
            inner = {n.removeprefix(f"{key}."): t for n, t in self.tensors.items() if n.startswith(f"{key}.")}
            module.load_state_dict({n: t.to(model.dtype) for n, t in inner.items()}, assign=True)
            setattr(model, key, module.requires_grad_(False).eval())


def read_own_parts(folder: Path, content: Mapping[str, Any], *, preprocess: Preprocess) -> OwnParts | None:
    """Reads the parts that a fine-tuned folder holds itself, ``None`` where there are none.

    Args:
        content: Of its config.json. preprocess: The contract of its base.

    Raises:
        CheckpointError: If they are damaged or unknown.
        PreprocessMismatchError: If they were trained under another contract.
    """
    names = listed_parts(content, folder=folder)
    if not names:
        return None
    file = read_safetensors(folder / PARTS_FILE)
    if "preprocess" in file.metadata:
        require_same(Preprocess.from_json(file.metadata["preprocess"]), preprocess)
    config = config_from_dict(content, source=str(folder / "config.json"))
    return OwnParts(names=names, config=config, tensors=file.tensors, source=str(folder))


def _built(config: OslerConfig, name: str) -> dict[str, nn.Module]:
    """The modules of a part, by their names in the network."""
    assert config.vision is not None
    if name == "volume":
        assert config.volume is not None
        return {
            "volume": TubeletEmbedding(config.volume, vision=config.vision),
            "volume_projection": VolumetricProjection(config.volume, vision=config.vision),
        }
    return {"heads": Heads(config)} if name == "heads" else {"adapter": CrossAttentionAdapter(config)}
