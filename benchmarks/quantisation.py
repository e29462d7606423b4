"""What 4 and 8 bits cost in quality on the embedded model: logits against float32, and perplexity.

    python -m benchmarks.quantisation --out benchmarks/quantisation --work FOLDER

The reference is the embedded model in float32. Each variant reads the same
medical paragraphs (our own, and PubMedQA contexts where ``../shared/data`` is
there; no weights were trained or calibrated on either), and its scores for
every next token are compared: the Kullback-Leibler divergence from the
reference, how often the likeliest token is the same, and the perplexity.
Intervals are 95%, paragraphs resampled. ``OSLER_KERNELS`` chooses the kernels.

Calibrated variants are quantized into FOLDER, where a later run finds them;
rows are written as they come, and a later run keeps those that it does not
measure again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import measure
from benchmarks.quantisation_page import curve, table
from osler.evaluate.perplexity import medical_texts
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.quant import QuantPlan, choose_kernels, default_plan
from osler.quant.calibration import Calibration, Method
from osler.quant.folder import load_quantized_folder, quantize_to_folder
from osler.quant.formats import parse_format
from osler.quant.kernels import KernelChoice
from osler.quant.network import quantized_network
from osler.quant.open import OpenedModel, open_model
from osler.quant.plan import EMBEDDING, planned_bytes
from osler.train.calibration_samples import calibration
from osler.weights import load_checkpoint

CHUNK, LONGEST = 64, 256
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

MakePlan = Callable[[OslerConfig], QuantPlan]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """How a model is quantized."""

    plan: MakePlan
    method: Method = "none"


def _formats(layers: str, embedding: str, *, keep: Sequence[str] = ()) -> MakePlan:
    bits = parse_format(layers).bits
    return lambda config: default_plan(config, bits=bits, layers=layers, embedding=embedding, keep=keep)


def _with(form: str, *parts: str, layers: str = "int8-g32", embedding: str = "int8-g32") -> MakePlan:
    """One format for the products whose names hold one of some parts, others for the rest."""

    def make(config: OslerConfig) -> QuantPlan:
        plan = default_plan(config, bits=parse_format(layers).bits, layers=layers, embedding=embedding)
        formats = {n: form if any(part in f"{n}." for part in parts) else f for n, f in plan.formats.items()}
        return replace(plan, formats=formats)

    return make


_FOUR, _EIGHT = "int4-g32-asym", "int8-g32"

VARIANTS: dict[str, Variant] = {
    "8 bits": Variant(_formats(_EIGHT, _EIGHT)),
    "8 bits, one scale an output": Variant(_formats("int8-channel", "int8-channel")),
    "4 bits, symmetric, rounded": Variant(_formats("int4-g32", _EIGHT)),
    "4 bits, rounded": Variant(_formats(_FOUR, _EIGHT)),
    "4 bits, AWQ": Variant(_formats(_FOUR, _EIGHT), "awq"),
    "4 bits, GPTQ": Variant(_formats(_FOUR, _EIGHT), "gptq"),
    "4 bits, AWQ and GPTQ": Variant(_formats(_FOUR, _EIGHT), "awq-gptq"),
    "4 bits, symmetric, GPTQ": Variant(_formats("int4-g32", _EIGHT), "gptq"),
    "4 bits, groups of 64, GPTQ": Variant(_formats("int4-g64-asym", _EIGHT), "gptq"),
    "4 bits, GPTQ, head too": Variant(_formats(_FOUR, _FOUR), "gptq"),
    "4 bits, GPTQ, down at 8": Variant(_formats(_FOUR, _EIGHT, keep=["down"]), "gptq"),
    "4 bits, GPTQ, attention at 8": Variant(_formats(_FOUR, _EIGHT, keep=["attention"]), "gptq"),
    "4 bits, GPTQ, attention and down at 8": Variant(_formats(_FOUR, _EIGHT, keep=["attention", "down"]), "gptq"),
    "4 bits, GPTQ, first and last layer at 8": Variant(_formats(_FOUR, _EIGHT, keep=["ends"]), "gptq"),
    "only the head at 4": Variant(_with(_FOUR, EMBEDDING)),
    "only queries, keys, values at 4": Variant(_with(_FOUR, "qkv_proj")),
    "only attention out at 4": Variant(_with(_FOUR, "o_proj")),
    "only gate and up at 4": Variant(_with(_FOUR, "gate_up_proj")),
    "only down at 4": Variant(_with(_FOUR, "down_proj")),
    "only the first and last layer at 4": Variant(_with(_FOUR, "layers.0.", "layers.17.")),
    "only two middle layers at 4": Variant(_with(_FOUR, "layers.8.", "layers.9.")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Sums over the tokens of each paragraph, (paragraphs, 3): divergence, same likeliest token, loss."""

    sums: np.ndarray
    counts: np.ndarray

    def interval(self, column: int) -> tuple[float, float, float]:
        """Mean over tokens and a 95% interval, paragraphs resampled."""
        rng = np.random.default_rng(0)
        picks = rng.integers(0, len(self.counts), (2000, len(self.counts)))
        means = self.sums[picks, column].sum(1) / self.counts[picks].sum(1)
        low, high = np.quantile(means, (0.025, 0.975))
        return float(self.sums[:, column].sum() / self.counts.sum()), float(low), float(high)


@torch.inference_mode()
def scores(model: Osler, ids_1L: Tensor) -> Iterator[Tensor]:
    """Yields the scores after all tokens but the last, a few tokens at a time, (CHUNK, V)."""
    positions_1L = torch.arange(ids_1L.shape[1])[None]
    hidden_LD = model.decoder(model.embed(ids_1L), positions_BL=positions_1L)[0, :-1]
    for part_CD in hidden_LD.split(CHUNK):
        yield model.logits(part_CD).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The paragraphs, and the reference's scores of each.

    Args:
        ids: Token ids, each (1, L).
        known: The reference's scores of each, as `scores` yields them, in float16: its rounding
            adds less than 0.0001 to the divergence.
    """

    ids: Sequence[Tensor]
    known: Sequence[Sequence[Tensor]]

    def compare_model(self, model: Osler) -> Quality:
        """Compares a model's scores with the reference's."""
        return self.compare(scores(model, ids_1L) for ids_1L in self.ids)

    def compare(self, found: Iterable[Iterable[Tensor]]) -> Quality:
        """Compares scores with the reference's, token by token.

        Args:
            found: For each paragraph what `scores` yields.
        """
        sums = np.zeros((len(self.ids), 3))
        for row, (ids_1L, wanted, parts) in enumerate(zip(self.ids, self.known, found, strict=True)):
            targets_L = ids_1L[0, 1:].split(CHUNK)
            for wanted_CV, found_CV, targets_C in zip(wanted, parts, targets_L, strict=True):
                p = torch.log_softmax(wanted_CV.float(), dim=-1)
                q = torch.log_softmax(found_CV, dim=-1)
                targets = targets_C[:, None]
                sums[row, 0] += float((p.exp() * (p - q)).sum())
                sums[row, 1] += int((p.argmax(-1) == q.argmax(-1)).sum())
                sums[row, 2] -= float(q.gather(1, targets).sum())
        return Quality(sums=sums, counts=np.array([ids.shape[1] - 1 for ids in self.ids]))


def texts_of(model: str, *, count: int) -> Texts:
    """Reads the paragraphs with the reference."""
    reference = load_checkpoint(model, dtype="float32")
    tokenizer, bos = reference.tokenizer, reference.model.config.tokens.bos
    paragraphs = medical_texts(DATA if DATA.is_dir() else None)
    texts = [torch.tensor([[bos, *tokenizer.encode(text)[: LONGEST - 1]]]) for text in paragraphs[:count]]
    return Texts(ids=texts, known=[[part.half() for part in scores(reference.model, ids)] for ids in texts])


def row_of(name: str, quality: Quality, *, size: int, method: str) -> Row:
    """A row of the table; perplexity with its interval."""
    kl, same, loss = (quality.interval(column) for column in range(3))
    found = {"kl": kl, "same": same, "perplexity": [math.exp(x) for x in loss], "tokens": int(quality.counts.sum())}
    return {"name": name, "method": method, "bytes": size, **found}


def write_page(path: Path) -> None:
    """Draws the table and the curve of the rows in a file."""
    found = json.loads(path.read_text(encoding="utf-8"))["rows"]
    order = ["float32", "bfloat16", *VARIANTS]
    rows = sorted(found.values(), key=lambda row: order.index(row["name"]) if row["name"] in order else len(order))
    machine = measure(threads=(1,), peaks=()).markdown()
    path.with_name(f"{path.stem}-table.md").write_text(f"{machine}\n\n{table(rows)}\n", encoding="utf-8")
    path.with_suffix(".svg").write_text(curve(rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--texts", type=int, default=10, help="paragraphs at most")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), help="none: draw the page again")
    parser.add_argument("--work", type=Path, help="folder for calibrated weights")
    parser.add_argument("--out", type=Path, required=True, help="write OUT.json, OUT-table.md and OUT.svg")
    options = parser.parse_args()
    path = options.out.with_suffix(".json")
    result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": {}}
    if options.variants:
        for name, row in _measure(options, known=result["rows"]):
            result["rows"][name] = row
            print(json.dumps(row), flush=True)
            path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    write_page(path)


def _measure(options: argparse.Namespace, *, known: Mapping[str, object]) -> Iterator[tuple[str, Row]]:
    """Yields name and row of the references that are not known yet and of the variants that were asked for."""
    texts = texts_of(options.model, count=options.texts)

    def row(name: str, model: Osler, *, size: int, method: str = "none") -> tuple[str, Row]:
        return name, row_of(name, texts.compare_model(model), size=size, method=method)

    reference = load_checkpoint(options.model, dtype="float32").model
    weights = sum(parameter.numel() for parameter in reference.decoder.parameters())
    if "float32" not in known:
        yield row("float32", reference, size=4 * weights)
    del reference
    if "bfloat16" not in known:
        yield row("bfloat16", load_checkpoint(options.model, dtype="bfloat16").model, size=2 * weights)
    kernels = choose_kernels()
    opened = open_model(options.model)
    for name in options.variants:
        variant = VARIANTS[name]
        plan = variant.plan(opened.config)
        model = _quantized(name, variant=variant, plan=plan, opened=opened, kernels=kernels, options=options)
        yield row(name, model, size=planned_bytes(opened.config, plan=plan), method=variant.method)


def _quantized(
    name: str,
    *,
    variant: Variant,
    plan: QuantPlan,
    opened: OpenedModel,
    kernels: KernelChoice,
    options: argparse.Namespace,
) -> Osler:
    if variant.method == "none":
        return quantized_network(
            opened.source, config=opened.config, plan=plan, dtype=torch.bfloat16, kernels=kernels.kernels, name=name
        )
    if options.work is None:
        raise SystemExit("Calibrated variants need --work FOLDER.")
    folder = options.work / name.replace(",", "").replace(" ", "-").lower()
    if not (folder / "config.json").is_file():
        quantize_to_folder(
            options.model, folder, bits=plan.bits, plan=plan, calibrate=partial(_samples, method=variant.method)
        )
    return load_quantized_folder(folder, dtype="bfloat16", kernels=kernels).model


def _samples(opened: OpenedModel, *, method: Method) -> Calibration:
    return calibration(opened.config, method=method, tokenizer=opened.tokenizer(), preprocess=opened.preprocess)


if __name__ == "__main__":
    main()
