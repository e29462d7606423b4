"""How a weight is stored: bits, the inputs that share a scale, and where zero lies.

A weight of N outputs and K inputs is stored as unsigned codes, with a scale in
binary16 for each output and group of inputs:

============  =======================  ==========================
symmetric     ``scale * (code - 8)``   128 instead of 8 for int8
asymmetric    ``scale * code + offset``  an offset beside each scale
============  =======================  ==========================

torch is not imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from osler.errors import RequestError

Zero = Literal["symmetric", "asymmetric"]

GROUPS = (32, 64, 128)
"""Inputs that may share a scale."""
LANES = 16
"""Outputs of a block of the packed layout."""
UNIT = 32
"""The inputs of a packed weight are filled up to a multiple of it."""

_NAME = re.compile(r"int(?P<bits>\d+)-(?:g(?P<group>\d+)|(?P<channel>channel))(?P<zero>-asym)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """How one weight is stored.

    Args:
        bits: Of a code, 4 or 8.
        group: Inputs that share a scale; ``None``: one scale for each output.
        zero: Where zero lies.

    Raises:
        RequestError: If bits or group are not among those that exist.
    """

    bits: int
    group: int | None = 32
    zero: Zero = "symmetric"

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise RequestError(f"Weights of {self.bits!r} bits do not exist here.", allowed="Quantized: 4 or 8 bits.")
        if self.group is not None and self.group not in GROUPS:
            raise RequestError(
                f"Groups of {self.group!r} inputs do not exist here.",
                allowed=f"Groups: {', '.join(map(str, GROUPS))}, or one scale for each output.",
            )

    @property
    def name(self) -> str:
        """Such as ``"int4-g32"``, ``"int8-channel"`` or ``"int4-g64-asym"``."""
        group = "channel" if self.group is None else f"g{self.group}"
        return f"int{self.bits}-{group}{'-asym' if self.zero == 'asymmetric' else ''}"

    @property
    def zero_code(self) -> int:
        """The code of zero where the format is symmetric."""
        return 1 << (self.bits - 1)

    def bytes(self, rows: int, *, columns: int) -> int:
        """Returns what a weight takes, bytes, filled up to whole blocks."""
        outputs = -(-rows // LANES) * LANES
        padded = -(-columns // UNIT) * UNIT
        scales = outputs * (1 if self.group is None else columns // self.group)
        return outputs * padded * self.bits // 8 + scales * (4 if self.zero == "asymmetric" else 2)

    def require_fit(self, columns: int, *, name: str) -> None:
        """Refuses a weight whose inputs are not whole groups.

        Args:
            columns: Inputs of the weight. name: Of the weight, for the message.

        Raises:
            RequestError: If the group does not divide them.
        """
        if self.group is not None and columns % self.group:
            fitting = [str(group) for group in GROUPS if columns % group == 0]
            raise RequestError(
                f"Groups of {self.group} do not divide the {columns} inputs of {name!r}.",
                allowed=f"Fitting: {', '.join(fitting) or 'none'}; one scale for each output always fits.",
                next_step=f"Use the format 'int{self.bits}-channel' for this weight.",
            )


class PackedLayout:
    """What follows from the format of packed weights, in whichever library their arrays are."""

    __slots__ = ()

    format: WeightFormat
    columns: int
    codes: Any
    scale: Any
    offset: Any

    @property
    def padded(self) -> int:
        """Inputs with those that fill them up."""
        return -(-self.columns // UNIT) * UNIT

    @property
    def group(self) -> int:
        """Inputs that share a scale, filled up."""
        return self.padded if self.format.group is None else self.format.group

    @property
    def nbytes(self) -> int:
        """Memory of codes, scales and offsets."""
        return self.codes.nbytes + self.scale.nbytes + (0 if self.offset is None else self.offset.nbytes)


def parse_format(name: str) -> WeightFormat:
    """Reads a format's name, see `WeightFormat.name`.

    Raises:
        RequestError: If it is not one.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise RequestError(
            f"There is no weight format {name!r}.",
            allowed="Such as 'int4-g32', 'int4-g64-asym', 'int8-g32' or 'int8-channel'.",
        )
    return WeightFormat(
        bits=int(found["bits"]),
        group=None if found["channel"] else int(found["group"]),
        zero="asymmetric" if found["zero"] else "symmetric",
    )
