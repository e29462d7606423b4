"""What a calibrated quantization sees, and how it rounds.

Legend: L tokens, N images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from osler.errors import RequestError, unknown_name
from osler.prepare import PixelBatches

Method = Literal["none", "awq", "gptq", "awq-gptq"]
"""Rounding to the nearest, factors for large inputs before it, rounding that makes up for errors, or both."""

METHODS: tuple[Method, ...] = get_args(Method)


def choose_method(name: str | None, *, bits: int, tokens: int | None = None) -> Method:
    """Returns the method of a name, or the usual one: GPTQ for 4 bits, none for 8, which lose next to nothing.

    Args:
        name: Of a method, or ``None``.
        bits: Of the weights.
        tokens: To be read, if somebody said how many.

    Raises:
        RequestError: If there is no such method, or it would read none of the tokens.
    """
    usual: Method = "gptq" if bits == 4 else "none"
    method = usual if name is None else next((method for method in METHODS if method == name), None)
    if method is None:
        raise unknown_name("calibration", name=str(name), known=METHODS)
    if method == "none" and tokens is not None:
        raise RequestError(
            f"A calibration on {tokens:,} tokens with the method 'none': none of them would be read.",
            allowed=f"Methods that read them: {', '.join(one for one in METHODS if one != 'none')}.",
            next_step="Name one, or leave the number of tokens out.",
        )
    return method


def folds_factors(method: Method) -> bool:
    """Whether a method scales weights before it rounds them, see `osler.quant.activation_scale`."""
    return method in ("awq", "awq-gptq")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationSample:
    """A prompt that the network reads while its weights are rounded.

    Args:
        token_ids: (L,) ids; `TokenIds.image` where a soft token stands.
        pixels: The images, in the order of the prompt; ``None`` without images.
    """

    token_ids: np.ndarray
    pixels: PixelBatches | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """How weights are rounded with their inputs in view.

    Args:
        method: See `Method`; not ``"none"``.
        samples: What the network reads. Never what it is judged by.
        source: What the samples are, in words, for the metadata of the weights.

    Raises:
        RequestError: If the method is unknown, or there are no samples.
    """

    method: Method
    samples: Sequence[CalibrationSample]
    source: str

    def __post_init__(self) -> None:
        if self.method not in METHODS[1:]:
            raise unknown_name("calibration", name=self.method, known=METHODS[1:])
        if not self.samples:
            raise RequestError("There is nothing to calibrate with.", allowed="One text at least.")

    @property
    def tokens(self) -> int:
        """Of all samples."""
        return sum(len(sample.token_ids) for sample in self.samples)

    def to_json(self) -> str:
        """Returns one line of JSON, as the metadata of a file hold it."""
        return json.dumps(
            {"method": self.method, "samples": len(self.samples), "tokens": self.tokens, "source": self.source}
        )


def read_calibration(text: str) -> dict[str, Any]:
    """Reads what `Calibration.to_json` wrote; rounding to the nearest where there is nothing to read."""
    return json.loads(text) if text else {"method": "none"}
