"""What a volume costs, slice by slice and as slabs, against its depth.

    python -m benchmarks.volume_cost --part mini --out benchmarks/volume_cost
    python -m benchmarks.volume_cost --part 4b --out benchmarks/volume_cost

Writes OUT.json, OUT.md and OUT.svg; a run of one part keeps the other part of OUT.json.

Seconds are those of one processor core that the work itself took (the operating system's count), so other programs
on the same cores change them little. *mini*: Osler-mini with its own weights, all of it measured: preparing, tower,
reading the prompt. *4b*: the shape of MedGemma 1.5 4B with random weights in bfloat16. Measured: one image and one slab
through the whole tower, and both prompts through one sliding and one global layer of the decoder; of the long prompt a
part of the chunks, evenly spread, each after a cache that holds all that comes before it. The other layers, chunks and
images are the same again, so they are multiplied out. Tokens come from the real prompts, operations from
`benchmarks.volume_flops`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.full_size_4b import QUESTION, memory
from benchmarks.machine import measure
from benchmarks.volume_flops import mixing_flops, prefill_flops, projection_flops, tower_flops
from osler.engine.chunks import chunk_ends
from osler.engine.features import FeatureStore
from osler.engine.generate import Prompt, generate
from osler.engine.kv_cache import KVCache, cache_bytes
from osler.engine.options import Decoding
from osler.engine.runner import Runner
from osler.engine.slab_features import SlabStore
from osler.model.config import OslerConfig, VolumeConfig, get_config
from osler.model.decoder import Decoder, DecoderLayer
from osler.model.osler import Osler
from osler.prepare import ModelInputs, Preprocess, assemble, prepare_images, preprocess_for, with_visual_tokens
from osler.study import Affine, Study, TimePoint, Volume
from osler.weights import GemmaTokenizer, embedded_gguf, load_checkpoint, read_gguf

DEPTHS = (1, 4, 16, 50, 85, 170, 340, 1000)
HEADLINE = 85
BUDGETS = {"mini": 512, "4b": 2048}
WAYS = ("slices", "slabs")
_REPEATS = 3
_CHUNKS = 6
_VOLUME_4B = VolumeConfig(heads=16, mlp_width=2304)


@dataclass(frozen=True, slots=True)
class PhantomPixels:
    """Slices of a round body with noise, made when they are read: 1,000 slices take no memory."""

    slices: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """512 x 512 px."""
        return self.slices, 512, 512

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """HU."""
        y, x = np.ogrid[-1:1:512j, -1:1:512j]
        body = np.where(x**2 + (y / 0.7) ** 2 < 0.8, 50, -1000).astype(np.int16)
        rows = []
        for number in range(self.slices) if slices is None else slices:
            noise = np.random.default_rng(number).integers(-15, 15, body.shape, dtype=np.int16)
            rows.append(body + noise)
        return np.stack(rows)


@dataclass(slots=True, kw_only=True)
class Cost:
    """What one way of reading one depth costs; seconds, bytes.

    Args:
        encoded: Images or slabs through the tower.
        tokens: Soft tokens. prompt: All tokens.
        flops: By stage.
        seconds: Of one core, by stage; measured or multiplied out, as the page says.
        peak: Memory that the process took beyond what it held at the start of a stage; 0 if not measured.
        cache: Keys and values of the prompt.
    """

    depth: int
    way: str
    encoded: int
    tokens: int
    prompt: int
    flops: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    cache: int = 0


def phantom(depth: int) -> Study:
    """A CT of 340 mm, or of slices 5 mm apart where that is less."""
    affine = Affine(matrix=np.diag([0.8, 0.8, min(5.0, 340 / depth), 1.0]))
    volume = Volume(series="phantom", pixels=PhantomPixels(depth), affine=affine, modality="CT", units="HU")
    return Study(timepoints=(TimePoint(series=(volume,)),))


def inputs_of(study: Study, *, contract: Preprocess, tokenizer: GemmaTokenizer, config: OslerConfig) -> ModelInputs:
    """The prompt of a question on a study."""
    prepared = prepare_images(study, preprocess=contract)
    return assemble(prepared, QUESTION, preprocess=contract, tokenizer=tokenizer, tokens=config.tokens)


def counted(inputs: ModelInputs, *, depth: int, way: str, config: OslerConfig, volume: VolumeConfig | None) -> Cost:
    """Tokens and operations of a prompt."""
    assert config.vision is not None
    slabs = sum(len(plan.slabs) for plan in inputs.volumes.values())
    encoded, prompt = slabs or len(inputs.images), len(inputs.token_ids)
    flops = {
        "tower": encoded * tower_flops(config.vision) + projection_flops(config, tokens=inputs.soft_tokens),
        "decoder": prefill_flops(config.decoder, tokens=prompt),
    }
    if slabs and volume is not None:
        flops["tower"] += mixing_flops(volume, config=config, slabs=slabs)
    cache = cache_bytes(config.decoder, tokens=prompt, itemsize=2)
    return Cost(
        depth=depth, way=way, encoded=encoded, tokens=inputs.soft_tokens, prompt=prompt, flops=flops, cache=cache
    )


@contextmanager
def watched(seconds: dict[str, list[float]], stage: str, peaks: list[int]) -> Iterator[None]:
    """Times a stage and notes the most memory of its own that the process took beyond the start."""
    base, done = memory().own, threading.Event()
    highest = [base]

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], memory().own)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.process_time()
    yield
    seconds.setdefault(stage, []).append(time.process_time() - started)
    done.set()
    watcher.join()
    peaks.append(highest[0] - base)


def run_mini(*, say: Callable[[str], None]) -> list[Cost]:
    """Measures Osler-mini, the two ways in turns."""
    checkpoint = load_checkpoint("osler-mini")
    model, runner = checkpoint.model, Runner(checkpoint.model)
    contracts = dict(
        zip(WAYS, (checkpoint.preprocess, with_visual_tokens(checkpoint.preprocess, BUDGETS["mini"])), strict=True)
    )
    costs: list[Cost] = []
    for depth in DEPTHS:
        study = phantom(depth)
        timed: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
        found: dict[str, Cost] = {}
        peaks: dict[str, list[int]] = {way: [] for way in WAYS}
        for _ in range(_REPEATS):
            for way in WAYS:
                with watched(timed[way], "prepare", peaks[way]):
                    inputs = inputs_of(
                        study, contract=contracts[way], tokenizer=checkpoint.tokenizer, config=model.config
                    )
                with watched(timed[way], "tower", peaks[way]):
                    features = SlabStore(model).encode_shown(inputs, images=FeatureStore(model))
                with watched(timed[way], "decoder", peaks[way]):
                    prompt = Prompt(token_ids=inputs.token_ids, features_NTD=features)
                    generate(runner, [prompt], decoding=Decoding(max_tokens=1))
                found[way] = counted(inputs, depth=depth, way=way, config=model.config, volume=model.config.volume)
        for way in WAYS:
            found[way].seconds = {stage: min(taken) for stage, taken in timed[way].items()}
            found[way].peak = max(peaks[way])
            costs.append(found[way])
            say(f"mini {depth} {way}: {found[way].prompt} tokens, {sum(found[way].seconds.values()):.2f} s")
    return costs


@torch.inference_mode()
def run_4b(*, say: Callable[[str], None]) -> tuple[list[Cost], dict[str, Any]]:
    """Counts every depth of the 4B shape, and measures what `HEADLINE` slices need."""
    config = get_config("medgemma-1.5-4b")
    tokenizer = GemmaTokenizer.from_gguf(read_gguf(embedded_gguf()))
    own = preprocess_for(config)
    # Tokens and slabs do not depend on the size in pixels: small pictures prepare faster.
    small = replace(own, image_size=64)
    contracts = dict(zip(WAYS, (small, with_visual_tokens(small, BUDGETS["4b"])), strict=True))
    costs: list[Cost] = []
    prompts: dict[str, np.ndarray] = {}
    for depth in DEPTHS:
        for way in WAYS:
            inputs = inputs_of(phantom(depth), contract=contracts[way], tokenizer=tokenizer, config=config)
            volume = _VOLUME_4B if way == "slabs" else None
            costs.append(counted(inputs, depth=depth, way=way, config=config, volume=volume))
            if depth == HEADLINE:
                prompts[way] = inputs.token_ids
    tower = measure_tower(config, say=say)
    layers = {way: measure_layers(config, token_ids=prompts[way], say=say) for way in WAYS}
    sliding = sum(config.decoder.kind(layer) == "sliding" for layer in range(config.decoder.layers))
    for cost in costs:
        if cost.depth == HEADLINE:
            kind = layers[cost.way]
            decoder = sliding * kind["sliding"] + (config.decoder.layers - sliding) * kind["global"]
            one = tower["image"] if cost.way == "slices" else tower["slab"]
            cost.seconds = {"tower": cost.encoded * one, "decoder": decoder}
    return costs, {"tower_seconds": tower, "layer_seconds": layers}


def measure_tower(config: OslerConfig, *, say: Callable[[str], None]) -> dict[str, float]:
    """Seconds of one image and of one slab of four slices through the whole tower."""
    assert config.vision is not None
    tiny = replace(config.decoder, layers=1, vocab=512)
    with torch.device("meta"):
        model = Osler(replace(config, decoder=tiny, volume=_VOLUME_4B))
    model = model.to(torch.bfloat16).to_empty(device="cpu").eval()
    _fill(model)
    size = config.vision.image_size
    slab = torch.rand(1, _VOLUME_4B.depth, 3, size, size) * 2 - 1
    runs = {"image": lambda: model.encode_images(slab[:, 0]), "slab": lambda: model.encode_slabs(slab)}
    taken: dict[str, float] = {}
    for name, run in runs.items():
        started = time.process_time()
        run()
        taken[name] = time.process_time() - started
        say(f"4b tower {name}: {taken[name]:.1f} s")
    return taken


def measure_layers(config: OslerConfig, *, token_ids: np.ndarray, say: Callable[[str], None]) -> dict[str, float]:
    """Seconds that a prompt takes in a layer of each kind, read in chunks with a cache as the engine reads it.

    Image tokens stand where they do in the prompt, with random features; text ids are folded into a small vocabulary.
    """
    few = replace(config.decoder, layers=2, global_every=2, vocab=512)
    with torch.device("meta"):
        model = Osler(replace(config, decoder=few, vision=None))
    model = model.to(torch.bfloat16).to_empty(device="cpu").eval()
    _fill(model)
    spent, runner, image = _timed_layers(model.decoder), Runner(model), config.tokens.image
    ids = np.where(token_ids == image, image, token_ids % 500 + 6)
    ends = chunk_ends(ids, image_token=image)
    count = min(len(ends), _CHUNKS)
    chosen = [round((place + 0.5) / count * len(ends) - 0.5) for place in range(count)]
    read = 0
    for number in chosen:
        start, end = ([0, *ends])[number], ends[number]
        cache = KVCache(few, planned=len(ids))
        earlier = torch.randn(2, 1, few.kv_heads, start, few.head_dim).bfloat16()
        for layer in range(few.layers if start else 0):
            cache.update(layer, *earlier)
        part = torch.from_numpy(ids[start:end])[None]
        places = int((part == image).sum())
        features = torch.randn(places, 1, few.width).bfloat16() if places else None
        runner.read(part, features_NTD=features, cache=cache)
        read += end - start
        say(f"4b decoder, tokens {start} to {end} of {len(ids)}: {sum(spent):.1f} s so far in two layers")
    kinds = {few.kind(layer): taken * len(ids) / read for layer, taken in enumerate(spent)}
    return {**kinds, "tokens": float(len(ids)), "read": float(read)}


def _timed_layers(decoder: Decoder) -> list[float]:
    """Adds up the seconds of each layer as it runs."""
    spent = [0.0] * len(decoder.layers)
    starts = [0.0] * len(decoder.layers)

    def watch(number: int, layer: DecoderLayer) -> None:
        def before(module: Any, arguments: Any) -> None:
            starts[number] = time.thread_time()

        def after(module: Any, arguments: Any, result: Any) -> None:
            spent[number] += time.thread_time() - starts[number]

        layer.register_forward_pre_hook(before)
        layer.register_forward_hook(after)

    for number, layer in enumerate(decoder.layers):
        watch(number, layer)
    return spent


def _fill(model: Osler) -> None:
    """Random weights whose activations have a sensible size."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") and "language" not in name else 0.0)
        else:
            parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)


def ratio(costs: Sequence[Cost], *, depth: int, of: Callable[[Cost], float]) -> float:
    """How many times less slabs take than slices."""
    found = {cost.way: of(cost) for cost in costs if cost.depth == depth}
    return found["slices"] / found["slabs"]


def main() -> None:
    parser = argparse.ArgumentParser(description="What a volume costs, slice by slice and as slabs.")
    parser.add_argument("--part", choices=("mini", "4b", "draw"), required=True, help="what to measure, or nothing")
    parser.add_argument("--out", type=Path, required=True, help="without an ending")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = options.out.with_suffix(".json")
    record: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    if options.part != "draw":
        started = time.thread_time()
        machine = measure(threads=(options.threads,), peaks=("bfloat16",))
        part: dict[str, Any] = {"budget": BUDGETS[options.part], "threads": options.threads}
        part["clock"] = "seconds of one core, " + (f"the best of {_REPEATS}" if options.part == "mini" else "one run")
        if options.part == "mini":
            costs = run_mini(say=say)
        else:
            costs, part["measured"] = run_4b(say=say)
        part |= {"costs": [asdict(cost) for cost in costs], "machine": machine.markdown()}
        part["run_seconds"] = round(time.thread_time() - started)
        record[options.part] = part
        path.write_text(json.dumps(record, indent=1) + "\n")
    from benchmarks.volume_cost_page import draw, page

    draw(record, path=options.out.with_suffix(".svg"))
    options.out.with_suffix(".md").write_text(page(record, picture=options.out.with_suffix(".svg").name))


def costs_of(part: Mapping[str, Any]) -> list[Cost]:
    """Reads the costs of a part of OUT.json."""
    return [Cost(**cost) for cost in part["costs"]]


def rounded(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{round(value, 2 - math.floor(math.log10(value))):,.0f}"


if __name__ == "__main__":
    main()
