"""Whether a decoder's weights are rearranged for speed, which takes a copy of them.

`osler.model.pack` does it. In the layout that oneDNN reads, one token's
product with the language head ran 1.4 times as fast as on plain weights
(`benchmarks/decode_270m.md`). The copy takes time and, where the plain
weights are mapped from a file, memory that the mapping would not need.
"""

from __future__ import annotations

from typing import Literal

from osler.engine.device import Choice
from osler.errors import unknown_name
from osler.model import pack as packs
from osler.model.decoder import Decoder

PackingName = Literal["auto", "packed", "plain"]

_NAMES = ("auto", "packed", "plain")
_MOST_AUTO_BYTES = 2 << 30


def choose_packing(decoder: Decoder, *, wish: str = "auto", available: int) -> Choice[Literal["packed", "plain"]]:
    """Decides whether to pack, with the reason.

    Args:
        decoder: On its final device, in its final dtype.
        wish: ``"auto"``, ``"packed"`` or ``"plain"``.
        available: Free memory, bytes.

    Raises:
        RequestError: If the wish is none of these.
    """
    if wish not in _NAMES:
        raise unknown_name("packing", name=wish, known=_NAMES)
    if wish != "auto":
        return Choice("packed" if wish == "packed" else "plain", "asked for")
    weight = decoder.embed_tokens.weight
    layout = packs.choose_packing(device=weight.device, dtype=weight.dtype)
    if layout.layout != "onednn":
        return Choice("plain", layout.reason)
    size = sum(parameter.nbytes for parameter in decoder.parameters())
    if size > _MOST_AUTO_BYTES:
        return Choice("plain", f"a copy of {size / 1e9:.1f} GB takes longer than most answers would gain")
    if size > available // 2:
        return Choice("plain", f"a copy would take {size / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free")
    return Choice("packed", layout.reason)
