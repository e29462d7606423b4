"""A quantized folder of the 4B shape with random weights, written a tensor at a time.

The values change neither time nor memory. The largest tensor, 671 MB, is all
that is in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from osler.model.config import OslerConfig
from osler.prepare import preprocess_for
from osler.quant.formats import parse_format
from osler.quant.matrices import matrices
from osler.quant.network import product_tensors
from osler.quant.packed import layout_shapes
from osler.quant.plan import QuantPlan, default_plan, products
from osler.quant.stored import MODEL_TYPE, VERSION, WEIGHTS_FILE
from osler.quant.stream_file import Place, file_probe, write_stream
from osler.weights.assemble import empty_network
from osler.weights.config_json import config_to_dict
from osler.weights.contract import CONTRACT_FILE
from osler.weights.skills import PUBLISHED_SKILLS

SCALE, OFFSET = 0.004, -0.03
"""Of 4-bit codes: weights of the size that leaves activations as they are."""


def write_random_folder(folder: Path, *, config: OslerConfig, bits: int, layers: str | None = None) -> None:
    """Writes the folder unless it is whole already; ``layers`` names another format of the decoder's layers."""
    if (folder / "config.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    plan, preprocess = default_plan(config, bits=bits, layers=layers), preprocess_for(config)
    metadata = {
        "format": "pt",
        "plan": plan.to_json(),
        "preprocess": preprocess.to_json(),
        "preprocess_hash": preprocess.hash,
    }
    places = _places(config, plan=plan)
    digest = write_stream(folder / WEIGHTS_FILE, places=places, metadata=metadata, tensors=lambda: _tensors(places))
    (folder / CONTRACT_FILE).write_text(preprocess.to_json() + "\n")
    header = {
        "model_type": MODEL_TYPE,
        "version": VERSION,
        "made_from": config.name,
        "license": "random weights",
        "tokenizer_home": "embedded",
        "trained": sorted(PUBLISHED_SKILLS),
        "sha256": digest,
        "probe": file_probe(folder / WEIGHTS_FILE),
    }
    (folder / "config.json").write_text(json.dumps(header | config_to_dict(config), indent=2) + "\n")


def _places(config: OslerConfig, *, plan: QuantPlan) -> dict[str, Place]:
    places: dict[str, Place] = {}
    sizes = {name: (rows, columns) for name, rows, columns in products(config.decoder)} | matrices(config)
    for name, (rows, columns) in sizes.items():
        form = parse_format(plan.formats[name])
        codes, scale = layout_shapes(form, rows=rows, columns=columns)
        places |= {f"{name}.codes": (torch.uint8, codes), f"{name}.scale": (torch.float16, scale)}
        if form.zero == "asymmetric":
            places[f"{name}.offset"] = (torch.float16, scale)
    taken = product_tensors(config) | {f"{name}.weight" for name in matrices(config)}
    state = empty_network(config).state_dict()
    return places | {name: (torch.bfloat16, tuple(value.shape)) for name, value in state.items() if name not in taken}


def _tensors(places: dict[str, Place]) -> Iterator[Tensor]:
    noise = torch.randint(0, 256, (1 << 24,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for name, (dtype, shape) in places.items():
        size = torch.Size(shape).numel()
        if dtype == torch.uint8:
            yield noise.repeat(-(-size // len(noise)))[:size].view(shape)
        elif dtype == torch.float16:
            scale = SCALE if "layers" in name else SCALE / 16
            yield torch.full(shape, OFFSET if name.endswith("offset") else scale, dtype=dtype)
        elif len(shape) > 1:
            values = (noise[: 1 << 20].float() - 127.5) * 3e-4
            yield values.bfloat16().repeat(-(-size // len(values)))[:size].view(shape)
        else:
            yield torch.zeros(shape, dtype=dtype) if name.startswith("language") else torch.ones(shape, dtype=dtype)
