"""Runs the 4B network at full size on a CT of 85 slices, inside 24 GB.

    python -m benchmarks.full_size_4b FOLDER --out benchmarks/full_size_4b.md

The published weights are gated, so the weights are random: their values change
neither time nor memory. They are written once into FOLDER (8.6 GB, the layout
of Hugging Face, seeded) by a process of its own, then loaded memory-mapped. The
CT is a phantom that this script makes. Everything after that is Osler's own way
from a study to an answer: contract, tower, chunked prefill, decoding.

A full run takes most of an hour on two cores without AMX, nearly all of it in
the image tower. Features are kept in FOLDER, so a run that was stopped goes on
where it was; ``--images 1`` is a short try.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.machine import Machine, measure
from osler.engine.generate import Prompt, generate
from osler.engine.options import Decoding
from osler.engine.runner import Runner
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.prepare import PixelBatches, assemble, prepare_images
from osler.study import Affine, ArrayPixels, Study, TimePoint, Volume
from osler.weights import Checkpoint, GemmaTokenizer, embedded_gguf, load_checkpoint, read_gguf, save_huggingface

NAME = "medgemma-1.5-4b"
SLICES = 85
SEED = 0
QUESTION = (
    "Based on the visual evidence in the slices provided above, is there a hypodense lesion in the liver? "
    "Please provide your reasoning and conclude with a 'Final Answer: yes' or 'Final Answer: no'."
)


@dataclass(slots=True, kw_only=True)
class Memory:
    """Memory of this process, in bytes, as Linux counts it.

    Args:
        resident: All pages in memory, those of mapped files included.
        own: Pages that no file stands behind: what the process takes from others.
    """

    resident: int
    own: int


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run measured; times in seconds, memory in bytes.

    Args:
        encode: Seconds of each image, those of earlier runs included.
        peaks: Greatest memory in each stage.
    """

    machine: Machine
    threads: int
    weights: int
    images: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    encode: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, Memory] = field(default_factory=dict)


def memory(process: int | str = "self") -> Memory:
    """Reads the memory of a process; of one that has ended, nothing is resident.

    Raises:
        OSError: If there is no such process.
    """
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    kib = {key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in lines) if "kB" in value}
    return Memory(resident=kib.get("VmRSS", 0) << 10, own=kib.get("RssAnon", 0) << 10)


@contextmanager
def stage(report: Report, name: str) -> Iterator[None]:
    """Times a stage and watches its memory."""
    peak, done = memory(), threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            now = memory()
            peak.resident, peak.own = max(peak.resident, now.resident), max(peak.own, now.own)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    try:
        yield
    finally:
        report.seconds[name] = time.perf_counter() - started
        done.set()
        watcher.join()
        report.peaks[name] = peak


def write_weights(folder: Path) -> None:
    """Writes random weights whose activations have a sensible size."""
    with torch.device("meta"):
        model = Osler(get_config(NAME))
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0 if name.endswith(("layer_norm1.weight", "layer_norm2.weight")) else 0.0)
                continue
            fan_in = parameter.shape[0] if name.endswith("projection_weight") else parameter[0].numel()
            parameter.normal_(std=fan_in**-0.5, generator=generator)
        model.vision.post_layernorm.weight.fill_(1.0)
    tokenizer = GemmaTokenizer.from_gguf(read_gguf(embedded_gguf()))
    save_huggingface(model, folder, tokenizer=tokenizer)


def phantom_ct(slices: int) -> Study:
    """Makes the first slices of an abdomen of ellipsoids: air, fat, muscle, spine, liver with a lesion, kidney; HU."""
    z, y, x = np.ogrid[-1 : 1 : SLICES * 1j, -1:1:512j, -1:1:512j]
    rng = np.random.default_rng(SEED)
    hu = np.full((SLICES, 512, 512), -1000, dtype=np.int16)
    organs = (
        (-90, (0, 0, 0), (9, 0.70, 0.92)),
        (55, (0, 0, 0), (9, 0.62, 0.84)),
        (450, (0, 0.42, 0), (9, 0.12, 0.11)),
        (110, (-0.1, -0.1, -0.4), (0.9, 0.38, 0.36)),
        (35, (-0.1, -0.05, -0.45), (0.15, 0.07, 0.06)),
        (140, (0.2, 0.2, 0.45), (0.5, 0.14, 0.10)),
    )
    for value, (cz, cy, cx), (rz, ry, rx) in organs:
        hu[((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = value
    hu += rng.normal(0, 12, hu.shape).astype(np.int16)
    affine = Affine(matrix=np.diag([0.8, 0.8, 3.0, 1.0]))
    volume = Volume(series="phantom", pixels=ArrayPixels(hu[:slices]), affine=affine, modality="CT", units="HU")
    return Study(timepoints=(TimePoint(series=(volume,)),))


@torch.inference_mode()
def encode(model: Osler, pixels: PixelBatches, *, kept: Path, report: Report) -> torch.Tensor:
    """Encodes images one by one; those that an earlier run encoded are read from files."""
    kept.mkdir(parents=True, exist_ok=True)
    features = []
    for number, batch in enumerate(pixels.batches(size=1)):
        file = kept / f"{hashlib.sha256(batch.tobytes()).hexdigest()[:16]}.safetensors"
        times = file.with_suffix(".json")
        if not times.is_file():
            started = time.perf_counter()
            features_1TD = model.encode_images(torch.from_numpy(batch))
            seconds = time.perf_counter() - started
            assert features_1TD.isfinite().all()
            save_file({"features": features_1TD}, file)
            times.write_text(json.dumps(seconds))
        report.encode[f"{number}"] = json.loads(times.read_text())
        features.append(load_file(file)["features"])
        sys.stderr.write(f"image {number + 1} of {len(pixels)}: {report.encode[f'{number}']:.1f} s\n")
    return torch.cat(features)


def answer(checkpoint: Checkpoint, *, images: int, tokens: int, folder: Path, report: Report) -> None:
    """Goes from the study to an answer."""
    with stage(report, "prepare"):
        prepared = prepare_images(phantom_ct(images), preprocess=checkpoint.preprocess)
        inputs = assemble(
            prepared,
            QUESTION,
            preprocess=checkpoint.preprocess,
            tokenizer=checkpoint.tokenizer,
            tokens=checkpoint.model.config.tokens,
        )
    report.images, report.prompt_tokens = len(inputs.images), len(inputs.token_ids)
    with stage(report, "encode"):
        features_NTD = encode(checkpoint.model, inputs.pixels, kept=folder / "features", report=report)
    runner = Runner(checkpoint.model)
    prompt = Prompt(token_ids=inputs.token_ids, features_NTD=features_NTD)
    with stage(report, "answer"):
        (result,) = generate(
            runner,
            [prompt],
            decoding=Decoding(max_tokens=tokens),
            on_prefill=lambda done, total: sys.stderr.write(f"read {done} of {total} tokens\n") and None,
        )
    report.answer_tokens = len(result.token_ids)
    report.seconds |= {"prefill": result.prefill_seconds, "decode": result.decode_seconds}


def lines(report: Report) -> Iterator[str]:
    """Writes the report as Markdown."""
    gb = 1e9
    encode_seconds = sum(report.encode.values())
    total = sum(report.seconds[name] for name in ("load", "prepare", "prefill", "decode")) + encode_seconds
    yield "# The 4B network at full size"
    yield ""
    yield "`python -m benchmarks.full_size_4b FOLDER --out benchmarks/full_size_4b.md`"
    yield ""
    yield report.machine.markdown()
    yield f"- {report.threads} threads; random weights in bfloat16, {report.weights / gb:.2f} GB in mapped files"
    yield f"- {report.images} slices of a CT; {report.prompt_tokens:,} tokens read, {report.answer_tokens} written"
    yield ""
    yield "| Stage | Seconds | Rate | Peak resident, GB | Of it without a file behind, GB |"
    yield "|---|---:|---:|---:|---:|"
    rows = (
        ("load, mapped", report.seconds["load"], "", "load"),
        ("prepare", report.seconds["prepare"], f"{report.images / report.seconds['prepare']:.1f} images/s", "prepare"),
        ("encode", encode_seconds, f"{encode_seconds / report.images:.1f} s/image", "encode"),
        (
            "prefill",
            report.seconds["prefill"],
            f"{report.prompt_tokens / report.seconds['prefill']:.1f} tok/s",
            "answer",
        ),
        ("decode", report.seconds["decode"], f"{report.answer_tokens / report.seconds['decode']:.2f} tok/s", "answer"),
    )
    before = report.peaks["before"]
    yield f"| before loading | | | {before.resident / gb:.2f} | {before.own / gb:.2f} |"
    for name, seconds, rate, watched in rows:
        peak = report.peaks[watched]
        yield f"| {name} | {seconds:.1f} | {rate} | {peak.resident / gb:.2f} | {peak.own / gb:.2f} |"
    yield f"| all | {total:.1f} | | {max(p.resident for p in report.peaks.values()) / gb:.2f} | |"
    yield ""
    yield "Prefill and decoding are watched together. Time to encode is the sum over the images."


def run(options: argparse.Namespace) -> Report:
    """Writes the weights where they are missing, loads them and answers."""
    folder = options.folder
    if not (folder / "preprocessor_config.json").is_file():
        process = multiprocessing.get_context("spawn").Process(target=write_weights, args=(folder,))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"writing the weights failed with exit code {process.exitcode}")
    torch.set_num_threads(options.threads)
    report = Report(
        machine=measure(threads=(options.threads,), peaks=("bfloat16",)),
        threads=options.threads,
        weights=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
    )
    report.peaks["before"] = memory()
    with stage(report, "load"):
        checkpoint = load_checkpoint(folder, dtype="bfloat16")
    answer(checkpoint, images=options.images, tokens=options.tokens, folder=folder, report=report)
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark and writes its report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the weights and the features are kept")
    parser.add_argument("--images", type=int, default=SLICES, help="slices of the CT")
    parser.add_argument("--tokens", type=int, default=8, help="tokens of the answer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a Markdown file; a JSON file is written beside it")
    options = parser.parse_args(arguments)
    report = run(options)
    text = "\n".join(lines(report)) + "\n"
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text)
        options.out.with_suffix(".json").write_text(json.dumps(asdict(report), indent=2) + "\n")


if __name__ == "__main__":
    main()
