"""`OslerConfig` as JSON, for Osler's own folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from osler.errors import CheckpointError, RequestError
from osler.model.config import (
    AdapterConfig,
    DecoderConfig,
    HeadsConfig,
    OslerConfig,
    TemporalConfig,
    TokenIds,
    VisionConfig,
    VolumeConfig,
)

PARTS: Mapping[str, type[Any]] = {
    "heads": HeadsConfig,
    "temporal": TemporalConfig,
    "volume": VolumeConfig,
    "adapter": AdapterConfig,
}
"""Parts that a variant may add to the published network: field of `OslerConfig`, and prefix of its tensors."""


def config_to_dict(config: OslerConfig) -> dict[str, Any]:
    """Returns the configuration as plain values."""
    return asdict(config)


def config_from_dict(content: Mapping[str, Any], *, source: str) -> OslerConfig:
    """Reads what `config_to_dict` gave.

    Raises:
        CheckpointError: If a field is missing, unknown or of the wrong type.
    """
    try:
        vision = content["vision"]
        return OslerConfig(
            name=str(content["name"]),
            decoder=DecoderConfig(**content["decoder"]),
            vision=None if vision is None else VisionConfig(**vision),
            image_tokens=int(content["image_tokens"]),
            tokens=TokenIds(**content["tokens"]),
            **{name: kind(**content[name]) for name, kind in PARTS.items() if content.get(name) is not None},
        )
    except (TypeError, ValueError, KeyError, RequestError) as error:
        raise CheckpointError(
            f"{source!r} does not describe an Osler network: {type(error).__name__}: {error}.",
            next_step="Copy config.json again from where the weights came from.",
        ) from error
