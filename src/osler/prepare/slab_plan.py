"""How a volume is cut into slabs, and how many tokens it gets along each axis.

A slab is a run of neighboring slices that the image tower reads as one
tubelet. The plan is made from numbers alone: slices, millimeters and a budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from osler.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """A run of slices that is read as one tubelet.

    Args:
        first: Its first slice. stop: One behind its last slice.
        slots: The slice in each place of the tubelet; a thin slab repeats slices, a thick one leaves some out.
    """

    first: int
    stop: int
    slots: tuple[int, ...]

    @property
    def middle(self) -> float:
        """Index of the center along the volume; may lie between two slices."""
        return (self.first + self.stop - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGrid:
    """Tokens of a volume along its axes.

    Args:
        groups: Along the slices; each is made of one or more slabs.
        rows: Along the rows of the picture. columns: Along its columns.
    """

    groups: int
    rows: int
    columns: int

    @property
    def in_plane(self) -> int:
        """Tokens of one group."""
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        """Tokens of the volume."""
        return self.groups * self.in_plane


def slot_slices(count: int, *, depth: int) -> tuple[int, ...]:
    """Spreads slices over the places of a tubelet, each place taking the slice nearest to its center.

    Args:
        count: Slices that there are.
        depth: Places of the tubelet.

    Returns:
        An index from 0 to ``count - 1`` for each place, never falling.

    Example:
        >>> slot_slices(4, depth=4), slot_slices(3, depth=4), slot_slices(1, depth=4), slot_slices(8, depth=4)
        ((0, 1, 2, 3), (0, 1, 1, 2), (0, 0, 0, 0), (1, 3, 5, 7))
    """
    if count < 1 or depth < 1:
        raise RequestError(f"{count} slices for a tubelet of {depth}.", allowed="At least one of each.")
    return tuple((2 * place + 1) * count // (2 * depth) for place in range(depth))


def natural_slabs(slices: int, *, slice_mm: float, cell_mm: float, depth: int) -> int:
    """Counts the slabs of a volume where nothing limits them.

    A slab has at most ``depth`` slices, so that every slice is seen, and is no
    thicker than a token is wide where slices are thin enough for that.

    Args:
        slices: Of the volume.
        slice_mm: Between slices.
        cell_mm: Shorter side of a token in the plane before any merging.
        depth: Places of a tubelet.
    """
    thickness = max(1, min(depth, int(cell_mm / slice_mm + 1e-6)))
    return -(-slices // thickness)


def cut_slabs(slices: int, *, slabs: int, depth: int) -> tuple[Slab, ...]:
    """Cuts a volume into slabs whose numbers of slices differ by one at most.

    Args:
        slices: Of the volume.
        slabs: At most ``slices``.
        depth: Places of a tubelet.

    Raises:
        RequestError: If there are more slabs than slices, or none.
    """
    if not 1 <= slabs <= slices:
        raise RequestError(f"{slabs} slabs of {slices} slices.", allowed="At least one, at most one a slice.")
    edges = [number * slices // slabs for number in range(slabs + 1)]
    return tuple(
        Slab(first=first, stop=stop, slots=tuple(first + slot for slot in slot_slices(stop - first, depth=depth)))
        for first, stop in pairwise(edges)
    )


def token_grid(*, slabs: int, side: int, extent_mm: Sequence[float], budget: int) -> TokenGrid:
    """Chooses the tokens of a volume along its axes.

    Of the grids that fit the budget, the one in which a voxel lies nearest to
    the center of its token in the mean of squares: a sum over the axes of
    (length of a token)^2 / 12. Without limits that is a cube, in millimeters.

    Args:
        slabs: Of the volume; most groups that there can be.
        side: Tokens along a side of the picture before merging. Merging keeps squares whole, so
            ``rows`` and ``columns`` divide it.
        extent_mm: Length of the volume along slices, rows and columns of the picture.
        budget: Most tokens. More than there are means no merging.

    Raises:
        RequestError: If the budget is below one token.
    """
    if budget < 1:
        raise RequestError(
            f"A budget of {budget} visual tokens for a volume.",
            allowed="At least 1.",
            next_step="Ask for more with --visual-tokens, for example 512.",
        )
    depth_mm, height_mm, width_mm = extent_mm
    shares = [count for count in range(1, side + 1) if side % count == 0]
    grids = [
        TokenGrid(groups=min(slabs, budget // (rows * columns)), rows=rows, columns=columns)
        for rows in shares
        for columns in shares
        if rows * columns <= budget
    ]

    def spread(grid: TokenGrid) -> tuple[float, int]:
        edges = (depth_mm / grid.groups, height_mm / grid.rows, width_mm / grid.columns)
        return sum(edge**2 for edge in edges), -grid.tokens

    return min(grids, key=spread)
