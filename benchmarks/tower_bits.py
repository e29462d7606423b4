"""What the image tower and the heads lose at 4 and 8 bits: a copy of a folder with matrices rounded and widened again.

    python -m benchmarks.tower_bits osler-mini --format int8-g32 --of tower --out FOLDER
    osler evaluate --data DATA --model FOLDER --bits 16 --untrained --sets perception,nih-findings,lung-boxes --out DIR

Quality alone is measured so: the copy takes as many bytes as the original. Biases, norms, positions and tables keep
their numbers, as they would in a stored format.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from torch import Tensor

from osler.errors import OslerError, RequestError
from osler.quant.formats import WeightFormat, parse_format
from osler.quant.packed import dequantize, quantize
from osler.train.checkpoints import save_tensors
from osler.weights.catalog import find_model
from osler.weights.safetensors_io import read_safetensors

FILES = {"tower": "vision.safetensors", "heads": "parts.safetensors"}


def rounded(name: str, weight: Tensor, *, form: WeightFormat) -> Tensor:
    """A matrix as its format holds it; other tensors as they are.

    Args:
        name: Of the tensor. weight: Of any shape.
        form: A matrix whose inputs its groups do not divide gets one scale for each output.
    """
    if weight.dim() != 2 or not name.endswith("weight") or "embedding" in name:
        return weight
    if form.group is not None and weight.shape[1] % form.group:
        form = WeightFormat(bits=form.bits, group=None, zero=form.zero)
    return dequantize(quantize(weight, form=form, name=name)).to(weight.dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an Osler folder, or osler-mini")
    parser.add_argument("--format", default="int8-g32", help="such as int8-g32, int8-channel, int4-g32-asym")
    parser.add_argument("--of", nargs="+", choices=tuple(FILES), default=["tower"])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    given = parser.parse_args()
    try:
        if given.out.exists():
            raise RequestError(f"{str(given.out)!r} is there already.", allowed="A new folder.")
        form, source = parse_format(given.format), find_model(given.model)
        shutil.copytree(source, given.out)
        changed = total = 0
        for part in given.of:
            stored = read_safetensors(source / FILES[part])
            tensors = {name: rounded(name, weight, form=form) for name, weight in stored.tensors.items()}
            different = [name for name, weight in tensors.items() if not torch.equal(weight, stored.tensors[name])]
            changed, total = changed + len(different), total + sum(stored.tensors[name].numel() for name in different)
            save_tensors(given.out / FILES[part], tensors, metadata=stored.metadata)
        print(f"{changed} matrices of {total / 1e6:.1f} million weights rounded to {form.name}: {given.out}")
    except OslerError as error:
        raise SystemExit(f"tower_bits: {error}") from error


if __name__ == "__main__":
    main()
