"""Tokens and prompts of the 4B shape at 4 or 8 bits beside llama.cpp's Q4_0 or Q8_0, in turns, on the same codes.

    python -m benchmarks.decode_4b --work FOLDER --llama PYTHON --threads 1 2 --turns 5

FOLDER gets a quantized folder of random weights, symmetric 4 bits in groups of
32 with embedding and head at 8, and its export, Q4_0 and Q8_0: both programs
read the same codes. ``--bits 8`` has all of it at 8 (another FOLDER, 9 GB). A
short prompt is read before, so that attention is a small part of a token. The
floor is the bytes of a token over the best reading of memory that the same threads
reach in the same run, measured before and after; beside it the median of reading in
the same turns, as a host that others share changes its pace. ``--prompt 512`` times prompts
of 512 tokens in place of tokens. ``--prepare`` writes the files and ends: the
figures want a quiet machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.llama_peer import LlamaPeer
from benchmarks.machine import CLOCK, CLOCKS, measure, median_turns
from benchmarks.quant_kernels import READ, bytes_read, limits, reading
from benchmarks.random_folder import write_random_folder
from osler.engine.runner import Runner
from osler.engine.sampling import greedy
from osler.model.config import OslerConfig, get_config
from osler.quant import choose_kernels, load_quantized_folder
from osler.quant.folder import folder_plan
from osler.quant.gguf_export import export_gguf

FORMATS, PROMPT, ANSWER = {4: "int4-g32", 8: "int8-g32"}, list(range(1000, 1032)), 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="for the folder and the GGUF file, 6 GB")
    parser.add_argument("--llama", type=Path, help="the Python of an environment with llama-cpp-python")
    parser.add_argument("--bits", type=int, choices=tuple(FORMATS), default=4)
    parser.add_argument("--layers", type=int, help="fewer than all, where memory is short")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--prompt", type=int, help="time prompts of so many tokens, and no decoding")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where others compute, with one thread")
    parser.add_argument("--prepare", action="store_true")
    options = parser.parse_args()
    if options.clock == "cpu" and options.threads != [1]:
        parser.error("--clock cpu adds up the threads: use --threads 1")
    CLOCK.set(CLOCKS[options.clock])
    config = get_config("medgemma-1.5-4b")
    config = replace(config, decoder=replace(config.decoder, layers=options.layers or config.decoder.layers))
    folder, gguf = options.work / "folder", options.work / "file.gguf"
    prepare(folder, gguf, config=config, bits=options.bits)
    if options.prepare:
        return
    runner = Runner(load_quantized_folder(folder, dtype="bfloat16", kernels=choose_kernels()).model)
    lines = [measure(threads=(), peaks=()).markdown(), "", _HEAD[0].format(bits=options.bits), _HEAD[1]]
    with torch.inference_mode():
        for threads in options.threads:
            torch.set_num_threads(threads)
            prompt = PROMPT if options.prompt is None else list(range(1000, 1000 + options.prompt))
            peer = None
            if options.llama is not None:
                peer = LlamaPeer(
                    options.llama, model=gguf, prompt=prompt, count=ANSWER, threads=threads, clock=options.clock
                )
            if options.prompt is not None:
                lines += prompt_rows(runner, prompt, threads=threads, turns=options.turns, peer=peer)
            else:
                lines += rows(runner, threads=threads, turns=options.turns, peer=peer)
            print("\n".join(lines[-2:]), flush=True)
    print("\n".join(lines))


def prepare(folder: Path, gguf: Path, *, config: OslerConfig, bits: int) -> None:
    """Writes what is not there yet.

    Raises:
        SystemExit: If the folder holds weights of other bits.
    """
    write_random_folder(folder, config=config, bits=bits, layers=FORMATS[bits])
    if (found := folder_plan(folder).bits) != bits:
        raise SystemExit(f"decode_4b: {folder} holds weights of {found} bits, not {bits}: name another --work.")
    if not gguf.is_file():
        export_gguf(folder, gguf)


_HEAD = (
    "| 4B, {bits} bits, threads | ms a token, median | tokens a second | MB a token | floor, ms | of the floor "
    "| reading in the same turns, median | of it |",
    "|---|---|---|---|---|---|---|---|",
)


def rows(runner: Runner, *, threads: int, turns: int, peer: LlamaPeer | None) -> list[str]:
    """Times both with one number of threads; returns rows of the table."""
    cache = runner.new_cache(planned=4096)
    runner.read(torch.tensor([PROMPT]), features_NTD=None, cache=cache)

    def decode() -> None:
        token = torch.tensor([1000])
        for _ in range(ANSWER):
            token = greedy(runner.step(token, cache=cache))

    ways = {f"Osler, {threads}": decode}
    if peer is not None:
        peer.prefill()
        ways[f"llama.cpp, {threads}"] = peer.decode
    read = limits(threads)["read"]
    seconds = median_turns(ways | {"reading": reading(threads)}, turns=turns)
    usual = READ / seconds.pop("reading")
    read = max(read, limits(threads)["read"])
    if peer is not None:
        peer.close()
    size = sum(bytes_read(module) for module in runner.model.decoder.modules())
    floor = size / read * 1e3
    found = {name: value / ANSWER * 1e3 for name, value in seconds.items()}
    limit, beside = f"{floor:.0f} ({read / 1e9:.1f} GB/s)", size / usual * 1e3
    return [
        f"| {name} | {ms:.0f} | {1e3 / ms:.2f} | {size / 1e6:.0f} | {limit} | {floor / ms:.0%} "
        f"| {usual / 1e9:.1f} GB/s | {beside / ms:.0%} |"
        for name, ms in found.items()
    ]


def prompt_rows(
    runner: Runner, prompt: Sequence[int], *, threads: int, turns: int, peer: LlamaPeer | None
) -> list[str]:
    """Times a prompt through all layers, the language head for its last token; returns rows of a table."""
    ids = torch.tensor([list(prompt)])

    def read() -> None:
        runner.read(ids, features_NTD=None, cache=runner.new_cache(planned=2 * len(prompt)))

    ways = {f"Osler, {threads}": read} | ({} if peer is None else {f"llama.cpp, {threads}": peer.prefill})
    seconds = median_turns(ways, turns=turns)
    if peer is not None:
        peer.close()
    return [
        f"| {name} | {len(prompt)} tokens | {value:.2f} s | {len(prompt) / value:.0f} tokens a second |"
        for name, value in seconds.items()
    ]


if __name__ == "__main__":
    main()
