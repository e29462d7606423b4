"""Memory that the 4B network at 4 bits needs to answer a question on a CT of 85 slices, slice by slice and as slabs.

    python -m benchmarks.memory_4b FOLDER --way slices --out benchmarks/memory_4b
    python -m benchmarks.memory_4b FOLDER --way slabs --out benchmarks/memory_4b

The weights are random, which changes no memory: a quantized folder of the shape
of the published network is written once into FOLDER (3.6 GB) and opened
memory-mapped. The CT, the contract, the prompt with all its tokens and the cut
into parts are those of a true answer. Memory does not depend on how often a
step is repeated, so that the image tower encodes the first images only (their
features stand for the others), and of the prompt only the last tokens are read,
after a cache that holds keys and values of all before them (``--read``; 0 reads
everything). OUT.json keeps the rows of both ways, OUT-table.md shows them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.full_size_4b import QUESTION, SLICES, Memory, Report, phantom_ct, stage
from benchmarks.machine import measure
from benchmarks.random_folder import write_random_folder
from osler.engine.chunks import chunk_ends
from osler.engine.features import image_batch, release_tower
from osler.engine.kv_cache import KVCache
from osler.engine.runner import Runner
from osler.engine.sampling import greedy
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.prepare import ModelInputs, assemble, prepare_images, with_visual_tokens
from osler.quant import choose_kernels, load_quantized_folder
from osler.quant.tower import fuse_eyes
from osler.weights import Checkpoint

NAME, BITS, BUDGET = "medgemma-1.5-4b", 4, 2048
AIMS = {"slices": 6.0, "slabs": 4.0}
"""GB."""


def inputs_of(checkpoint: Checkpoint, *, way: str) -> ModelInputs:
    """The prompt of a question on the CT."""
    contract = checkpoint.preprocess if way == "slices" else with_visual_tokens(checkpoint.preprocess, BUDGET)
    tokens = checkpoint.model.config.tokens
    prepared = prepare_images(phantom_ct(SLICES), preprocess=contract)
    return assemble(prepared, QUESTION, preprocess=contract, tokenizer=checkpoint.tokenizer, tokens=tokens)


@torch.inference_mode()
def encode(model: Osler, inputs: ModelInputs) -> torch.Tensor:
    """Soft tokens of the prompt, (N, T, D); the first images or slabs that are encoded at once stand for all."""
    size = image_batch(model)
    if not inputs.volumes:
        first_NTD = model.encode_images(torch.from_numpy(next(iter(inputs.pixels.batches(size=size)))))
        return first_NTD[torch.arange(len(inputs.images)) % len(first_NTD)]
    (plan,) = inputs.volumes.values()
    chosen = plan.slots[:size]
    pixels = np.concatenate(list(inputs.pixels.batches(size=1)))[chosen.reshape(-1)]
    first_STV = model.encode_slabs(torch.from_numpy(pixels).unflatten(0, chosen.shape))
    side, slabs = round(first_STV.shape[1] ** 0.5), len(plan.slabs)
    tokens_MD = model.project_slabs(
        first_STV[torch.arange(slabs) % len(first_STV)],
        positions_mm_ST3=torch.from_numpy(plan.positions_mm(side=side)),
        series_S=torch.zeros(slabs, dtype=torch.long),
        grids=[(plan.grid.groups, plan.grid.rows, plan.grid.columns)],
    )
    return tokens_MD[:, None]


@torch.inference_mode()
def answer(model: Osler, inputs: ModelInputs, *, features_NTD: torch.Tensor, read: int, tokens: int) -> int:
    """Reads the end of the prompt and decodes; returns the number of tokens read."""
    runner, image = Runner(model), model.config.tokens.image
    ids = np.asarray(inputs.token_ids)
    starts = [0, *chunk_ends(ids, image_token=image)]
    first = next(start for start in starts if read == 0 or len(ids) - start <= read)
    cache = KVCache(model.config.decoder, planned=len(ids) + tokens)
    decoder = model.config.decoder
    earlier = torch.randn(1, decoder.kv_heads, first, decoder.head_dim).to(model.dtype)
    for layer in range(decoder.layers if first else 0):
        cache.update(layer, earlier, earlier)
    del earlier
    places = int((ids[:first] == image).sum())
    flat_MD = features_NTD.flatten(0, 1)
    for start, end in pairwise(starts):
        if start < first:
            continue
        part = torch.from_numpy(ids[start:end])[None]
        count = int((part == image).sum())
        features = flat_MD[places : places + count, None] if count else None
        logits_1V = runner.read(part, features_NTD=features, cache=cache)
        places += count
    for _ in range(tokens):
        logits_1V = runner.step(greedy(logits_1V), cache=cache)
    assert cache.length == len(ids) + tokens
    return len(ids) - first


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measures one way."""
    write_random_folder(options.folder, config=get_config(NAME), bits=BITS)
    report = Report(machine=measure(threads=(1,), peaks=()), threads=options.threads, weights=0)
    with stage(report, "open"):
        checkpoint = load_quantized_folder(options.folder, dtype="bfloat16", kernels=choose_kernels())
        fuse_eyes(checkpoint.model, kernels=choose_kernels().kernels)
    with stage(report, "prepare"):
        inputs = inputs_of(checkpoint, way=options.way)
    with stage(report, "encode"):
        features_NTD = encode(checkpoint.model, inputs)
        release_tower(checkpoint.model)
    with stage(report, "answer"):
        read = answer(checkpoint.model, inputs, features_NTD=features_NTD, read=options.read, tokens=options.tokens)
    peaks = {name: {"resident": peak.resident, "own": peak.own} for name, peak in report.peaks.items()}
    return {
        "way": options.way,
        "prompt": len(inputs.token_ids),
        "read": read,
        "decoded": options.tokens,
        "file": sum(file.stat().st_size for file in options.folder.glob("*.safetensors")),
        "peaks": peaks,
        "machine": report.machine.markdown(),
    }


def lines(rows: dict[str, dict]) -> Iterator[str]:
    """Writes the rows in Markdown."""
    for row in rows.values():
        highest = max(Memory(**peak).resident for peak in row["peaks"].values()) / 1e9
        yield f"**{row['way']}**: {row['prompt']:,} tokens, the last {row['read']:,} read, {row['decoded']} decoded; "
        yield f"file {row['file'] / 1e9:.2f} GB; most memory {highest:.2f} GB (aim {AIMS[row['way']]:.0f} GB)."
        yield ""
        yield "| Stage | Peak resident, GB | Of it without a file behind, GB |"
        yield "|---|---:|---:|"
        for name, peak in row["peaks"].items():
            yield f"| {name} | {peak['resident'] / 1e9:.2f} | {peak['own'] / 1e9:.2f} |"
        yield ""
    yield row["machine"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the random weights are kept")
    parser.add_argument("--way", choices=AIMS, required=True)
    parser.add_argument("--read", type=int, default=0, help="tokens of the prompt to read, the last ones; 0: all")
    parser.add_argument("--tokens", type=int, default=4, help="tokens of the answer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="without an ending")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.out.with_suffix(".json")
    rows = json.loads(path.read_text()) if path.is_file() else {}
    rows[options.way] = run(options)
    path.write_text(json.dumps(rows, indent=2) + "\n")
    text = "\n".join(lines(rows)) + "\n"
    print(text)
    options.out.with_name(f"{options.out.name}-table.md").write_text(text)


if __name__ == "__main__":
    main()
