"""Times the embedded decoder in bfloat16: ours, `transformers`, and the floor.

    python -m benchmarks.decode_270m --out benchmarks/decode_270m

Both run the same weights in one process with the same threads, in turns; each
figure is the median of five turns. The floor of decoding is the bytes of all
weights (each is read once a token) over the read bandwidth of the same run.

- prefill: 512 tokens into an empty cache, logits of the last one; `transformers`
  through `forward(use_cache=True, logits_to_keep=1)`.
- decode: 64 greedy tokens after them, the prefill taken off; `transformers`
  through its own `generate`.
- the kernels table says where a token's time goes, and what each way to
  multiply one vector by the language head reads per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

import osler
from benchmarks.machine import Machine, measure, median_seconds
from osler.engine.generate import Prompt, generate
from osler.engine.kv_cache import KVCache
from osler.engine.options import Decoding
from osler.engine.sampling import greedy
from osler.engine.session import Session
from osler.weights import save_huggingface

PROMPT, ANSWER, TURNS = 512, 64, 5
TEXT = """CHEST, PA AND LATERAL. HISTORY: Cough and fever for three days. COMPARISON: None. FINDINGS: The heart is
normal in size. The mediastinum is unremarkable. There is a focal opacity in the right lower lobe with air bronchograms.
No pleural effusion or pneumothorax is seen. The bony thorax is intact. IMPRESSION: Right lower lobe pneumonia. """


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = measure(threads=sorted({1, options.threads}))
    plain = osler.load("gemma-3-270m", dtype="bfloat16", device="cpu", packing="plain")
    with tempfile.TemporaryDirectory() as folder:
        save_huggingface(plain.model, Path(folder))
        reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    weights = sum(parameter.nbytes for parameter in plain.model.decoder.parameters())
    session = Session(plain.checkpoint, packing="packed")
    ids = np.array([2, *(session.checkpoint.tokenizer.encode(TEXT * 8))[: PROMPT - 1]])
    result = run(session, reference=reference, ids=ids, turns=options.turns)
    result["threads"] = options.threads
    result["kernels"] = kernels(session)
    result["floor"] = machine.bandwidth[options.threads] * 1e9 / weights
    text = report(result, machine=machine)
    sys.stdout.write(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text)
        record = {**result, "machine": asdict(machine)}
        options.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def run(session: Session, *, reference: torch.nn.Module, ids: np.ndarray, turns: int) -> dict:
    """Runs both in turns and returns the medians, tokens per second."""
    ids_1L = torch.from_numpy(ids)[None]
    contestants: dict[str, tuple[Callable, Callable]] = {
        "osler": (lambda: _our_prefill(session, ids_1L), lambda: _our_answer(session, ids)),
        "transformers": (lambda: _their_prefill(reference, ids_1L), lambda: _their_answer(reference, ids_1L)),
    }
    prefill = {name: [] for name in contestants}
    decode = {name: [] for name in contestants}
    answers = {}
    for turn in range(turns + 1):
        for name, (read, answer) in contestants.items():
            seconds, _ = _timed(read)
            both, answers[name] = _timed(answer)
            if turn:  # the first turn warms up
                prefill[name].append(len(ids) / seconds)
                decode[name].append((ANSWER - 1) / (both - seconds))
    same = next((i for i, (a, b) in enumerate(zip(*answers.values(), strict=True)) if a != b), ANSWER)
    return {
        "prefill": {name: statistics.median(rates) for name, rates in prefill.items()},
        "decode": {name: statistics.median(rates) for name, rates in decode.items()},
        "all": {"prefill": prefill, "decode": decode},
        "same_tokens": same,
    }


def _our_prefill(session: Session, ids_1L: torch.Tensor) -> None:
    cache = KVCache(session.model.config.decoder, planned=ids_1L.shape[1] + ANSWER)
    session.runner.read(ids_1L, features_NTD=None, cache=cache)


def _our_answer(session: Session, ids: np.ndarray) -> list[int]:
    return generate(session.runner, [Prompt(token_ids=ids)], decoding=Decoding(max_tokens=ANSWER))[0].token_ids


@torch.inference_mode()
def _their_prefill(reference: torch.nn.Module, ids_1L: torch.Tensor) -> None:
    reference(ids_1L, use_cache=True, logits_to_keep=1)


@torch.inference_mode()
def _their_answer(reference: torch.nn.Module, ids_1L: torch.Tensor) -> list[int]:
    out = reference.generate(ids_1L, max_new_tokens=ANSWER, min_new_tokens=ANSWER, do_sample=False)
    return out[0, ids_1L.shape[1] :].tolist()


def _timed(call: Callable) -> tuple[float, object]:
    started = time.perf_counter()
    value = call()
    return time.perf_counter() - started, value


@torch.inference_mode()
def kernels(session: Session) -> dict[str, dict[str, float]]:
    """Times the parts of one token, milliseconds, and the ways to multiply by the head, GB/s."""
    runner, decoder = session.runner, session.model.decoder
    weight_VD = decoder.embed_tokens.weight.detach()
    x_1D = torch.randn(1, weight_VD.shape[1]).to(weight_VD.dtype)
    cache = KVCache(decoder.config, planned=4096)
    runner.read(torch.arange(1000, 1512)[None], features_NTD=None, cache=cache)
    step = median_seconds(lambda: runner.step(torch.tensor([1000]), cache=cache), repeats=21)
    logits_1V = decoder.logits(x_1D[None])[0]
    head = median_seconds(lambda: decoder.logits(x_1D[None]), repeats=21)
    pick = median_seconds(lambda: greedy(logits_1V), repeats=21)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "F.linear": lambda: F.linear(x_1D, weight_VD),
        "torch.mv": lambda: torch.mv(weight_VD, x_1D[0]),
    }
    if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        blocked = torch.ops.mkldnn._reorder_linear_weight(weight_VD, 1)
        ways["oneDNN, repacked"] = lambda: torch.ops.mkldnn._linear_pointwise(x_1D, blocked, None, "none", [], "")
    return {
        "milliseconds": {"step": step * 1e3, "of it the language head": head * 1e3, "greedy choice": pick * 1e3},
        "head_gb_per_second": {
            name: weight_VD.nbytes / 1e9 / median_seconds(way, repeats=9) for name, way in ways.items()
        },
    }


def report(result: dict, *, machine: Machine) -> str:
    """Writes the tables in Markdown."""
    prefill, decode, floor = result["prefill"], result["decode"], result["floor"]
    lines = [
        "# Decoding with the embedded 270M decoder, bfloat16",
        "",
        f"`python -m benchmarks.decode_270m`, {result['threads']} threads, "
        f"median of {len(result['all']['decode']['osler'])}, in turns.",
        "",
        machine.markdown(),
        "",
        "| tokens/s | Osler | transformers | ratio | floor | share of the floor |",
        "|---|---|---|---|---|---|",
        f"| prefill, {PROMPT} tokens | {prefill['osler']:.0f} | {prefill['transformers']:.0f} "
        f"| {prefill['osler'] / prefill['transformers']:.2f} | | |",
        f"| decode, {ANSWER} tokens | {decode['osler']:.1f} | {decode['transformers']:.1f} "
        f"| {decode['osler'] / decode['transformers']:.2f} | {floor:.1f} | {decode['osler'] / floor:.0%} |",
        "",
        f"Greedy tokens equal to `transformers` from the start: {result['same_tokens']} of {ANSWER}.",
        "",
        "| part of a token | ms |",
        "|---|---|",
        *(f"| {name} | {value:.2f} |" for name, value in result["kernels"]["milliseconds"].items()),
        "",
        "| language head times one vector | GB/s |",
        "|---|---|",
        *(f"| {name} | {value:.1f} |" for name, value in result["kernels"]["head_gb_per_second"].items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
