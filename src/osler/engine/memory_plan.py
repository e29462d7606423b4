"""How much memory a request takes, known before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from osler.engine.chunks import CHUNK
from osler.engine.kv_cache import cache_bytes
from osler.errors import CapacityError, RequestError
from osler.model.attention import SMALL_TILE
from osler.model.config import DecoderConfig, OslerConfig
from osler.weights.catalog import list_models
from osler.weights.footprint import BYTES_A_WEIGHT, memory_bytes

_SPARE = 0.05
# Compiled kernels and scratch memory of the libraries, which grow with the shapes met (benchmarks/memory_plan.md).
_LIBRARIES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes that a request takes beside the loaded weights.

    Args:
        weights: Still to be loaded; 0 for a loaded model.
        kv_cache: Keys and values of prompt and answer, marks of the prefix store included.
        features: Of all images.
        activations: Of the larger of one chunk of prefill and one batch of images.
    """

    weights: int = 0
    kv_cache: int = 0
    features: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        """Sum of all parts, bytes."""
        return self.weights + self.kv_cache + self.features + self.activations

    def describe(self) -> str:
        """Names the parts, such as ``"KV cache 0.58 GB, features 0.11 GB"``."""
        parts = {
            "weights": self.weights,
            "KV cache": self.kv_cache,
            "features": self.features,
            "activations": self.activations,
        }
        return ", ".join(f"{name} {_gb(size)}" for name, size in parts.items() if size)

    def fits(self, available: int) -> bool:
        """Whether it fits into the free memory, bytes, of which 5% is left alone."""
        return self.total <= available * (1 - _SPARE)

    def require(self, available: int) -> None:
        """Refuses a request that does not fit.

        Args:
            available: Free memory, bytes; 5% of it is left alone.

        Raises:
            CapacityError: With the numbers and what to do.
        """
        if self.fits(available):
            return
        advice = (
            "Close other programs or choose a smaller model."
            if self.weights
            else "Show fewer slices, ask a shorter question or ask for fewer tokens."
        )
        raise CapacityError(
            f"This takes {_gb(self.total)} of memory ({self.describe()}), and {_gb(available)} are free.",
            next_step=advice,
        )


def plan_request(
    config: OslerConfig,
    *,
    prompt_tokens: int,
    max_tokens: int,
    images: int,
    itemsize: int,
    image_batch: int = 1,
    rows: int = 1,
    chunk: int = CHUNK,
) -> MemoryPlan:
    """Plans a request to a loaded model.

    Args:
        prompt_tokens: Of the longest prompt. max_tokens: Of the answer.
        images: In all prompts together.
        itemsize: Bytes of one number of the activations.
        image_batch: Images encoded at a time.
        rows: Prompts answered together.
        chunk: Tokens read in one pass.
    """
    decoder = config.decoder
    tokens = prompt_tokens + max_tokens
    cache = cache_bytes(decoder, tokens=tokens, itemsize=itemsize, rows=rows)
    # A mark of the prefix store is one window of each sliding layer; two are kept.
    marks = 2 * cache_bytes(decoder, tokens=0, itemsize=itemsize)
    # Once in the store, once in the order of the prompt.
    features = 2 * images * config.image_tokens * decoder.width * itemsize
    reading = prefill_bytes(
        decoder, chunk=min(max(chunk, config.image_tokens), prompt_tokens), tokens=tokens, itemsize=itemsize
    )
    encoding = encode_bytes(config, images=min(image_batch, images), itemsize=itemsize)
    logits = rows * decoder.vocab * (itemsize + 4)
    return MemoryPlan(
        kv_cache=cache + marks, features=features, activations=_LIBRARIES + max(reading + logits, encoding)
    )


def plan_weights(name: str, *, itemsize: int, bits: int | None = None) -> MemoryPlan:
    """Plans the loading of a model, as far as its size is known before.

    Args:
        name: A name in the catalog, a folder or a GGUF file.
        itemsize: Bytes of one weight in memory.
        bits: Of the quantized ones; those of the image tower count as if they were, too.
    """
    if bits is not None:
        # Scales take half a bit a weight, and a language head of 8 bits a sixth of a large decoder.
        whole = plan_weights(name, itemsize=2).weights
        return MemoryPlan(weights=int(whole * (bits + 1.5) / 16))
    entry = next((entry for entry in list_models() if entry.name == name), None)
    if entry is not None:
        return MemoryPlan(weights=entry.memory_bytes * itemsize // BYTES_A_WEIGHT)
    return MemoryPlan(weights=memory_bytes(Path(name)) * itemsize // BYTES_A_WEIGHT)


def prefill_bytes(config: DecoderConfig, *, chunk: int, tokens: int, itemsize: int) -> int:
    """Estimates the activations of one chunk of prefill, from above, bytes.

    Counts the stream and its float32 norm, the projections, gate, up and their
    product, the mask and what attention needs for it: in bfloat16 the scores of a
    tile as they are computed, rounded and summed, old and new; in float32 the keys and
    values once for each query head.
    """
    stream = chunk * config.width * (4 * itemsize + 2 * 4)
    heads = chunk * (config.heads + 2 * config.kv_heads) * config.head_dim * (4 * itemsize + 4)
    mlp = chunk * config.mlp_width * 4 * itemsize
    mask = chunk * tokens * (1 + itemsize)
    # Keys and values of a sliding layer are joined with the chunk outside the buffer.
    joined = 4 * (chunk + config.window) * config.kv_heads * config.head_dim * itemsize
    if itemsize == 2:
        tile = min(chunk, SMALL_TILE)
        scores = tile * tokens * (config.heads // config.kv_heads * 12 + 8)
    else:
        scores = 2 * tokens * config.heads * config.head_dim * itemsize
    return stream + max(heads + mask + joined + scores, mlp)


def encode_bytes(config: OslerConfig, *, images: int, itemsize: int) -> int:
    """Estimates the memory to encode a batch of images, from above, bytes."""
    if config.vision is None or images == 0:
        return 0
    vision = config.vision
    patches = vision.side**2
    pixels = 2 * 3 * vision.image_size**2 * 4
    layer = patches * (vision.width * 6 + vision.mlp_width * 2) * max(itemsize, 4)
    return images * (pixels + layer)


def require_context(config: DecoderConfig, *, prompt_tokens: int, max_tokens: int) -> None:
    """Refuses a prompt that is empty or does not fit the context with its answer.

    Raises:
        CapacityError: If prompt and answer are longer than the context.
        RequestError: If the prompt is empty.
    """
    if prompt_tokens < 1:
        raise RequestError("The prompt is empty.", next_step="Ask a question.")
    limit = config.max_positions
    if prompt_tokens >= limit:
        raise CapacityError(
            f"The prompt takes {prompt_tokens:,} tokens.",
            allowed=f"This model holds {limit:,} tokens, the answer included.",
            next_step="Show fewer slices or ask a shorter question.",
        )
    if prompt_tokens + max_tokens > limit:
        raise CapacityError(
            f"The prompt takes {prompt_tokens:,} tokens and the answer may take {max_tokens:,}.",
            allowed=f"This model holds {limit:,} tokens, the answer included.",
            next_step=f"Ask for at most {limit - prompt_tokens:,} tokens, or show fewer slices.",
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
