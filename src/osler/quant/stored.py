"""A folder of quantized weights, opened and checked, its tensors memory-mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from osler.errors import CheckpointError
from osler.model.config import OslerConfig
from osler.prepare import Preprocess, require_same
from osler.quant.network import part_names
from osler.quant.packed import PackedWeight
from osler.quant.plan import QuantPlan, products
from osler.quant.stream_file import file_digest, file_probe
from osler.weights.assemble import empty_network
from osler.weights.config_json import config_from_dict
from osler.weights.contract import read_contract
from osler.weights.json_file import read_json
from osler.weights.safetensors_io import read_safetensors

MODEL_TYPE = "osler-quantized"
WEIGHTS_FILE = "weights.safetensors"
VERSION = 1

Verify = Literal["probe", "full"]
"""Of the weights, when they are opened: a few blocks of a large file, or every byte."""

WHOLE_BELOW = 64 << 20
"""Bytes of a file that is always compared as a whole: that takes a tenth of a second at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedFolder:
    """What a folder holds.

    Args:
        folder: Where it is. content: Of ``config.json``.
        config: Sizes of the network. preprocess: Its contract.
        stored: Its tensors. plan: In which formats they are.
        calibration: How they were rounded, JSON; empty: to the nearest.
    """

    folder: Path
    content: Mapping[str, Any]
    config: OslerConfig
    plan: QuantPlan
    preprocess: Preprocess
    stored: StoredWeights
    calibration: str


def open_folder(folder: Path, *, verify: Verify = "probe") -> OpenedFolder:
    """Opens a folder of quantized weights.

    Args:
        verify: How much of the weights is compared with the digests that were written with them.

    Raises:
        CheckpointError: If files are missing, truncated or changed, or belong to different models.
        PreprocessMismatchError: If weights and preprocess.json name different contracts.
    """
    folder = Path(folder)
    content = read_json(folder / "config.json")
    if content.get("model_type") != MODEL_TYPE or content.get("version") != VERSION:
        raise CheckpointError(
            f"{str(folder)!r} has the type {content.get('model_type')!r}, version {content.get('version')!r}.",
            allowed=f"{MODEL_TYPE!r}, version {VERSION}, is expected.",
        )
    config = config_from_dict(content, source=str(folder / "config.json"))
    _verify(folder / WEIGHTS_FILE, content=content, verify=verify)
    file = read_safetensors(folder / WEIGHTS_FILE)
    plan = QuantPlan.from_json(file.metadata.get("plan", ""), source=str(folder / WEIGHTS_FILE))
    plan.require(config, source=str(folder))
    preprocess = read_contract(folder)
    require_same(Preprocess.from_json(file.metadata.get("preprocess", "")), preprocess)
    return OpenedFolder(
        folder=folder,
        content=content,
        config=config,
        plan=plan,
        preprocess=preprocess,
        stored=StoredWeights(file.tensors, plan=plan, config=config, source=str(folder)),
        calibration=file.metadata.get("calibration", ""),
    )


class StoredWeights:
    """The tensors of a quantized file, checked against plan and configuration."""

    def __init__(self, tensors: Mapping[str, Tensor], *, plan: QuantPlan, config: OslerConfig, source: str) -> None:
        self._tensors, self._plan, self._source = tensors, plan, source
        self.shapes = {name: tuple(value.shape) for name, value in empty_network(config).state_dict().items()}
        self._sizes = {name: (rows, columns) for name, rows, columns in products(config.decoder)}
        for name in plan.matrices:
            if (shape := self.shapes.get(f"{name}.weight")) is None:
                raise self._wrong(name, found="in the plan", wanted="names of the network's layers")
            rows, columns = shape
            self._sizes[name] = (rows, columns)

    def parts(self, name: str) -> list[PackedWeight]:
        """Returns the packed parts of a product, or the matrix of that name."""
        if name in self._plan.formats:
            return [self._weight(name, *self._sizes[name])]
        weights = []
        for number, tensor in enumerate(part_names(name)):
            rows, columns = self.shapes[tensor]
            weights.append(self._weight(f"{name}.{number}", rows, columns))
        return weights

    def plain(self, name: str) -> Tensor:
        """Returns a tensor that is not quantized."""
        tensor = self._tensors.get(name)
        if tensor is None or tuple(tensor.shape) != self.shapes[name]:
            shape = "absent" if tensor is None else tuple(tensor.shape)
            raise self._wrong(name, found=str(shape), wanted=str(self.shapes[name]))
        return tensor

    def _weight(self, name: str, rows: int, columns: int) -> PackedWeight:
        form = self._plan.format(name)
        codes, scale = self._tensors.get(f"{name}.codes"), self._tensors.get(f"{name}.scale")
        if form is None or codes is None or scale is None:
            raise self._wrong(name, found="absent", wanted="codes, scales and a format in the plan")
        weight = PackedWeight(
            format=form,
            rows=rows,
            columns=columns,
            codes=codes,
            scale=scale,
            offset=self._tensors.get(f"{name}.offset"),
        )
        return weight.check(name)

    def _wrong(self, name: str, *, found: str, wanted: str) -> CheckpointError:
        return CheckpointError(
            f"The quantized weights in {self._source!r} do not fit their configuration: {name!r} is {found}.",
            allowed=f"Expected: {wanted}.",
            next_step="Copy the folder again, or quantize the model again.",
        )


def _verify(path: Path, *, content: Mapping[str, object], verify: Verify) -> None:
    if not path.is_file():
        raise CheckpointError(f"{str(path)!r} is missing.", next_step="Copy the folder again.")
    whole = verify == "full" or path.stat().st_size < WHOLE_BELOW
    found = file_digest(path) if whole else file_probe(path)
    if found != content.get("sha256" if whole else "probe"):
        raise CheckpointError(
            f"{str(path)!r} is truncated or was changed: it is not the file that was written with config.json "
            f"({path.stat().st_size:,} bytes now).",
            next_step="Copy the folder again, or quantize the model again.",
        )
