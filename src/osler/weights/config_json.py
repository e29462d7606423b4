"""`OslerConfig` as JSON, for Osler's own folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from osler.errors import CheckpointError
from osler.model.config import DecoderConfig, HeadsConfig, OslerConfig, TemporalConfig, TokenIds, VisionConfig


def config_to_dict(config: OslerConfig) -> dict[str, Any]:
    """Returns the configuration as plain values."""
    return asdict(config)


def config_from_dict(content: Mapping[str, Any], *, source: str) -> OslerConfig:
    """Reads what `config_to_dict` gave.

    Raises:
        CheckpointError: If a field is missing, unknown or of the wrong type.
    """
    try:
        vision, heads, temporal = (content.get(part) for part in ("vision", "heads", "temporal"))
        return OslerConfig(
            name=str(content["name"]),
            decoder=DecoderConfig(**content["decoder"]),
            vision=None if vision is None else VisionConfig(**vision),
            image_tokens=int(content["image_tokens"]),
            heads=None if heads is None else HeadsConfig(**{**heads, "findings": tuple(heads["findings"])}),
            temporal=None if temporal is None else TemporalConfig(**temporal),
            tokens=TokenIds(**content["tokens"]),
        )
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{source!r} does not describe an Osler network: {type(error).__name__}: {error}.",
            next_step="Copy config.json again from where the weights came from.",
        ) from error
