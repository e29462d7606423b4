"""Prints how far the network is from the reference, block by block.

    python -m benchmarks.parity > benchmarks/parity.md

Random weights, small sizes, the true structure; see ``tests/parity``. The
float32 rows are asserted by the tests. The bfloat16 rows are statistics: both
sides round, in the same places but not in the same kernels.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import transformers
from torch import Tensor

from osler.model.osler import image_blocks
from tests.parity.comparisons import COMPARISONS, NEW_TOKENS, text_ids, with_images
from tests.parity.reference import GEMMA3, multimodal_pair

SEEDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """How far two bfloat16 networks are from float32 and from each other.

    Args:
        ours: Root-mean-square error of our logits, relative to float32.
        reference: The same for the reference.
        apart: Root-mean-square distance between the two, in the same unit.
        same_token: Share of positions with the same most likely token.
    """

    ours: float
    reference: float
    apart: float
    same_token: float


def rounding(seed: int) -> Rounding:
    """Compares both networks in bfloat16 on a prompt with images."""
    reference, ours = multimodal_pair(seed=seed)
    ids = with_images(text_ids(120, seed=seed), starts=(5, 40, 46, 90))
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    types = (ids == GEMMA3.tokens.image).long()

    def run_reference() -> Tensor:
        return reference(ids, pixel_values=pixels.to(reference.dtype), token_type_ids=types).logits.float()

    def run_ours() -> Tensor:
        x = ours.embed(ids, ours.encode_images(pixels))
        hidden = ours.decoder(
            x,
            positions_BL=torch.arange(ids.shape[1])[None],
            image_blocks_BL=image_blocks(ids, image_token=GEMMA3.tokens.image),
        )
        return ours.logits(hidden).float()

    exact = run_reference()
    reference.bfloat16()
    ours.bfloat16()
    theirs, mine = run_reference(), run_ours()
    unit = exact.square().mean().sqrt()

    def error(a: Tensor, b: Tensor) -> float:
        return float((a - b).square().mean().sqrt() / unit)

    return Rounding(
        ours=error(mine, exact),
        reference=error(theirs, exact),
        apart=error(mine, theirs),
        same_token=float((mine.argmax(-1) == theirs.argmax(-1)).float().mean()),
    )


def lines() -> Iterator[str]:
    """Writes the report, line by line."""
    yield "# Parity with the reference"
    yield ""
    yield "`python -m benchmarks.parity > benchmarks/parity.md`"
    yield ""
    yield (
        f"transformers {transformers.__version__} (eager attention), torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}. Random weights, true structure, small sizes."
    )
    yield ""
    yield "## float32"
    yield ""
    yield f"| Compared | Greatest relative difference | Greedy tokens equal, of {NEW_TOKENS} |"
    yield "|---|---:|---:|"
    for name, compare in COMPARISONS.items():
        found = compare()
        yield f"| {name} | {found.difference:.1e} | {'' if found.tokens is None else found.tokens} |"
    yield ""
    yield "## bfloat16"
    yield ""
    yield f"A prompt of 120 tokens with four images, {SEEDS} draws of weights; errors relative to float32 logits."
    yield ""
    yield "| | Mean | Worst |"
    yield "|---|---:|---:|"
    draws = [rounding(seed) for seed in range(SEEDS)]
    for label, values, worst in (
        ("Error of Osler", [draw.ours for draw in draws], max),
        ("Error of the reference", [draw.reference for draw in draws], max),
        ("Distance between the two", [draw.apart for draw in draws], max),
        ("Same most likely token", [draw.same_token for draw in draws], min),
    ):
        yield f"| {label} | {sum(values) / len(values):.4f} | {worst(values):.4f} |"


def main() -> None:
    """Prints the report."""
    torch.set_num_threads(2)
    with torch.inference_mode():
        for line in lines():
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
