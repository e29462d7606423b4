"""Keys and values of earlier tokens, in memory that is known beforehand.

Sliding layers keep the last ``window - 1`` tokens and a little room to append;
when the room is used up the kept tokens move to the front. Global layers grow
in blocks up to the planned length. Tokens stay in order, so that a query sees
a contiguous slice and one query needs no mask.

Rows of unequal length are padded on the left. (There is no right padding in the
engine: each prompt is read alone and joined with `KVCache.stack`.)

Legend: B rows, L new tokens, S stored tokens, K key heads, H width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from osler.errors import CapacityError
from osler.model.config import DecoderConfig

BLOCK = 512
"""Tokens by which a global layer grows."""
ROOM = 256
"""Tokens that a sliding layer can append before it moves its window."""
SLACK = 32
"""Tokens, the last ones, that a cache can forget again: guesses that were wrong."""


class LayerCache:
    """Keys and values of one layer.

    Args:
        keep: Earlier tokens that a query may need; ``None`` for all.
    """

    def __init__(self, *, keep: int | None) -> None:
        self.keep = keep
        self.end = 0
        self.keys_BKSH: torch.Tensor | None = None
        self.values_BKSH: torch.Tensor | None = None

    def append(
        self, keys_BKLH: torch.Tensor, values_BKLH: torch.Tensor, *, limit: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds new tokens and returns all that they may see, old ones first.

        Args:
            limit: The longest that the layer will become.
        """
        count = keys_BKLH.shape[2]
        seen = self.end if self.keep is None else min(self.end, self.keep)
        if self.keep is not None and count > ROOM - SLACK:
            return self._append_many(keys_BKLH, values_BKLH, seen=seen)
        self._make_room(keys_BKLH, count=count, limit=limit)
        assert self.keys_BKSH is not None
        assert self.values_BKSH is not None
        start, self.end = self.end, self.end + count
        self.keys_BKSH[:, :, start : self.end] = keys_BKLH
        self.values_BKSH[:, :, start : self.end] = values_BKLH
        return self.keys_BKSH[:, :, start - seen : self.end], self.values_BKSH[:, :, start - seen : self.end]

    def reserve(self, like_BK1H: torch.Tensor, *, count: int, limit: int) -> int:
        """Makes room for a few tokens that somebody else writes.

        Args:
            like_BK1H: A tensor of the shape and type of the keys of one.
            count: Tokens. limit: The longest that the layer will become.

        Returns:
            The place of the first; a token sees itself and the `keep` tokens in the buffer before it.
        """
        self._make_room(like_BK1H, count=count, limit=limit)
        place, self.end = self.end, self.end + count
        return place

    def _append_many(
        self, keys_BKLH: torch.Tensor, values_BKLH: torch.Tensor, *, seen: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A chunk longer than the room: attended to outside the buffer, of which only the window is kept."""
        assert self.keep is not None
        if seen:
            assert self.keys_BKSH is not None
            assert self.values_BKSH is not None
            keys_BKLH = torch.cat((self.keys_BKSH[:, :, self.end - seen : self.end], keys_BKLH), dim=2)
            values_BKLH = torch.cat((self.values_BKSH[:, :, self.end - seen : self.end], values_BKLH), dim=2)
        kept = min(self.keep, keys_BKLH.shape[2])
        self.restore(
            keys_BKLH[:, :, keys_BKLH.shape[2] - kept :],
            values_BKLH[:, :, values_BKLH.shape[2] - kept :],
            capacity=self.keep + ROOM,
        )
        return keys_BKLH, values_BKLH

    def restore(self, keys_BKSH: torch.Tensor, values_BKSH: torch.Tensor, *, capacity: int) -> None:
        """Puts a copy of these tokens at the front of the buffer, in place of all others."""
        count = keys_BKSH.shape[2]
        if self.keys_BKSH is None or self.keys_BKSH.shape[2] < capacity or self.keys_BKSH.shape[0] != len(keys_BKSH):
            self.keys_BKSH = _empty_like(keys_BKSH, length=capacity)
            self.values_BKSH = _empty_like(values_BKSH, length=capacity)
        assert self.values_BKSH is not None
        self.keys_BKSH[:, :, :count] = keys_BKSH
        self.values_BKSH[:, :, :count] = values_BKSH
        self.end = count

    def drop(self, count: int) -> None:
        """Forgets the last tokens, at most `SLACK` in all since the last longer prompt part."""
        self.end -= count
        assert self.end >= 0

    def _make_room(self, like: torch.Tensor, *, count: int, limit: int) -> None:
        have = 0 if self.keys_BKSH is None else self.keys_BKSH.shape[2]
        if self.end + count <= have:
            return
        if self.keep is not None:
            # A little more than a query sees: tokens may be dropped right after.
            kept = min(self.end, self.keep + SLACK)
            capacity = max(self.keep + ROOM, have)
            if self.keys_BKSH is None or self.values_BKSH is None:
                self.keys_BKSH, self.values_BKSH = (_empty_like(like, length=capacity) for _ in range(2))
            else:
                # The window may overlap its new place, hence the copy.
                window = slice(self.end - kept, self.end)
                self.restore(
                    self.keys_BKSH[:, :, window].clone(), self.values_BKSH[:, :, window].clone(), capacity=capacity
                )
            return
        capacity = min(max(limit, self.end + count), -(-(self.end + count) // BLOCK) * BLOCK)
        keys, values = (_empty_like(like, length=capacity) for _ in range(2))
        if self.keys_BKSH is not None and self.values_BKSH is not None:
            keys[:, :, : self.end] = self.keys_BKSH[:, :, : self.end]
            values[:, :, : self.end] = self.values_BKSH[:, :, : self.end]
        self.keys_BKSH, self.values_BKSH = keys, values


@dataclass(frozen=True, slots=True)
class CachePoint:
    """A length to which a cache can go back, with what the sliding layers held there.

    Args:
        length: Tokens.
        windows: Keys and values of each sliding layer, by layer.
    """

    length: int
    windows: dict[int, tuple[torch.Tensor, torch.Tensor]]

    @property
    def bytes(self) -> int:
        """Memory of the copies."""
        return sum(tensor.nbytes for pair in self.windows.values() for tensor in pair)


class KVCache:
    """The cache of a whole decoder.

    Implements `osler.model.cache_protocol.KeyValueCache`.

    Args:
        config: Of the decoder.
        planned: Tokens that it will hold at most; more is refused.
    """

    def __init__(self, config: DecoderConfig, *, planned: int) -> None:
        self.config = config
        self.planned = planned
        self.padding_B: torch.Tensor | None = None
        self.layers = [
            LayerCache(keep=None if config.kind(layer) == "global" else config.window - 1)
            for layer in range(config.layers)
        ]
        self._lengths = [0] * config.layers

    @property
    def length(self) -> int:
        """Tokens stored, left padding included."""
        return self._lengths[-1]

    @property
    def bytes(self) -> int:
        """Memory that the buffers take now."""
        tensors = (tensor for layer in self.layers for tensor in (layer.keys_BKSH, layer.values_BKSH))
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def update(
        self, layer: int, keys_BKLH: torch.Tensor, values_BKLH: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Adds the keys and values of new tokens and returns all that they may see.

        Returns:
            Keys and values (B, K, S, H), and the position of each key (B, S),
            -1 for padding; ``None`` in place of positions where nothing is padded.

        Raises:
            CapacityError: If the tokens are more than were planned.
        """
        self._admit(layer, count=keys_BKLH.shape[2])
        keys, values = self.layers[layer].append(keys_BKLH, values_BKLH, limit=self.planned)
        if self.padding_B is None:
            return keys, values, None
        end = self._lengths[layer]
        times_S = torch.arange(end - keys.shape[2], end, device=keys.device)
        return keys, values, (times_S - self.padding_B[:, None]).clamp_min(-1)

    def reserve(self, layer: int, like_BK1H: torch.Tensor, *, count: int) -> int:
        """Makes room for a few tokens of one row in a layer, see `LayerCache.reserve`.

        Raises:
            CapacityError: If the tokens are more than were planned.
        """
        assert self.padding_B is None
        self._admit(layer, count=count)
        return self.layers[layer].reserve(like_BK1H, count=count, limit=self.planned)

    def _admit(self, layer: int, *, count: int) -> None:
        length = self._lengths[layer] + count
        if length > self.planned:
            raise CapacityError(
                f"The cache was planned for {self.planned:,} tokens and would hold {length:,}.",
                next_step="Ask for fewer tokens.",
            )
        self._lengths[layer] = length

    @torch.inference_mode()
    def mark(self) -> CachePoint:
        """Remembers the present length, so that `rewind` can come back to it."""
        windows = {}
        for index, layer in enumerate(self.layers):
            if layer.keep is not None and layer.keys_BKSH is not None and layer.values_BKSH is not None:
                kept = slice(layer.end - min(layer.end, layer.keep), layer.end)
                windows[index] = (layer.keys_BKSH[:, :, kept].clone(), layer.values_BKSH[:, :, kept].clone())
        return CachePoint(self.length, windows)

    @torch.inference_mode()
    def rewind(self, point: CachePoint, *, planned: int) -> None:
        """Forgets everything after a mark.

        Args:
            point: From `mark` of this cache, not longer than it is now.
            planned: Tokens that it will hold at most from now on.
        """
        assert point.length <= self.length
        for index, layer in enumerate(self.layers):
            if index in point.windows:
                keys, values = point.windows[index]
                assert layer.keep is not None
                layer.restore(keys, values, capacity=layer.keep + ROOM)
            else:
                layer.end = point.length
        self._lengths = [point.length] * self.config.layers
        self.planned = planned

    def drop(self, count: int) -> None:
        """Forgets the last tokens: guesses that were wrong.

        Args:
            count: At most `SLACK`, all of them added after the prompt.
        """
        assert 0 <= count <= SLACK
        for layer in self.layers:
            layer.drop(count)
        self._lengths = [length - count for length in self._lengths]

    def saved(self, point: CachePoint) -> dict[str, torch.Tensor]:
        """Names everything that `restored` needs to come back to a mark of this cache; nothing is copied."""
        tensors: dict[str, torch.Tensor] = {}
        for index, layer in enumerate(self.layers):
            if index in point.windows:
                keys, values = point.windows[index]
            else:
                assert layer.keys_BKSH is not None
                assert layer.values_BKSH is not None
                keys, values = layer.keys_BKSH[:, :, : point.length], layer.values_BKSH[:, :, : point.length]
            tensors |= {f"{index}.keys": keys, f"{index}.values": values}
        return tensors

    @classmethod
    @torch.inference_mode()
    def restored(
        cls,
        config: DecoderConfig,
        tensors: Mapping[str, torch.Tensor],
        *,
        length: int,
        planned: int,
        device: torch.device | None = None,
    ) -> tuple[KVCache, CachePoint]:
        """Builds the cache that `saved` described, and the mark.

        Args:
            length: Tokens that it held at the mark.
            planned: Tokens that it will hold at most.
        """
        cache = cls(config, planned=planned)
        windows: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for index, layer in enumerate(cache.layers):
            keys, values = (tensors[f"{index}.{name}"].to(device) for name in ("keys", "values"))
            if layer.keep is not None:
                windows[index] = (keys, values)
            capacity = layer.keep + ROOM if layer.keep is not None else min(planned, length + BLOCK)
            layer.restore(keys, values, capacity=capacity)
        cache._lengths = [length] * config.layers
        return cache, CachePoint(length, windows)

    @classmethod
    @torch.inference_mode()
    def stack(cls, caches: Sequence[KVCache], *, planned: int) -> KVCache:
        """Joins caches of single rows into one batch, padded on the left.

        The rows are emptied as they are joined, so that no layer is held twice.

        Args:
            caches: One row each.
            planned: Tokens that the longest row will hold at most.
        """
        config = caches[0].config
        longest = max(cache.length for cache in caches)
        joined = cls(config, planned=planned)
        for index, layer in enumerate(joined.layers):
            rows = [cache.layers[index] for cache in caches]
            length = longest if layer.keep is None else min(longest, layer.keep)
            layer.restore(
                _join_left_padded([row.keys_BKSH for row in rows], [row.end for row in rows], length=length),
                _join_left_padded([row.values_BKSH for row in rows], [row.end for row in rows], length=length),
                capacity=min(planned, length + BLOCK) if layer.keep is None else layer.keep + ROOM,
            )
            for row in rows:
                row.keys_BKSH = row.values_BKSH = None
        joined._lengths = [longest] * config.layers
        padding = [longest - cache.length for cache in caches]
        if any(padding):
            joined.padding_B = torch.tensor(padding, device=joined.layers[0].keys_BKSH.device)
        return joined


def cache_bytes(config: DecoderConfig, *, tokens: int, itemsize: int, rows: int = 1) -> int:
    """Computes the memory of a `KVCache` that holds this many tokens, in bytes.

    Args:
        itemsize: Bytes of one number.
    """
    per_token = 2 * config.kv_heads * config.head_dim * itemsize
    sliding = sum(config.kind(layer) == "sliding" for layer in range(config.layers))
    window = config.window - 1 + ROOM
    return rows * per_token * (sliding * window + (config.layers - sliding) * tokens)


def _join_left_padded(tensors: Sequence[torch.Tensor | None], ends: Sequence[int], *, length: int) -> torch.Tensor:
    first = tensors[0]
    assert first is not None
    joined = first.new_zeros((len(tensors), first.shape[1], length, first.shape[3]))
    for row, (tensor, end) in enumerate(zip(tensors, ends, strict=True)):
        assert tensor is not None
        count = min(end, length)
        joined[row, :, length - count :] = tensor[0, :, end - count : end]
    return joined


def _empty_like(tensor: torch.Tensor, *, length: int) -> torch.Tensor:
    rows, heads, _, width = tensor.shape
    return tensor.new_empty((rows, heads, length, width))
