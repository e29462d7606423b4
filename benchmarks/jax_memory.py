"""Measures what loading a folder of 4 bits takes in JAX, beside the bytes of its file.

    python -m benchmarks.jax_memory --out benchmarks/jax_memory

The folder has the 4B shape, with as many layers as are asked for, and random
codes. A process of its own loads it and reads a prompt of 16 tokens; the memory
that belongs to it alone (RssAnon) is sampled every 5 ms, and the most that was
resident, pages of the mapped file included, is what the system kept (VmHWM).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.quant_kernels import random_weight
from osler.model.config import OslerConfig, get_config
from osler.prepare import preprocess_for
from osler.quant import default_plan
from osler.quant.folder import MODEL_TYPE, WEIGHTS_FILE
from osler.quant.formats import parse_format
from osler.quant.packed import layout_shapes
from osler.quant.plan import products
from osler.quant.stream_file import Place, file_probe, write_stream
from osler.weights.assemble import empty_network
from osler.weights.config_json import config_to_dict
from osler.weights.contract import CONTRACT_FILE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6, help="of 34")
    parser.add_argument("--out", type=Path, help="write OUT.md")
    parser.add_argument("--load", type=Path, help="load this folder and print what it took: the measured process")
    options = parser.parse_args()
    if options.load is not None:
        print(json.dumps(loaded(options.load)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "quantized"
        config = write_folder(folder, layers=options.layers)
        size = (folder / WEIGHTS_FILE).stat().st_size
        command = [sys.executable, "-m", "benchmarks.jax_memory", "--load", str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    text = report(found, size=size, config=config)
    print(text)
    if options.out is not None:
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")


def write_folder(folder: Path, *, layers: int) -> OslerConfig:
    """Writes quantized weights of random codes, one product at a time."""
    whole = get_config("medgemma-1.5-4b")
    config = OslerConfig(
        name="4b-layers", decoder=replace(whole.decoder, layers=layers), vision=None, tokens=whole.tokens
    )
    plan = default_plan(config, bits=4)
    places: dict[str, Place] = {}
    sizes = {name: (rows, columns) for name, rows, columns in products(config.decoder)}
    for name, form in plan.formats.items():
        codes, scale = layout_shapes(parse_format(form), rows=sizes[name][0], columns=sizes[name][1])
        places |= {f"{name}.codes": (torch.uint8, codes), f"{name}.scale": (torch.float16, scale)}
        if form.endswith("asym"):
            places[f"{name}.offset"] = (torch.float16, scale)
    norms = {name: tuple(value.shape) for name, value in empty_network(config).state_dict().items() if value.ndim == 1}
    places |= {name: (torch.bfloat16, shape) for name, shape in norms.items()}

    def tensors():
        for name, form in plan.formats.items():
            weight = random_weight(form, rows=sizes[name][0], columns=sizes[name][1])
            yield from (part for part in (weight.codes, weight.scale, weight.offset) if part is not None)
        yield from (torch.zeros(shape, dtype=torch.bfloat16) for shape in norms.values())

    contract = preprocess_for(config)
    metadata = {
        "format": "pt",
        "plan": plan.to_json(),
        "preprocess": contract.to_json(),
        "preprocess_hash": contract.hash,
    }
    folder.mkdir()
    digest = write_stream(folder / WEIGHTS_FILE, places=places, metadata=metadata, tensors=tensors)
    header = {
        "model_type": MODEL_TYPE, "version": 1, "made_from": "random codes", "license": "none",
        "tokenizer_home": "embedded", "trained": [], "sha256": digest, "probe": file_probe(folder / WEIGHTS_FILE),
    }  # fmt: skip
    (folder / CONTRACT_FILE).write_text(contract.to_json() + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(header | config_to_dict(config)), encoding="utf-8")
    return config


def loaded(folder: Path) -> dict[str, float]:
    """Loads the folder and reads a prompt; returns bytes resident before, at most and after."""
    import jax

    from osler.engine.load import load

    jax.devices()
    before, most, stop = _status("RssAnon"), [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            most[0] = max(most[0], _status("RssAnon"))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    session = load(str(folder), backend="jax", device="cpu", studies="memory")
    seconds = time.perf_counter() - started
    after_load = most[0]
    cache = session.runner.new_cache(planned=64)
    before_prompt = _status("RssAnon")
    session.runner.read(torch.arange(1000, 1016)[None], features_NTD=None, cache=cache)
    stop.set()
    watcher.join()
    return {
        "before": before,
        "most while loading": after_load,
        "loaded": before_prompt,
        "most with a prompt": most[0],
        "most resident": _status("VmHWM"),
        "seconds": seconds,
        "kernels": session.runner.kernels["products"],
    }


def _status(field: str) -> int:
    """Bytes of a field of this process's status."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def report(found: dict[str, float], *, size: int, config: OslerConfig) -> str:
    """Writes the table in Markdown."""
    weights = sum(rows * columns for _, rows, columns in products(config.decoder))
    own = found["before"]
    rows = [
        ("file of the folder", size),
        ("the same weights in bfloat16", 2 * weights),
        ("own memory, most while loading, above what it was before", found["most while loading"] - own),
        ("own memory once loaded", found["loaded"] - own),
        ("own memory, most while a prompt is compiled and read", found["most with a prompt"] - own),
        ("most resident, with Python, the libraries and pages of the mapped file", found["most resident"]),
    ]
    lines = [
        "# Memory of weights of 4 bits in JAX",
        "",
        f"`python -m benchmarks.jax_memory`: {config.decoder.layers} layers of the 4B shape and its whole vocabulary, "
        f"{weights / 1e9:.2f} G weights; loaded in {found['seconds']:.1f} s; products by {found['kernels']}.",
        "",
        "| | MB | of the file |",
        "|---|---|---|",
        *(f"| {name} | {value / 1e6:,.0f} | {value / size:.2f} |" for name, value in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
