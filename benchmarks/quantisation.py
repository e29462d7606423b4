"""What 4 and 8 bits cost in quality on the embedded model: logits against float32, and perplexity.

    python -m benchmarks.quantisation --out benchmarks/quantisation

The reference is the embedded model in float32. Each variant reads the same
medical paragraphs (our own, and PubMedQA contexts where ``../shared/data`` is
there; no weights were trained on either), and its scores for every next token
are compared: the Kullback-Leibler divergence from the reference, how often the
likeliest token is the same, and the perplexity. Intervals are 95%, paragraphs
resampled. ``OSLER_KERNELS`` chooses the kernels.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import Machine, measure
from osler.evaluate.perplexity import medical_texts
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.quant import QuantPlan, choose_kernels, default_plan
from osler.quant.network import quantized_network
from osler.quant.open import open_model
from osler.quant.plan import EMBEDDING, planned_bytes
from osler.weights import load_checkpoint

CHUNK, LONGEST = 64, 256
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

MakePlan = Callable[[OslerConfig], QuantPlan]


def _formats(bits: int, layers: str, embedding: str) -> MakePlan:
    return lambda config: default_plan(config, bits=bits, layers=layers, embedding=embedding)


def _only(part: str) -> MakePlan:
    """int4-g32 for one kind of product, int8-g32 for all others."""

    def make(config: OslerConfig) -> QuantPlan:
        plan = default_plan(config, bits=8, layers="int8-g32", embedding="int8-g32")
        return replace(plan, formats={n: "int4-g32" if part in n else f for n, f in plan.formats.items()})

    return make


def _without(numbers: Sequence[int]) -> MakePlan:
    """int4-g32 for all layers but some, which keep 8 bits."""

    def make(config: OslerConfig) -> QuantPlan:
        plan = default_plan(config, bits=4)
        kept = tuple(f".layers.{number % config.decoder.layers}." for number in numbers)
        formats = {n: "int8-g32" if any(k in n for k in kept) else f for n, f in plan.formats.items()}
        return replace(plan, formats=formats)

    return make


VARIANTS: dict[str, MakePlan] = {
    "8 bits, the usual plan": lambda config: default_plan(config, bits=8),
    "8 bits, one scale an output": _formats(8, "int8-channel", "int8-channel"),
    "4 bits, the usual plan": lambda config: default_plan(config, bits=4),
    "4 bits, symmetric": _formats(4, "int4-g32", "int8-g32"),
    "4 bits, groups of 64": _formats(4, "int4-g64", "int8-g32"),
    "4 bits, head too": _formats(4, "int4-g32", "int4-g32"),
    "4 bits, head too, asymmetric": _formats(4, "int4-g32-asym", "int4-g32-asym"),
    "4 bits, first and last layer at 8": _without((0, -1)),
    "only the head at 4": _only(EMBEDDING),
    "only attention at 4": _only("self_attn"),
    "only gate and up at 4": _only("gate_up_proj"),
    "only down at 4": _only("down_proj"),
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


@torch.inference_mode()
def compare(model: Osler, *, texts: Sequence[Tensor], known: Sequence[Sequence[Tensor]]) -> Quality:
    """Compares a model's scores with the reference's, token by token.

    Args:
        texts: Token ids, each (1, L).
        known: The reference's scores of each, as `scores` yields them, in float16: its rounding
            adds less than 0.0001 to the divergence.
    """
    sums = np.zeros((len(texts), 3))
    for row, (ids_1L, wanted) in enumerate(zip(texts, known, strict=True)):
        targets_L = ids_1L[0, 1:].split(CHUNK)
        for wanted_CV, found_CV, targets_C in zip(wanted, scores(model, ids_1L), targets_L, strict=True):
            p = torch.log_softmax(wanted_CV.float(), dim=-1)
            q = torch.log_softmax(found_CV, dim=-1)
            targets = targets_C[:, None]
            sums[row, 0] += float((p.exp() * (p - q)).sum())
            sums[row, 1] += int((p.argmax(-1) == q.argmax(-1)).sum())
            sums[row, 2] -= float(q.gather(1, targets).sum())
    return Quality(sums=sums, counts=np.array([ids.shape[1] - 1 for ids in texts]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--texts", type=int, default=10, help="paragraphs at most")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    started = time.perf_counter()
    reference = load_checkpoint(options.model, dtype="float32")
    tokenizer, bos = reference.tokenizer, reference.model.config.tokens.bos
    paragraphs = medical_texts(DATA if DATA.is_dir() else None)
    texts = [torch.tensor([[bos, *tokenizer.encode(text)[: LONGEST - 1]]]) for text in paragraphs[: options.texts]]
    with torch.inference_mode():
        known = [[part.half() for part in scores(reference.model, ids)] for ids in texts]
    kernels = choose_kernels()
    opened = open_model(options.model)
    config, rows = opened.config, []

    def add(name: str, model: Osler, size: int) -> None:
        quality = compare(model, texts=texts, known=known)
        kl, same, loss = (quality.interval(column) for column in range(3))
        rows.append({"name": name, "bytes": size, "kl": kl, "same": same, "perplexity": [math.exp(x) for x in loss]})
        print(json.dumps(rows[-1]), flush=True)

    weights = sum(parameter.numel() for parameter in reference.model.decoder.parameters())
    add("float32", reference.model, 4 * weights)
    del reference
    add("bfloat16", load_checkpoint(options.model, dtype="bfloat16").model, 2 * weights)
    for name in options.variants:
        plan = VARIANTS[name](config)
        model = quantized_network(
            opened.source, config=config, plan=plan, dtype=torch.bfloat16, kernels=kernels.kernels, name=name
        )
        add(name, model, planned_bytes(config, plan=plan))
    result = {
        "model": options.model,
        "kernels": kernels.kernels.name,
        "texts": len(texts),
        "tokens": int(sum(ids.shape[1] - 1 for ids in texts)),
        "seconds": time.perf_counter() - started,
        "rows": rows,
    }
    text = report(result, machine=measure(threads=(1,), peaks=()))
    print(text)
    if options.out is not None:
        options.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")


def report(result: dict, *, machine: Machine) -> str:
    """Writes the table in Markdown."""
    lines = [
        "# Quality at 4 and 8 bits",
        "",
        f"`python -m benchmarks.quantisation`: `{result['model']}` on {result['texts']} medical paragraphs, "
        f"{result['tokens']:,} tokens; kernels {result['kernels']}; {result['seconds']:.0f} s.",
        "",
        machine.markdown(),
        "",
        "MB are those of the decoder's products, embedding included; the embedding of the embedded model was released "
        "at 8 bits, and its layers at 4 to 6, so that `int8-g32` keeps the embedding as it is.",
        "",
        "| Weights | MB | divergence from float32, nats | same likeliest token | perplexity |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        kl, same, ppl = row["kl"], row["same"], row["perplexity"]
        lines.append(
            f"| {row['name']} | {row['bytes'] / 1e6:.0f} | {kl[0]:.4f} ({kl[1]:.4f} to {kl[2]:.4f}) "
            f"| {same[0]:.1%} ({same[1]:.1%} to {same[2]:.1%}) | {ppl[0]:.2f} ({ppl[1]:.2f} to {ppl[2]:.2f}) |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
