"""Times JAX against PyTorch at 16, 8 and 4 bits: reading a prompt, and one token after another.

    python -m benchmarks.jax_speed --out benchmarks/jax_speed

Both backends run the same weights in the same process, in turns; a figure is
the median of the turns; ``transformers`` runs the same decoder beside them
at 16 bits. ``mini`` is the embedded model with its trained adapter, ``stack``
a few layers of the 4B shape with random weights (the speed does not depend on
them) and a short vocabulary. What the machine can do is measured in the same run.

The clock is the processor time of the whole process on one core: other
programs then change the figures little, and threads that wait count nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from benchmarks.machine import Machine, measure
from benchmarks.quant_kernels import random_weight
from osler.engine.backend import jax_kernels
from osler.engine.kv_cache import KVCache
from osler.engine.load import load
from osler.engine.runner import Runner
from osler.model.config import OslerConfig, get_config
from osler.model.osler import Osler
from osler.model.pack import pack
from osler.quant import choose_kernels, default_plan
from osler.quant.folder import quantize_to_folder
from osler.quant.network import NetworkContent, packed_network
from osler.quant.packed import PackedWeight
from osler.quant.plan import products
from osler.weights import save_huggingface
from osler.weights.assemble import empty_network

PROMPT, ANSWER = 512, 16
BITS = (16, 8, 4)
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}

Runners = Mapping[str, Any]
"""A runner for each backend."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu", help="wall: on a machine that nothing else uses")
    parser.add_argument("--parts", nargs="*", default=["mini", "stack"], help="mini, stack")
    parser.add_argument("--bits", nargs="*", type=int, default=list(BITS))
    parser.add_argument("--layers", type=int, default=6, help="of the 4B shape")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    if options.clock == "cpu":
        # Before JAX is imported, which makes as many threads as it sees cores.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
    torch.manual_seed(0)
    result: dict[str, Any] = {key: getattr(options, key) for key in ("turns", "clock", "layers")}
    result["kernels"] = {"torch": choose_kernels().kernels.name, "jax": jax_kernels("cpu").name}
    result["load before"] = psutil.getloadavg()[0]
    with torch.inference_mode():
        for part in options.parts:
            make = mini if part == "mini" else lambda bits: stack(bits, layers=options.layers)
            for bits in options.bits:
                for runners in make(bits):
                    result[f"{part} {bits}"] = speeds(runners, turns=options.turns, clock=CLOCKS[options.clock])
                    print(f"{part} {bits}", json.dumps(result[f"{part} {bits}"]), flush=True)
    result["load after"] = psutil.getloadavg()[0]
    machine = measure(threads=(1,) if options.clock == "cpu" else (1, 2), peaks=("bfloat16", "int8"))
    text = report(result, machine=machine)
    print(text)
    if options.out is not None:
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")
        options.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def mini(bits: int) -> Iterator[Runners]:
    """The embedded model on both backends; at 8 and 4 bits from one folder."""
    with tempfile.TemporaryDirectory() as scratch:
        name, asked = "osler-mini", bits
        if bits < 16:
            name, asked = str(quantize_to_folder(name, Path(scratch) / "quantized", bits=bits).folder), None
        runners: dict[str, Any] = {
            "torch": load(name, bits=asked, dtype="bfloat16", packing="packed", studies="memory").runner,
            "jax": load(name, bits=asked, backend="jax", device="cpu", studies="memory").runner,
        }
        if bits == 16:
            plain = load("gemma-3-270m", dtype="bfloat16", device="cpu", packing="plain")
            runners["transformers"] = peer(plain.model)
        yield runners


def peer(model: Osler) -> PeerRunner:
    """The same decoder in `transformers`, bfloat16."""
    with tempfile.TemporaryDirectory() as folder:
        save_huggingface(model, Path(folder))
        return PeerRunner(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval())


class PeerRunner:
    """The decoder of `transformers`, read and stepped as ours are."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def new_cache(self, *, planned: int) -> DynamicCache:
        """A cache that grows; ``planned`` is not needed."""
        return DynamicCache(config=self._model.config)

    def read(self, ids_BL: torch.Tensor, *, features_NTD: None, cache: DynamicCache) -> torch.Tensor:
        """Logits after the last token, (B, V)."""
        return self._model(ids_BL, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]

    def step(self, tokens_B: torch.Tensor, *, cache: DynamicCache) -> torch.Tensor:
        """Logits after one more token, (B, V)."""
        return self.read(tokens_B[:, None], features_NTD=None, cache=cache)


def stack(bits: int, *, layers: int) -> Iterator[Runners]:
    """A few layers of the 4B shape on both backends, the same random weights."""
    from osler.jax.dense import dense_products
    from osler.jax.network import packed_products
    from osler.jax.runner import JaxRunner

    decoder = replace(get_config("medgemma-1.5-4b").decoder, layers=layers, vocab=16_384)
    config = OslerConfig(name="4b-stack", decoder=decoder, vision=None, tokens=get_config("debug").tokens)
    kernels = jax_kernels("cpu").kernels
    names = {name: value.shape for name, value in empty_network(config).state_dict().items()}
    if bits == 16:
        state = {name: (torch.randn(shape) * 0.02).bfloat16() for name, shape in names.items()}
        own = dense_products(state, config=config, kernels=kernels) if kernels is not None else None
        model = empty_network(config)
        model.load_state_dict(state, assign=True)
        theirs = peer(model.eval())
        norms = {name: tensor.float() for name, tensor in state.items() if tensor.ndim == 1}
        runner = JaxRunner(norms if own else state, config=config, products=own)
        pack(model.eval().decoder)
        yield {"torch": Runner(model), "jax": runner, "transformers": theirs}
        return
    plan = default_plan(config, bits=bits)
    sizes = {name: (rows, columns) for name, rows, columns in products(decoder)}
    made: dict[str, PackedWeight] = {}

    def parts(name: str) -> list[PackedWeight]:
        rows, columns = sizes[name]
        return [made.setdefault(name, random_weight(plan.formats[name], rows=rows, columns=columns))]

    norms = {name: torch.zeros(shape) for name, shape in names.items() if len(shape) == 1}
    model = packed_network(
        NetworkContent(
            config=config,
            parts=parts,
            tensor=lambda name: norms[name].bfloat16(),
            dtype=torch.bfloat16,
            kernels=choose_kernels().kernels,
        )
    )
    own = packed_products(config, parts=parts, kernels=kernels)
    yield {"torch": Runner(model), "jax": JaxRunner(norms, config=config, products=own)}


def speeds(runners: Runners, *, turns: int, clock: Callable[[], float]) -> dict[str, float]:
    """Tokens a second of each backend: ``"torch prefill"``, ``"jax decode"`` and so on."""
    prompt = torch.randint(1000, 16_000, (1, PROMPT))
    seconds: dict[str, list[float]] = {}
    # The first turn compiles and warms up.
    for turn in range(turns + 1):
        for backend, runner in runners.items():
            cache = (
                KVCache(runner.config.decoder, planned=1024)
                if isinstance(runner, Runner)
                else runner.new_cache(planned=1024)
            )
            started = clock()
            logits = runner.read(prompt, features_NTD=None, cache=cache)
            read = clock()
            for _ in range(ANSWER):
                logits = runner.step(logits.argmax(-1), cache=cache)
            if turn:
                seconds.setdefault(f"{backend} prefill", []).append((read - started) / PROMPT)
                seconds.setdefault(f"{backend} decode", []).append((clock() - read) / ANSWER)
    return {name: 1 / statistics.median(values) for name, values in seconds.items()}


def report(result: dict[str, Any], *, machine: Machine) -> str:
    """Writes the table in Markdown."""
    import jax

    lines = [
        "# JAX against PyTorch at 16, 8 and 4 bits",
        "",
        f"`python -m benchmarks.jax_speed`, {result['clock']} clock{' on one core' * (result['clock'] == 'cpu')}, "
        f"medians of {result['turns']} turns, in which the backends alternate. Load of the machine: "
        f"{result['load before']:.1f} before, {result['load after']:.1f} after. Kernels: PyTorch "
        f"{result['kernels']['torch']}, JAX {result['kernels']['jax']}; jax {jax.__version__}.",
        "",
        machine.markdown(),
        "",
        f"Tokens a second, a prompt of {PROMPT} tokens and {ANSWER} after it. `stack`: {result['layers']} layers",
        "of the 4B shape with a vocabulary of 16,384. PyTorch computes activations in bfloat16, JAX in float32.",
        "",
        "| weights | prefill: PyTorch | JAX | ratio | transformers | decode: PyTorch | JAX | ratio | transformers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, speed in result.items():
        if not isinstance(speed, dict) or "jax decode" not in speed:
            continue
        cells = [f"{name} bits"]
        for stage in ("prefill", "decode"):
            ours, theirs = speed[f"jax {stage}"], speed[f"torch {stage}"]
            peer = speed.get(f"transformers {stage}")
            cells += [f"{theirs:,.1f}", f"{ours:,.1f}", f"{ours / theirs:.2f}", f"{peer:,.1f}" if peer else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
