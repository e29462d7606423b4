"""Reading 512 tokens at the 4B shape beside `transformers`: the same few layers on both sides, in turns.

    python -m benchmarks.prefill_4b --work FOLDER --out benchmarks/prefill_4b

Some layers of the decoder of the 4B network with random weights (which changes no speed), at 4 and 8 bits by the usual
plan, and the same layers of `transformers` in bfloat16. Embedding and language head are left out on both sides. A whole
network takes as much longer as it has more layers; few layers may stay in a large third-level cache, so that
``--layers 34`` (13 GB of memory) is the figure to quote. A second table says which part of a layer takes how long, in
the same turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers import Gemma3TextConfig, Gemma3TextModel

from benchmarks.machine import CLOCK, Seconds, add_turn_options, in_turns, measure, page_head, start_turns, timed
from benchmarks.quant_kernels import PROMPT, limits, share
from benchmarks.random_folder import write_random_folder
from osler.model.config import DecoderConfig, OslerConfig, get_config
from osler.model.osler import Osler
from osler.quant import choose_kernels, load_quantized_folder
from osler.quant.kernels import NativeKernels

PEER = "transformers, bfloat16"


def peer_of(config: OslerConfig) -> Gemma3TextModel:
    """The same layers in `transformers`; its vocabulary is small, as no token is looked up."""
    decoder = config.decoder
    made = Gemma3TextConfig(
        vocab_size=1024,
        hidden_size=decoder.width,
        intermediate_size=decoder.mlp_width,
        num_hidden_layers=decoder.layers,
        num_attention_heads=decoder.heads,
        num_key_value_heads=decoder.kv_heads,
        head_dim=decoder.head_dim,
        sliding_window=decoder.window,
        max_position_embeddings=4096,
        attn_implementation="sdpa",
    )
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)  # never in float32: 34 layers of it would take 13 GB
    try:
        return Gemma3TextModel(made).eval()
    finally:
        torch.set_default_dtype(usual)


class PartClock:
    """Adds up what the calls of kernels take, by the part of a layer that they compute.

    Args:
        kernels: Watched from now on, in place. config: Of the decoder that they compute.
    """

    def __init__(self, kernels: NativeKernels, *, config: DecoderConfig) -> None:
        heads, keys, width = config.heads, config.kv_heads, config.head_dim
        self._products = {
            ((heads + 2 * keys) * width, config.width): "queries, keys and values: product",
            (config.width, heads * width): "output: product",
            (2 * config.mlp_width, config.width): "gate and up: product with gate",
            (config.width, config.mlp_width): "down: product",
        }
        self.runs: list[dict[str, float]] = []
        for method, part in (
            ("linear", None),
            ("gated", None),
            ("heads", "heads normalized, rotated and placed"),
            ("norm", "norms, and sums of the stream"),
            ("attend", "attention"),
        ):
            setattr(kernels, method, partial(self._watch, getattr(kernels, method), part))

    def run(self, way: Callable[[], object]) -> Seconds:
        """Times a way, and its parts in seconds."""
        self._now: Counter[str] = Counter()
        seconds = Seconds(timed(way))
        self.runs.append(dict(self._now) | {"between the calls": seconds - self._now.total()})
        return seconds

    def medians(self, *, turns: int) -> dict[str, float]:
        """The medians of the last turns."""
        runs = self.runs[-turns:]
        return {part: statistics.median(run[part] for run in runs) for part in runs[0]}

    def _watch(self, call: Callable[..., object], part: str | None, *args: object, **named: object) -> object:
        clock = CLOCK.get()
        started = clock()
        result = call(*args, **named)
        if part is None:
            weight = args[1].weight
            part = self._products[weight.rows, weight.columns]
        self._now[part] += clock() - started
        return result


def quantized(config: OslerConfig, *, bits: int, work: Path) -> tuple[Osler, PartClock]:
    """The layers at 4 or 8 bits, and what their parts take."""
    folder = work / f"{config.decoder.layers}-layers-{bits}"
    write_random_folder(folder, config=config, bits=bits)
    choice = choose_kernels()
    assert isinstance(choice.kernels, NativeKernels)
    model = load_quantized_folder(folder, dtype="bfloat16", kernels=choice).model
    return model, PartClock(choice.kernels, config=config.decoder)


def parts_table(clocks: Mapping[str, PartClock], *, layers: int, turns: int) -> list[str]:
    """Milliseconds of each part of one layer."""
    medians = {name: clock.medians(turns=turns) for name, clock in clocks.items()}
    lines = ["", f"| a layer, ms, median | {' | '.join(medians)} |", f"|---|{'---|' * len(medians)}"]
    for part in next(iter(medians.values())):
        figures = (f"{values[part] * 1e3 / layers:.2f}" for values in medians.values())
        lines.append(f"| {part} | {' | '.join(figures)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_turn_options(parser, turns=7)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--work", type=Path, required=True, help="folder for the random weights")
    parser.add_argument("--out", type=Path, required=True, help="write OUT.json and OUT-table.md")
    options = parser.parse_args()
    start_turns(parser, options=options)
    whole = get_config("medgemma-1.5-4b")
    config = replace(whole, vision=None, decoder=replace(whole.decoder, layers=options.layers))
    with torch.inference_mode():
        peer = peer_of(config)
        ours = {f"Osler, {bits} bits": quantized(config, bits=bits, work=options.work) for bits in (4, 8)}
        x_1LD = torch.randn(1, PROMPT, config.decoder.width).bfloat16()
        positions_1L = torch.arange(PROMPT)[None]
        ways = {PEER: lambda: peer(inputs_embeds=x_1LD, use_cache=False)}
        for name, (model, clock) in ours.items():
            run = partial(model.decoder, x_1LD, positions_BL=positions_1L)
            ways[name] = partial(clock.run, run)
        machine = measure(threads=(options.threads,), peaks=())
        before = limits(options.threads)
        seconds = in_turns(ways, turns=options.turns)
        after = limits(options.threads)
    peak = {name: max(before[name], after[name]) for name in before}
    decoder = config.decoder
    heads = (2 * decoder.heads + 2 * decoder.kv_heads) * decoder.head_dim
    operations = 2 * PROMPT * decoder.layers * decoder.width * (heads + 3 * decoder.mlp_width)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    lines = [
        page_head(
            machine,
            options=options,
            what=f"{options.layers} of {whole.decoder.layers} layers; products in registers "
            + ", ".join(f"{peak[name] / 1e12:.2f} TOP/s ({name})" for name in ("bf16", "int8") if peak[name]),
        ),
        "",
        "| 512 tokens | ms, median (least to most) | TOP/s of the products | of the int8 peak | of the bfloat16 peak "
        "| times `transformers` | tokens a second, all layers |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in seconds.items():
        rate, whole_time = operations / medians[name], medians[name] * whole.decoder.layers / decoder.layers
        lines.append(
            f"| {name} | {medians[name] * 1e3:.0f} ({min(values) * 1e3:.0f} to {max(values) * 1e3:.0f}) "
            f"| {rate / 1e12:.2f} | {share(rate, peak=peak['int8'])} | {share(rate, peak=peak['bf16'])} "
            f"| {medians[PEER] / medians[name]:.2f} | {PROMPT / whole_time:.0f} |"
        )
    clocks = {name: clock for name, (_, clock) in ours.items()}
    lines += parts_table(clocks, layers=options.layers, turns=options.turns)
    text = "\n".join(lines) + "\n"
    print(text)
    parts = {name: clock.runs for name, clock in clocks.items()}
    found = {"peak": peak, "seconds": seconds, "parts": parts}
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    options.out.with_name(f"{options.out.name}-table.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
