"""A volume that is painted organ by organ: soft edges in value, hard edges in label.

Shapes are implicit functions: a depth in mm, positive inside. They are evaluated inside
their bounding boxes only, a few slices at a time, so that temporary arrays stay in the
cache. Coordinates are body mm; the canvas is always in increasing x, y, z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from osler.synth.facts import FindingFact
from osler.synth.phantoms.blend import (
    Box,
    box_above,
    edge_widths,
    grouped,
    labeled,
    labeled_box,
    lay,
    lay_shell,
    mean_shares,
    shares,
    tight_box,
)  # fmt: skip
from osler.synth.phantoms.lattice import Lattice

Rays = Literal["none", "y", "x"]
_RAY_AXIS: dict[Rays, int] = {"none": -1, "y": 1, "x": 2}
_FINER_BELOW_MM = 90.0
_FINE_SLAB_MM = 2.0
_PATCH_VOXELS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axes:
    """Voxel centers (mm) in body coordinates, increasing.

    Args:
        x: (X,) float32. y: (Y,). z: (Z,).
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    scratch: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def room(self, name: str, count: int, dtype: type) -> np.ndarray:
        """Memory that one kernel after another may fill; what lies there means nothing."""
        if name not in self.scratch:
            self.scratch[name] = np.empty(count, dtype=dtype)  # memory comes as it is written
        return self.scratch[name]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return len(self.z), len(self.y), len(self.x)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm between x, y, z."""
        x, y, z = (float(a[1] - a[0]) if len(a) > 1 else 1.0 for a in (self.x, self.y, self.z))
        return x, y, z


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """A box of the canvas: coordinates that broadcast to (Z, Y, X), and the smooth fields there.

    ``parts`` is above 1 where each voxel is cut into that many along the rays.
    """

    canvas: Canvas
    box: Box
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    parts: int = 1

    def wave(self, mm: float, *, key: str = "wave") -> np.ndarray:
        """A smooth random field, about -1 to 1, that varies over ``mm``."""
        field_ = self.canvas.wave(mm, key=key, box=self.box)
        return field_ if self.parts == 1 else np.repeat(field_, self.parts, axis=_RAY_AXIS[self.canvas.rays])

    def flat(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """A field of x and y alone, (1, Y, X), that all slices share: made once for each name and place."""
        _, y, x = self.box
        place = (name, y.start, y.stop, x.start, x.stop, self.parts)
        known = self.canvas.flats.get(place)
        if known is None:
            known = self.canvas.flats[place] = make()
        return known

    def upright(self, name: str, make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Numbers that depend on z (Z, 1, 1) alone, (..., Z, 1, 1): made once for each name, for the whole canvas."""
        known = self.canvas.uprights.get(name)
        if known is None:
            known = self.canvas.uprights[name] = make(self.canvas.axes.z[:, None, None])
        return known[..., self.box[0], :, :]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) of the patch, parts counted."""
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape)

    def cut(self) -> Patch:
        """The same patch with voxels cut along the rays, if it is short there: small things need it."""
        axis = _RAY_AXIS[self.canvas.rays]
        line = (self.z, self.y, self.x)[axis]
        step = self.canvas.ray_step
        parts = max(1, round(step / _FINE_SLAB_MM))
        if parts == 1 or line.size * step > _FINER_BELOW_MM:
            return self
        shifts = ((np.arange(parts) + 0.5) / parts - 0.5) * step
        shape = [1, 1, 1]
        shape[axis] = line.size * parts
        finer = (line.reshape(-1, 1) + shifts).astype(np.float32).reshape(shape)
        return replace(self, parts=parts, **{self.canvas.rays: finer})

    @property
    def value(self) -> np.ndarray:
        """What is painted there (a view)."""
        return self.canvas.value[self.box]

    @property
    def label(self) -> np.ndarray:
        """The organs there (a view)."""
        return self.canvas.label[self.box]


Depth = Callable[[Patch], np.ndarray]
Shell = tuple[float | Depth, str, str]
Bounds = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
EVERYWHERE: Bounds = ((-1e4, 1e4), (-1e4, 1e4), (-1e4, 1e4))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mark:
    """A part of a canvas that a finding covers.

    Args:
        box: Indices (z, y, x). cover: (Z, Y, X) bool, or share (0 to 1) on a canvas with rays.
    """

    box: Box
    cover: np.ndarray


@dataclass(slots=True, kw_only=True, eq=False)
class Canvas:
    """Painted values and labels.

    Args:
        axes: Of the voxels.
        palette: Value (HU, or MR signal) of each tissue.
        shape: Seeds the smooth fields, the same for all grids of one body.
        rays: Along which axis the canvas will be summed: its voxels are long there, and shapes fill them by share.
        value: (Z, Y, X) float32. label: (Z, Y, X) uint8. lesion: (Z, Y, X) uint16.
        edge: Width (mm) of a soft edge: a voxel; across the rays where there are some.
        ray_step: Length (mm) of a voxel along the rays.
        marks: Where each finding lies, in parts; findings may overlap.
        flats: Fields of x and y alone that patches share. uprights: Of z alone.
    """

    axes: Axes
    palette: Mapping[str, float]
    shape: int
    rays: Rays = "none"
    edge: float = field(init=False)
    ray_step: float = field(init=False)
    marks: dict[FindingFact, list[Mark]] = field(init=False, default_factory=dict)
    value: np.ndarray = field(init=False)
    label: np.ndarray = field(init=False)
    lesion: np.ndarray = field(init=False)
    flats: dict[tuple[str, int, int, int, int, int], np.ndarray] = field(init=False, default_factory=dict, repr=False)
    uprights: dict[str, np.ndarray] = field(init=False, default_factory=dict, repr=False)
    _lattices: dict[tuple[str, float], Lattice] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        x, y, z = self.axes.spacing
        self.edge = z if self.rays != "none" else float(np.prod((x, y, z))) ** (1 / 3)
        self.ray_step = y if self.rays == "y" else x
        self.value = np.full(self.axes.shape, self.palette["air"], dtype=np.float32)
        self.label = np.zeros(self.axes.shape, dtype=np.uint8)
        self.lesion = np.zeros(self.axes.shape, dtype=np.uint16)

    def box(self, bounds: Bounds) -> Box | None:
        """Indices (z, y, x) of the voxels within bounds (mm), or nothing."""
        parts = []
        for number, ((low, high), axis) in enumerate(
            zip(reversed(bounds), (self.axes.z, self.axes.y, self.axes.x), strict=True)
        ):
            margin = self.ray_step if number == _RAY_AXIS[self.rays] else self.edge
            start = int(np.searchsorted(axis, low - margin))
            stop = int(np.searchsorted(axis, high + margin, side="right"))
            if start >= stop:
                return None
            parts.append(slice(start, stop))
        return parts[0], parts[1], parts[2]

    def patches(self, bounds: Bounds) -> Iterator[Patch]:
        """The box of some bounds, a few slices at a time."""
        box = self.box(bounds)
        if box is None:
            return
        z, y, x = box
        step = max(1, _PATCH_VOXELS // ((y.stop - y.start) * (x.stop - x.start)))
        for start in range(z.start, z.stop, step):
            yield self._patch((slice(start, min(start + step, z.stop)), y, x))

    def _patch(self, box: Box) -> Patch:
        z, y, x = box
        return Patch(
            canvas=self,
            box=box,
            x=self.axes.x[None, None, x],
            y=self.axes.y[None, y, None],
            z=self.axes.z[z, None, None],
        )

    def paint(
        self,
        depth: Depth,
        *,
        tissue: str | float | Callable[[Patch], np.ndarray],
        organ: str | None = None,
        bounds: Bounds = EVERYWHERE,
        over: tuple[str, ...] = (),
        edge: float | None = None,
        strength: float = 1.0,
    ) -> None:
        """Blends a shape into the canvas.

        Args:
            depth: mm inside the shape, of a patch.
            tissue: Of the palette, or a value, or a field of values.
            organ: Label where more than half is inside; ``None`` leaves labels alone.
            bounds: That enclose the shape.
            over: Paints over these organs only.
            edge: Width of the soft edge, a voxel if not given.
            strength: Opacity, 0 to 1.
        """
        width = max(edge or self.edge, self.edge)
        value = self.palette[tissue] if isinstance(tissue, str) else tissue
        for patch in self.patches(bounds):
            if over:
                patch = self._part(patch, organs=over)
                if patch is None:
                    continue
            alpha = self.share(depth, patch, width=width)
            inner = box_above(alpha, 0.0)
            if inner is None:
                continue
            # All else is done where the shape is alone: most boxes are empty for the greater part.
            box = within(patch.box, inner)
            level = value(self._patch(box)) if callable(value) else np.float32(value)
            lay(
                self.value[box], self.label[box], alpha[inner], level=level, organ=organ, over=over, strength=strength
            )  # fmt: skip

    def about(self, patch: Patch, *, organs: tuple[str, ...]) -> tuple[Patch, np.ndarray] | None:
        """The part of a patch about some organs, and where they are (bool); nothing if they are not there.

        Along the rays a patch keeps its length, by which voxels are cut.
        """
        part = self._part(patch, organs=organs)
        return None if part is None else (part, labeled(part.label, *organs))

    def _part(self, patch: Patch, *, organs: tuple[str, ...]) -> Patch | None:
        inner = labeled_box(patch.label, *organs)
        if inner is None:
            return None
        axis = _RAY_AXIS[self.rays]
        inner = tuple(slice(0, patch.label.shape[k]) if k == axis else part for k, part in enumerate(inner))
        return self._patch(within(patch.box, inner))

    def paint_shells(self, depth: Depth, *, shells: tuple[Shell, ...], bounds: Bounds = EVERYWHERE) -> None:
        """Paints the shells of one shape, the outermost first: its depth is found once.

        Args:
            depth: mm inside the shape. shells: How deep each begins, its tissue of the palette, and its organ.
            bounds: That enclose the shape.
        """
        for patch in self.patches(bounds):
            deep, width = self._deep(depth, patch, width=self.edge)
            # Along rays each voxel has a width of its own.
            inner = tight_box(deep > -width) if width.ndim else box_above(deep, -width)
            if inner is None:
                continue
            deep, width = deep[inner], width[inner] if width.ndim else width
            patch = self._patch(within(patch.box, inner))
            for begins, tissue, organ in shells:
                lay_shell(
                    patch.value, patch.label, deep, width=width, organ=organ, level=np.float32(self.palette[tissue]),
                    begins=begins(patch) if callable(begins) else np.float32(begins),
                )  # fmt: skip

    def share(self, depth: Depth, patch: Patch, *, width: float) -> np.ndarray:
        """Share of each voxel (0 to 1) that a shape with an edge of some width (mm) fills.

        Along rays the share is the mean over the voxel's length: a surface across them fills it by degrees.
        """
        if self.rays == "none":
            alpha = shares(depth(patch), width=width)
            return alpha if alpha.shape == patch.shape else np.broadcast_to(alpha, patch.shape).copy()
        patch = patch.cut()
        deep, wide = self._deep(depth, patch, width=width)
        return mean_shares(deep, wide, parts=patch.parts, axis=_RAY_AXIS[self.rays])

    def _deep(self, depth: Depth, patch: Patch, *, width: float) -> tuple[np.ndarray, np.ndarray | np.float32]:
        """Depth in a patch, and the width of its edge: along rays, how much the depth changes in a voxel."""
        deep = np.ascontiguousarray(np.broadcast_to(depth(patch), patch.shape), dtype=np.float32)
        axis = _RAY_AXIS[self.rays]
        if self.rays == "none" or deep.shape[axis] < 2:
            return deep, np.float32(width)
        return deep, edge_widths(deep, axis=axis, least=width)

    def touched(self, depth: Depth, patch: Patch) -> np.ndarray:
        """How surely (0 to 1, a half at its outline) a shape touches each voxel of a canvas with rays."""
        axis = _RAY_AXIS[self.rays]
        patch = patch.cut()
        deep = np.clip(np.broadcast_to(depth(patch), patch.shape) * np.float32(1 / self.edge) + np.float32(0.5), 0, 1)
        return deep if patch.parts == 1 else grouped(deep, parts=patch.parts, axis=axis).max(axis=axis + 1)

    def mark(self, fact: FindingFact, cover: np.ndarray, *, box: Box) -> None:
        """Notes where a finding lies: a part of the canvas, and how much of each voxel there."""
        if cover.any():
            self.marks.setdefault(fact, []).append(Mark(box=box, cover=cover))

    def wave(self, mm: float, *, key: str, box: Box) -> np.ndarray:
        """A smooth random field in a box (z, y, x), about -1 to 1: cubic B-splines on a lattice of ``mm``."""
        known = self._lattices.get((key, mm))
        if known is None:
            axes = self.axes
            known = Lattice(axes.x, axes.y, axes.z, mm=mm, key=f"{key}-{mm}", shape=self.shape)
            self._lattices[key, mm] = known
        return known.part(box)


def within(box: Box, inner: Box) -> Box:
    """Indices of the canvas, of a part of a box given by indices of that box."""
    z, y, x = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, inner, strict=True))
    return z, y, x


def union(marks: list[Mark]) -> tuple[np.ndarray, list[int]]:
    """What some marks cover together: the greatest cover in the box about them, and that box's first indices."""
    low = [min(mark.box[k].start for mark in marks) for k in range(3)]
    high = [max(mark.box[k].stop for mark in marks) for k in range(3)]
    whole = np.zeros([b - a for a, b in zip(low, high, strict=True)], dtype=np.result_type(*(m.cover for m in marks)))
    for mark in marks:
        part = whole[tuple(slice(s.start - a, s.stop - a) for s, a in zip(mark.box, low, strict=True))]
        np.maximum(part, mark.cover, out=part)
    return whole, low
