"""What the decoder asks of a key-value cache; the engine owns the storage.

Dimensions: B batch, L new tokens, S keys that the layer may see, K key heads,
H width of a head.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class KeyValueCache(Protocol):
    """Stores keys and values of earlier tokens, layer by layer."""

    def update(self, layer: int, keys_BKLH: Tensor, values_BKLH: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Adds the keys and values of L new tokens and returns all that the layer may see.

        The cache knows the positions of the new tokens from whoever runs the
        decoder. A sliding layer needs only the last ``window - 1`` earlier keys
        beside the new ones. All layers of a kind return the same key positions.

        Args:
            layer: Index of the decoder layer.
            keys_BKLH: Keys, already normalized and rotated.
            values_BKLH: Values.

        Returns:
            Keys (B, K, S, H), values (B, K, S, H) and key positions (B, S), with
            -1 for a key that no query may see (padding, an empty slot). ``None``
            for the positions says: no padding anywhere, positions rise by one
            up to those of the new tokens. Where L > 1 the new tokens are the
            last L keys and older ones stand before them in order; where L = 1
            any order will do.
        """
        ...
