"""Times the 4- and 8-bit kernels against the machine and against peers, and whole tokens.

    python -m benchmarks.quant_kernels --out benchmarks/quant_kernels

What the machine can do is measured in the same run: bytes read a second by the
kernels' own threads, and products of tiles that stay in registers. All ways to
do a thing run in turns; a figure is the median of the turns. Weights are random
(the speed does not depend on them) but for the 270M, which is real.

- one row: the products of a layer of the 4B shape, as many layers as make 1 GB, so that no cache holds them;
- 512 rows: the widest product of the 4B shape;
- tokens: the embedded 270M: decoding after a prompt of 512 tokens, and that prompt, with a profile of one token;
- large: the same for the 4B shape with random weights, written once into ``--folder`` (3.6 GB), opened memory-mapped.

``--llama`` names the Python of an environment with ``llama-cpp-python``, which is then timed on the same file.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

import osler
from benchmarks.llama_peer import LlamaPeer
from benchmarks.machine import Machine, add_turn_options, measure, median_turns, page_head, start_turns, timed
from benchmarks.random_folder import write_random_folder
from osler.engine.kv_cache import KVCache
from osler.engine.runner import Runner
from osler.engine.sampling import greedy
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.quant import choose_kernels, load_quantized_folder, parse_format
from osler.quant.build import build_kernels, library_path
from osler.quant.packed import PackedWeight, empty_weight
from osler.weights import embedded_gguf

LAYER = ((4096, 2560), (2560, 2048), (20_480, 2560), (2560, 10_240))
"""Outputs and inputs of the products of a layer of the 4B shape."""
PROMPT, ANSWER = 512, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_turn_options(parser, turns=5)
    parser.add_argument("--parts", nargs="*", default=["rows", "tokens", "large"], help="rows, tokens, large")
    parser.add_argument("--llama", type=Path, help="the Python of an environment with llama-cpp-python")
    parser.add_argument("--folder", type=Path, help="for the random weights of the 4B shape")
    parser.add_argument("--gguf", type=Path, help="the same weights, exported, for llama.cpp")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    if "large" in options.parts and options.folder is None:
        parser.error("the part 'large' needs --folder")
    start_turns(parser, options=options)
    if not library_path().is_file():
        build_kernels()
    result = {"threads": options.threads, "turns": options.turns, "clock": options.clock}
    result["limits"] = limits(options.threads)
    with torch.inference_mode():
        if "rows" in options.parts:
            result["one row"] = one_row(options.turns)
            result["512 rows"] = many_rows(options.turns)
        if "tokens" in options.parts:
            result["270M"] = real_tokens(options.turns, llama=options.llama, clock=options.clock)
        if "large" in options.parts:
            peer = None
            if options.llama is not None and options.gguf is not None:
                peer = (options.llama, options.gguf)
            result["4B"] = large_tokens(options.turns, folder=options.folder, peer=peer, clock=options.clock)
    # The limits once more: where others used the machine in between, the two differ.
    result["limits after"] = limits(options.threads)
    text = report(result, machine=measure(threads=(options.threads,), peaks=()), options=options)
    print(text)
    if options.out is not None:
        options.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")


READ = 1 << 29
"""Bytes that `reading` reads."""


def reading(threads: int) -> Callable[[], None]:
    """Returns what reads memory with the kernels' threads."""
    library = ctypes.CDLL(str(library_path()))
    library.osler_read.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)
    buffer = torch.ones(READ, dtype=torch.uint8)

    def read() -> None:
        library.osler_read(buffer.data_ptr(), READ, threads)

    return read


def limits(threads: int) -> dict[str, float]:
    """Measures bytes and operations a second: the best of several tries, as nothing can be faster than the machine.

    Operations are those of the path that computes: of tiles, of vectors by VNNI (int8 alone), else 0, see `share`.
    """
    library = ctypes.CDLL(str(library_path()))
    library.osler_peak.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64)
    path, tile = choose_kernels().kernels.name, 4 * 16 * 16 * 2
    read = min(timed(reading(threads)) for _ in range(9))
    found = {"read": READ / read, "bf16": 0.0, "int8": 0.0}
    # Elsewhere their instructions may not exist.
    if "amx" in path:
        kinds = {"bf16": (0, tile * 32), "int8": (1, tile * 64)}
    elif "vnni" in path:
        kinds = {"int8": (2, 16 * 64 * 2)}
    else:
        kinds = {}
    turns = 100_000
    for name, (kind, operations) in kinds.items():
        seconds = min(timed(lambda kind=kind: library.osler_peak(kind, threads, turns)) for _ in range(9))
        found[name] = operations * turns * threads / seconds
    return found


def share(rate: float, *, peak: float) -> str:
    """A rate as a share of what `limits` found, ``"-"`` where it was not measured."""
    return f"{rate / peak:.0%}" if peak else "-"


def random_weight(name: str, *, rows: int, columns: int) -> PackedWeight:
    """A packed weight of random codes."""
    weight = empty_weight(parse_format(name), rows=rows, columns=columns)
    weight.codes.random_(0, 256)
    weight.scale.fill_(0.002)
    if weight.offset is not None:
        weight.offset.fill_(-0.015)
    return weight


def one_row(turns: int) -> dict[str, dict[str, float]]:
    """Products of one row with more weights than a cache holds: GB/s of each way."""
    kernels, best = choose_kernels().kernels, {}
    ways: dict[str, Callable[[], object]] = {}
    sizes: dict[str, int] = {}
    for name in ("int4-g32", "int4-g32-asym", "int8-g32"):
        layers = 1_000_000_000 // sum(parse_format(name).bytes(n, columns=k) for n, k in LAYER)
        weights = [random_weight(name, rows=n, columns=k) for _ in range(layers) for n, k in LAYER]
        inputs = {k: torch.randn(1, k).bfloat16() for _, k in LAYER}
        prepared = [(kernels.prepare(weight), inputs[weight.columns]) for weight in weights]
        ways[name] = lambda prepared=prepared: [kernels.linear(x, weight) for weight, x in prepared]
        sizes[name] = sum(weight.nbytes for weight in weights)
        best |= median_turns({name: ways[name]}, turns=turns)
    codes = torch.randint(0, 256, (20_480, 1280), dtype=torch.uint8)
    packed = [torch.ops.aten._convert_weight_to_int4pack_for_cpu(_nibbles(codes), 1) for _ in range(38)]
    scales = torch.full((2560 // 32, 20_480, 2), 0.01).bfloat16()
    x = torch.randn(1, 2560).bfloat16()
    name = "torch _weight_int4pack_mm_for_cpu"
    ways[name] = lambda: [torch.ops.aten._weight_int4pack_mm_for_cpu(x, w, 32, scales) for w in packed]
    sizes[name] = sum(w.nbytes + scales.nbytes for w in packed)
    best |= median_turns({name: ways[name]}, turns=turns)
    wide = [torch.randn(20_480, 2560).bfloat16() for _ in range(10)]
    ways["torch bfloat16"] = lambda: [F.linear(x, w) for w in wide]
    sizes["torch bfloat16"] = sum(w.nbytes for w in wide)
    best |= median_turns({"torch bfloat16": ways["torch bfloat16"]}, turns=turns)
    return {name: {"gb_s": sizes[name] / best[name] / 1e9} for name in ways}


def _nibbles(codes: torch.Tensor) -> torch.Tensor:
    return torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1).to(torch.int32)


def many_rows(turns: int) -> dict[str, dict[str, float]]:
    """The product of 512 rows by the gate and up of a layer: operations a second of each way."""
    N, K, M = 20_480, 2560, PROMPT
    x = torch.randn(M, K).bfloat16()
    ways: dict[str, Callable[[], object]] = {}
    paths = ("amx-int8", "amx-bf16", "avx512-vnni") if "amx" in choose_kernels().kernels.name else (None,)
    for path in paths:
        kernels = choose_kernels(path).kernels
        for name in ("int4-g32-asym", "int8-g32"):
            prepared = kernels.prepare(random_weight(name, rows=N, columns=K))
            ways[f"{name}, {kernels.name}"] = lambda kernels=kernels, prepared=prepared: kernels.linear(x, prepared)
    wide = torch.randn(N, K).bfloat16()
    ways["torch bfloat16"] = lambda: F.linear(x, wide)
    a, b = torch.randint(-100, 100, (M, K), dtype=torch.int8), torch.randint(-100, 100, (N, K), dtype=torch.int8).t()
    ways["torch _int_mm (no scales)"] = lambda: torch._int_mm(a, b)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(torch.randint(0, 16, (N, K), dtype=torch.int32), 1)
    scales = torch.full((K // 32, N, 2), 0.01).bfloat16()
    name = "torch _weight_int4pack_mm_for_cpu"
    ways[name] = lambda: torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, 32, scales)
    return {name: {"top_s": 2 * M * N * K / s / 1e12} for name, s in median_turns(ways, turns=turns).items()}


def decode_ways(runner: Runner, *, prompt: torch.Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """Returns the reading of a prompt, and the decoding of `ANSWER` tokens after it."""
    state: dict[str, KVCache] = {}

    def read() -> None:
        state["cache"] = KVCache(runner.model.config.decoder, planned=4096)
        runner.read(prompt[None], features_NTD=None, cache=state["cache"])

    def decode() -> None:
        token = torch.tensor([1000])
        for _ in range(ANSWER):
            token = greedy(runner.step(token, cache=state["cache"]))

    return read, decode


def real_tokens(turns: int, *, llama: Path | None, clock: str) -> dict[str, dict[str, float]]:
    """The embedded 270M: from its own blocks at 8 bits, at 4, in bfloat16, and llama.cpp on the same file."""
    prompt = torch.randint(1000, 200_000, (PROMPT,))
    ways: dict[str, Callable[[], object]] = {}
    found: dict[str, dict[str, float]] = {}
    for bits, packing in ((8, "auto"), (4, "auto"), (16, "packed")):
        session = osler.load(
            "gemma-3-270m", bits=bits, dtype="bfloat16", device="cpu", packing=packing, studies="memory"
        )
        name = f"{bits} bits" if bits < 16 else "bfloat16"
        ways[f"{name} prefill"], ways[f"{name} decode"] = decode_ways(session.runner, prompt=prompt)
        if bits < 16:
            found[f"{name} token, ms"] = profile(session.model, runner=session.runner, prompt=prompt)
    peer = None
    if llama is not None:
        threads = torch.get_num_threads()
        peer = LlamaPeer(
            llama, model=embedded_gguf(), prompt=prompt.tolist(), count=ANSWER, threads=threads, clock=clock
        )
        ways["llama.cpp prefill"], ways["llama.cpp decode"] = peer.prefill, peer.decode
    seconds = median_turns(ways, turns=turns)
    if peer is not None:
        peer.close()
    rates = {name: (PROMPT if name.endswith("prefill") else ANSWER) / s for name, s in seconds.items()}
    return {"tokens a second": rates, **found}


def large_tokens(
    turns: int, *, folder: Path, peer: tuple[Path, Path] | None, clock: str
) -> dict[str, dict[str, float]]:
    """The 4B shape at 4 bits by the usual plan: opening it, reading a prompt, decoding.

    ``peer`` is the Python that has llama.cpp and a GGUF file, which are timed in turns with it.
    """
    config = get_config("medgemma-1.5-4b")
    write_random_folder(folder, config=config, bits=4)
    kernels = choose_kernels()
    # Once to have the file in the system's cache: what is measured is a warm start.
    load_quantized_folder(folder, kernels=kernels, verify="full")
    started = time.perf_counter()
    model = load_quantized_folder(folder, kernels=kernels).model
    opened = time.perf_counter() - started
    runner, prompt = Runner(model), torch.randint(1000, 200_000, (PROMPT,))
    read, decode = decode_ways(runner, prompt=prompt)
    ways: dict[str, Callable[[], object]] = {"prefill": read, "decode": decode}
    llama = None
    if peer is not None:
        threads = torch.get_num_threads()
        llama = LlamaPeer(peer[0], model=peer[1], prompt=prompt.tolist(), count=ANSWER, threads=threads, clock=clock)
        ways |= {"llama.cpp prefill": llama.prefill, "llama.cpp decode": llama.decode}
    seconds = median_turns(ways, turns=max(2, turns // 2))
    if llama is not None:
        llama.close()
    rates = {
        f"{name}, tokens a second": (PROMPT if name.endswith("prefill") else ANSWER) / value
        for name, value in seconds.items()
    }
    rates["seconds to open, warm"] = opened
    rates["most memory, GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"text": rates, "token, ms": profile(model, runner=runner, prompt=prompt)}


def profile(model: Osler, *, runner: Runner, prompt: torch.Tensor) -> dict[str, float]:
    """Says where the time of one token goes, milliseconds: medians of 9."""
    cache = KVCache(model.config.decoder, planned=4096)
    runner.read(prompt[None], features_NTD=None, cache=cache)
    layers = list(model.decoder.layers)
    row = torch.randn(1, model.config.decoder.width).bfloat16()
    inner = torch.randn(1, model.config.decoder.mlp_width).bfloat16()
    heads = torch.randn(1, model.config.decoder.heads * model.config.decoder.head_dim).bfloat16()

    def products_of_layers() -> None:
        for layer in layers:
            layer.self_attn.qkv_proj(row)
            layer.self_attn.o_proj(heads)
            layer.mlp.gate_up_proj(row)
            layer.mlp.down_proj(inner)

    logits_1V = model.logits(row)
    token = torch.tensor([1000])
    seconds = median_turns(
        {
            "whole token": lambda: runner.step(token, cache=cache),
            "products of the layers": products_of_layers,
            "language head": lambda: model.logits(row),
            "greedy choice": lambda: greedy(logits_1V),
        },
        turns=9,
    )
    found = {name: value * 1e3 for name, value in seconds.items()}
    found["attention, norms and the rest"] = (
        found["whole token"] - found["products of the layers"] - found["language head"]
    )
    found["MB read"] = sum(bytes_read(module) for module in model.decoder.modules()) / 1e6
    found["MB of them head"] = bytes_read(model.decoder.head) / 1e6
    return found


def bytes_read(module: torch.nn.Module | None) -> int:
    """Bytes of a packed product; a table that is looked up in is not read as a whole."""
    weight = getattr(module, "weight", None)
    return weight.nbytes if isinstance(weight, PackedWeight) and hasattr(module, "out_features") else 0


def report(result: dict, *, machine: Machine, options: argparse.Namespace) -> str:
    """Writes the tables in Markdown."""
    read, bf16, int8 = (max(result["limits"][k], result["limits after"][k]) for k in ("read", "bf16", "int8"))
    lines = [
        "# Kernels for 4 and 8 bits",
        "",
        page_head(
            machine,
            options=options,
            what=f"the best of 18 tries in this run: {read / 1e9:.1f} GB/s read by the kernels' threads, tiles in "
            f"registers {bf16 / 1e12:.2f} TFLOP/s (bfloat16) and {int8 / 1e12:.2f} TOP/s (int8)",
        ),
    ]
    if "one row" in result:
        lines += ["", "| one row, 1 GB of weights | GB/s | share of reading |", "|---|---|---|"]
        for name, row in result["one row"].items():
            lines.append(f"| {name} | {row['gb_s']:.1f} | {row['gb_s'] * 1e9 / read:.0%} |")
        lines += [
            "",
            "| 512 rows, 20480 x 2560 | TOP/s | of the bfloat16 peak | of the int8 peak |",
            "|---|---|---|---|",
        ]
        for name, row in result["512 rows"].items():
            rate = row["top_s"] * 1e12
            shares = f"{rate / bf16:.0%} | {rate / int8:.0%}" if bf16 else "| "
            lines.append(f"| {name} | {row['top_s']:.2f} | {shares} |")
    for model in ("270M", "4B"):
        for name, row in result.get(model, {}).items():
            lines += ["", f"| {model}, {name} | |", "|---|---|"]
            lines += [f"| {part} | {value:.2f} |" for part, value in row.items()]
            if "MB read" in row:
                floor = row["MB read"] * 1e6 / read * 1e3
                lines.append(f"| floor: MB over reading, ms | {floor:.2f} ({floor / row['whole token']:.0%} reached) |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
