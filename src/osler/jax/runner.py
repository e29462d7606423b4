"""Reads prompts and makes single steps with jitted functions (twin of `osler.engine.runner` and its cache).

Torch tensors come in and logits go out as torch tensors, so that sampling,
constraints and stores of `osler.engine` serve both backends. Lengths are padded
to few buckets, so that few shapes are compiled.

Dimensions: B rows, L tokens, N images, S side of an image (px), T soft tokens
of an image, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.sharding import Mesh

from osler.errors import CapacityError
from osler.jax import decoder, osler
from osler.jax.adapter import AdapterMemory, layer_numbers
from osler.jax.arrays import IMAGE_BUCKETS, bucket, filled, put, to_jax, to_torch
from osler.jax.devices import find_device, require_32_bits
from osler.jax.kv_cache import Cache, LayerKeys, empty_cache, grown, stack
from osler.jax.kv_cache import bucket as slots
from osler.jax.module import JaxOsler
from osler.jax.parameters import parameters_from
from osler.jax.programs import Program
from osler.jax.sharding import shard_cache, shard_weights
from osler.model.config import OslerConfig

_DECODING = ("language_model", "adapter")

BUCKETS = (16, 64, 256, 512)
"""Lengths that a part of a prompt is padded to; longer ones to the next power of two."""


class JaxPoint(NamedTuple):
    """A length to which a `JaxCache` can go back, with what the sliding layers held there."""

    length: int
    sliding: LayerKeys
    positions: jax.Array

    @property
    def bytes(self) -> int:
        """Memory of the copies."""
        return sum(array.nbytes for array in self.sliding)


class JaxCache:
    """Arrays of a `Cache` with the length of each row, as `osler.engine.generate` uses a cache.

    Args:
        cache: The arrays.
        lengths: Tokens stored in each row.
        planned: Tokens that a row will hold at most; more is refused.
    """

    def __init__(self, cache: Cache, *, lengths: Sequence[int], planned: int) -> None:
        self.arrays = cache
        self.lengths = list(lengths)
        self.planned = planned

    @property
    def length(self) -> int:
        """Tokens stored in the longest row."""
        return max(self.lengths)

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return self.arrays.bytes

    def require_room(self, count: int) -> None:
        """Refuses tokens beyond the plan.

        Raises:
            CapacityError: If the tokens are more than were planned.
        """
        if self.length + count > self.planned:
            raise CapacityError(
                f"The cache was planned for {self.planned:,} tokens and would hold {self.length + count:,}.",
                next_step="Ask for fewer tokens.",
            )

    def mark(self) -> JaxPoint:
        """Remembers the present length; the arrays of sliding layers are copied, as steps overwrite them."""
        return JaxPoint(
            self.length,
            *_copied((self.arrays.sliding, self.arrays.sliding_positions)),
        )

    def rewind(self, point: JaxPoint, *, planned: int) -> None:
        """Forgets everything after a mark.

        Args:
            point: From `mark` of this cache, not longer than it is now.
            planned: Tokens that a row will hold at most from now on.
        """
        table = self.arrays.everything_positions
        sliding, positions = _copied((point.sliding, point.positions))
        back = self.arrays._replace(
            sliding=sliding,
            sliding_positions=positions,
            everything_positions=jnp.where(table < point.length, table, -1),
        )
        self.arrays = grown(back, planned=planned)
        self.lengths = [point.length] * len(self.lengths)
        self.planned = planned

    def saved(self, point: JaxPoint) -> dict[str, torch.Tensor]:
        """Names everything that `restored` needs to come back to a mark of this cache."""
        keep = point.length
        return {
            "sliding.keys": to_torch(point.sliding.keys),
            "sliding.values": to_torch(point.sliding.values),
            "sliding.positions": to_torch(point.positions),
            "everything.keys": to_torch(self.arrays.everything.keys[:, :, :, :keep]),
            "everything.values": to_torch(self.arrays.everything.values[:, :, :, :keep]),
        }

    @classmethod
    def restored(cls, tensors: Mapping[str, torch.Tensor], *, length: int, planned: int) -> tuple[Self, JaxPoint]:
        """Builds the cache that `saved` described, and the mark.

        Args:
            length: Tokens that it held at the mark.
            planned: Tokens that it will hold at most.
        """
        arrays = {name: to_jax(tensor) for name, tensor in tensors.items()}
        point = JaxPoint(
            length, LayerKeys(arrays["sliding.keys"], arrays["sliding.values"]), arrays["sliding.positions"]
        )
        rows = arrays["everything.keys"].shape[1]
        sliding, positions = _copied((point.sliding, point.positions))
        cache = Cache(
            sliding=sliding,
            everything=LayerKeys(arrays["everything.keys"], arrays["everything.values"]),
            sliding_positions=positions,
            everything_positions=jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), (rows, length)),
        )
        return cls(grown(cache, planned=planned), lengths=[length] * rows, planned=planned), point

    @classmethod
    def stack(cls, caches: Sequence[Self], *, planned: int) -> Self:
        """Joins caches of single rows into one batch; `planned` is for the longest row."""
        joined = stack([cache.arrays for cache in caches], planned=planned)
        return cls(joined, lengths=[cache.length for cache in caches], planned=planned)


class JaxRunner:
    """The network on JAX, driven like `osler.engine.runner.Runner`.

    Args:
        tensors: Weights under Osler's names, all in one dtype.
        products: The decoder's products where they are packed, see `osler.jax.network`.
        mesh: Devices over which the network is shared out, see `osler.jax.sharding`; ``device`` counts without one.
        config: Of the network.
        longest: Tokens of the longest part of a prompt that is read at once.
        device: See `osler.jax.devices.find_device`.

    Raises:
        RequestError: If JAX does not see the device or is set to 64 bits.
        CheckpointError: If the weights do not fit the twin.
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        *,
        config: OslerConfig,
        products: dict[str, Any] | None = None,
        mesh: Mesh | None = None,
        longest: int = 512,
        device: str = "auto",
    ) -> None:
        require_32_bits()
        self.config = config
        self._device = find_device(device)
        with jax.default_device(self._device):
            self.weights = parameters_from(tensors, config=config, products=products)
        self._mesh = mesh
        if mesh is not None:
            self.weights = shard_weights(self.weights, mesh=mesh)
        self.network = JaxOsler(self.weights, config=config)
        # A step is given no other leaves, as each costs time at every call.
        self._decoding = {part: self.weights[part] for part in _DECODING if part in self.weights}
        self.longest = max(longest, config.image_tokens)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return getattr(torch, str(self.weights["language_model"]["norm"].dtype))

    @property
    def device(self) -> torch.device:
        """Where tensors are expected and given: JAX moves them itself."""
        return torch.device("cpu")

    @property
    def backend(self) -> str:
        """The library that computes."""
        return "jax"

    @property
    def place(self) -> str:
        """The kind of device, such as ``"cpu"``."""
        return self._device.platform

    @property
    def kernels(self) -> dict[str, str]:
        """What decides the last bits of a result, beside weights and inputs."""
        table = self.weights["language_model"]["embed_tokens"]
        own = {} if isinstance(table, jax.Array) else {"products": table.kernels.build if table.kernels else "xla"}
        return {"device": f"{self._device.platform} {self._device.device_kind}", "jax": jax.__version__} | own

    def new_cache(self, *, planned: int) -> JaxCache:
        """Makes an empty cache of one row for this many tokens."""
        arrays = _empty_cache(
            self.config.decoder,
            planned=slots(planned),
            longest=self.longest,
            rows=1,
            dtype=self.weights["language_model"]["norm"].dtype,
        )
        return JaxCache(self._placed(arrays), lengths=[0], planned=planned)

    def _placed(self, arrays: Cache) -> Cache:
        """Puts a cache, which may just have been joined from several, where the weights expect it."""
        return arrays if self._mesh is None else shard_cache(arrays, mesh=self._mesh)

    def restored_cache(
        self, tensors: Mapping[str, torch.Tensor], *, length: int, planned: int
    ) -> tuple[JaxCache, JaxPoint]:
        """Builds the cache that `JaxCache.saved` described, and its mark."""
        return JaxCache.restored(tensors, length=length, planned=planned)

    def encode_images(self, pixels_N3SS: torch.Tensor) -> torch.Tensor:
        """Turns images, RGB in [-1, 1], into soft tokens, (N, T, D)."""
        return self.network.encode_images(pixels_N3SS)

    def score(
        self, token_ids_1L: torch.Tensor, *, cache: JaxCache, memory: AdapterMemory | None = None
    ) -> torch.Tensor:
        """Reads text and returns the logits after each of its tokens, (L, V)."""
        ids_1L, positions_1L = self._part(token_ids_1L, cache=cache)
        logits_LV, cache.arrays = _score(self._decoding, ids_1L, positions_1L, memory, cache.arrays, config=self.config)
        cache.lengths[0] += token_ids_1L.shape[1]
        return to_torch(logits_LV)[: token_ids_1L.shape[1]]

    def read(
        self,
        token_ids_1L: torch.Tensor,
        *,
        features_NTD: torch.Tensor | None,
        cache: JaxCache,
        memory: AdapterMemory | None = None,
    ) -> torch.Tensor:
        """Reads the next part of one prompt, whose images are whole; returns the logits after it, (1, V)."""
        count = token_ids_1L.shape[1]
        ids_1L, positions_1L = self._part(token_ids_1L, cache=cache)
        features = None
        if features_NTD is not None:
            features = to_jax(filled(features_NTD, axis=0, size=bucket(len(features_NTD), IMAGE_BUCKETS)))
        logits_1V, cache.arrays = _read(
            self._decoding,
            ids_1L,
            positions_1L,
            features,
            memory,
            np.int32(count - 1),
            cache.arrays,
            config=self.config,
        )
        cache.lengths[0] += count
        return to_torch(logits_1V)

    def step(self, token_ids_B: torch.Tensor, *, cache: JaxCache, memory: AdapterMemory | None = None) -> torch.Tensor:
        """Adds one token to each row and returns the logits after it, (B, V)."""
        cache.require_room(1)
        arrays = self._placed(cache.arrays)
        positions = put(np.array(cache.lengths, np.int32)[:, None])
        ids_B1 = to_jax(token_ids_B.int()[:, None])
        logits_BV, cache.arrays = _step(self._decoding, ids_B1, positions, memory, arrays, config=self.config)
        cache.lengths = [length + 1 for length in cache.lengths]
        return to_torch(logits_BV)

    def go_on(self, token_ids_L: torch.Tensor, *, cache: JaxCache, memory: AdapterMemory | None = None) -> torch.Tensor:
        """Adds tokens that an answer has; returns the logits after the last one, (1, V)."""
        return self.read(token_ids_L[None], features_NTD=None, cache=cache, memory=memory)

    def _part(self, token_ids_1L: torch.Tensor, *, cache: JaxCache) -> tuple[jax.Array, jax.Array]:
        """Pads the ids of a part to a bucket, and gives their positions, -1 for padding."""
        count = token_ids_1L.shape[1]
        cache.require_room(count)
        size = bucket(count, BUCKETS)
        positions = np.full((1, size), -1, np.int32)
        positions[0, :count] = np.arange(cache.length, cache.length + count)
        return to_jax(filled(token_ids_1L.int(), axis=1, size=size)), put(positions)


_empty_cache = jax.jit(empty_cache, static_argnames=("config", "planned", "longest", "rows", "dtype"))


@jax.jit
def _copied(arrays: Any) -> Any:
    return jax.tree.map(jnp.copy, arrays)


@partial(Program, donate=("cache",))
def _read(
    weights: dict[str, Any],
    ids_1L: jax.Array,
    positions_1L: jax.Array,
    features_NTD: jax.Array | None,
    memory: AdapterMemory | None,
    last: jax.Array,
    cache: Cache,
    *,
    config: OslerConfig,
) -> tuple[jax.Array, Cache]:
    hidden_1LD, cache = _hidden(weights, ids_1L, positions_1L, features_NTD, memory, cache, config=config)
    final_1D = jax.lax.dynamic_index_in_dim(hidden_1LD, last, axis=1, keepdims=False)
    return decoder.logits(weights["language_model"], final_1D, config=config.decoder).astype(jnp.float32), cache


@partial(Program, donate=("cache",))
def _score(
    weights: dict[str, Any],
    ids_1L: jax.Array,
    positions_1L: jax.Array,
    memory: AdapterMemory | None,
    cache: Cache,
    *,
    config: OslerConfig,
) -> tuple[jax.Array, Cache]:
    hidden_1LD, cache = _hidden(weights, ids_1L, positions_1L, None, memory, cache, config=config)
    return decoder.logits(weights["language_model"], hidden_1LD[0], config=config.decoder).astype(jnp.float32), cache


@partial(Program, donate=("cache",))
def _step(
    weights: dict[str, Any],
    ids_B1: jax.Array,
    positions_B1: jax.Array,
    memory: AdapterMemory | None,
    cache: Cache,
    *,
    config: OslerConfig,
) -> tuple[jax.Array, Cache]:
    hidden_B1D, cache = _hidden(weights, ids_B1, positions_B1, None, memory, cache, config=config)
    return decoder.logits(weights["language_model"], hidden_B1D[:, 0], config=config.decoder).astype(jnp.float32), cache


def _hidden(
    weights: dict[str, Any],
    ids_BL: jax.Array,
    positions_BL: jax.Array,
    features_NTD: jax.Array | None,
    memory: AdapterMemory | None,
    cache: Cache,
    *,
    config: OslerConfig,
) -> tuple[jax.Array, Cache]:
    reading = None
    if memory is not None and config.adapter is not None:
        numbers = layer_numbers(config.adapter, decoder=config.decoder)
        reading = decoder.Reading(weights["adapter"], config.adapter, memory, numbers)
    return decoder.forward(
        weights["language_model"],
        osler.embed(weights, ids_BL, features_NTD, config=config),
        config=config.decoder,
        positions_BL=positions_BL,
        last_BL=osler.last_seen(positions_BL, ids_BL, image_token=config.tokens.image),
        cache=cache,
        reading=reading,
    )
