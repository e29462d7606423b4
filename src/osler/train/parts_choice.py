"""Which parts of a network a fine-tuning teaches, and what speaks against a choice."""

from __future__ import annotations

from collections.abc import Collection

from osler.errors import RequestError
from osler.weights.added_parts import check_addable


def check_choice(parts: Collection[str], *, method: str, tubelets: str, visual_tokens: int, source: str) -> None:
    """Checks that parts can learn by a method from a source.

    Args:
        parts: Their names. method: Of the recipe. tubelets: See `FinetuneRecipe`.
        visual_tokens: Budget of a scan's volumes; 0: what the base says.
        source: The key of the recipe that names the data.

    Raises:
        RequestError: If a part is unknown (with the nearest name), or the choices contradict each other.
    """
    check_addable(parts)
    if visual_tokens < 0:
        raise RequestError(
            f"visual_tokens is {visual_tokens!r}.", allowed="A whole number from 1; 0: as the base says."
        )
    if (parts or visual_tokens) and source in ("films", "reports"):
        raise RequestError(
            f"{'Parts' if parts else 'Visual tokens'} stand beside {source}.",
            allowed="Parts learn, and volumes are read as slabs, on scans: csv or phantoms.",
        )
    if method == "parts" and not parts:
        raise RequestError('method is "parts", and none is named.', next_step='Set parts = ["volume"], for example.')
    if method == "full" and parts:
        raise RequestError(
            f"All weights learn, and {' and '.join(parts)} beside them.",
            allowed='Parts learn beside an adapter (method = "lora") or alone (method = "parts").',
        )
    if "volume" in parts and not visual_tokens:
        raise RequestError(
            "The volumetric path cannot learn from volumes that are read slice by slice.",
            next_step="Set visual_tokens, the budget of tokens for the volumes of a scan, for example 256.",
        )
    if tubelets == "learn" and "volume" not in parts:
        raise RequestError(
            "Tubelets learn with the volumetric path only.", next_step='Add "volume" to parts, or freeze them.'
        )
