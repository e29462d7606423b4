"""Random numbers that depend on what they are for, and on nothing else.

A draw is a hash of (seed, patient, stream, index): no state, no order. So patient
``i`` of seed ``s`` is the same alone, in a million, on any machine, and a new draw
added for one purpose changes no other. The hash is the finalizer of SplitMix64
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014), applied once for each part of the key.

Example:
    >>> import numpy as np
    >>> draws = Draws(seed=7, patients=np.arange(3))
    >>> alone = Draws(seed=7, patients=np.array([2]))
    >>> bool(draws.uniform("age")[2] == alone.uniform("age")[0])
    True
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_TWO_POW_MINUS_53 = 2.0**-53


def mix(keys: np.ndarray) -> np.ndarray:
    """Scrambles uint64 keys, one to one (the finalizer of SplitMix64).

    Args:
        keys: uint64, any shape.

    Returns:
        uint64, the same shape.
    """
    z = keys + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def stream_key(name: str) -> np.uint64:
    """The key of a named stream: the first eight bytes of its SHA-256."""
    return np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Draws for many patients at once.

    Args:
        seed: Of the whole collection, 0 to 2**63 - 1.
        patients: (N,) whole numbers, 0 or more. A patient may stand there several
            times (a row for each exam or lesion): ``index`` tells the rows apart.
    """

    seed: int
    patients: np.ndarray

    def bits(self, stream: str, index: np.ndarray | int = 0) -> np.ndarray:
        """64 random bits each, uint64.

        Args:
            stream: What the draw is for; one name for each purpose.
            index: Number within the stream, for example of the exam; broadcast against the patients.
        """
        seed = mix(np.array(self.seed, dtype=np.uint64)[None])
        keys = mix(seed ^ self.patients.astype(np.uint64))
        keys = mix(keys ^ stream_key(stream))
        return mix(keys ^ np.asarray(index).astype(np.uint64))

    def uniform(self, stream: str, index: np.ndarray | int = 0) -> np.ndarray:
        """Uniform in [0, 1), float64."""
        return (self.bits(stream, index) >> np.uint64(11)).astype(np.float64) * _TWO_POW_MINUS_53

    def below(self, stream: str, count: np.ndarray | int, index: np.ndarray | int = 0) -> np.ndarray:
        """Whole numbers in [0, count), int64."""
        return np.floor(self.uniform(stream, index) * np.asarray(count)).astype(np.int64)
