"""Lays shapes over a canvas: boxes about what is there, and blending by shares.

Values, labels and shares are boxes (Z, Y, X) of arrays in C order. Where the compiled kernels are here they do the
same, to the bit.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache

import numpy as np

from osler.synth.painting.library import address, native
from osler.synth.phantoms.organs import ORGAN_CODES

Box = tuple[slice, slice, slice]
_Ends = ctypes.c_int64 * 6
_PAIRWISE = 8
"""Numbers from which NumPy adds up in another order."""


@cache
def organ_table(organs: tuple[str, ...]) -> np.ndarray:
    """Which of 256 labels are those of some organs, bool."""
    table = np.zeros(256, dtype=bool)
    table[[ORGAN_CODES[name] for name in organs]] = True
    return table


@cache
def _codes(organs: tuple[str, ...]) -> bytes:
    return bytes(ORGAN_CODES[name] for name in organs)


def labeled(label: np.ndarray, *organs: str) -> np.ndarray:
    """Where a label map (Z, Y, X) shows some organs, bool."""
    where = label == ORGAN_CODES[organs[0]]
    for name in organs[1:]:
        where |= label == ORGAN_CODES[name]
    return where


def labeled_box(label: np.ndarray, *organs: str) -> Box | None:
    """Indices (z, y, x) about some organs of a label map (Z, Y, X); nothing if they are not there."""
    library = native()
    if library is None:
        return tight_box(labeled(label, *organs))
    box, codes = _Ends(), _codes(organs)
    plane, row, _ = label.strides
    found = library.osler_labels(
        address(label), plane, row, codes, len(codes), *label.shape, box
    )  # fmt: skip
    return _slices(box) if found else None


def tight_box(where: np.ndarray) -> Box | None:
    """Indices (z, y, x) about what is not zero; nothing if all is."""
    if where.dtype != bool:
        where = where != 0
    if native() is not None and where.strides[2] == 1:
        box = _Ends()
        plane, row, _ = where.strides
        found = native().osler_filled(address(where), plane, row, *where.shape, box)
        return _slices(box) if found else None
    slices = np.flatnonzero(where.any(axis=(1, 2)))
    if not len(slices):
        return None
    z = slice(int(slices[0]), int(slices[-1]) + 1)
    plane = np.bitwise_or.reduce(where[z].view(np.uint8), axis=0)  # faster than any()
    rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
    return z, slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def box_above(values: np.ndarray, threshold: float) -> Box | None:
    """Indices (z, y, x) about the values above a threshold; nothing if none is."""
    if not _plain(values):
        return tight_box(values > np.float32(threshold))
    box = _Ends()
    found = native().osler_above(address(values), threshold, *values.shape, box)
    return _slices(box) if found else None


def _slices(box: ctypes.Array[ctypes.c_int64]) -> Box:
    z, z_stop, y, y_stop, x, x_stop = box
    return slice(z, z_stop), slice(y, y_stop), slice(x, x_stop)


def _plain(array: np.ndarray) -> bool:
    """Whether the kernels take it: they are here, and it is float32 without gaps."""
    return array.dtype == np.float32 and array.flags.c_contiguous and native() is not None


def _filled(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(array, shape))


def shares(deep: np.ndarray, *, width: float) -> np.ndarray:
    """Share (0 to 1) of each voxel that a shape with an edge of some width (mm) fills, by its depth (mm)."""
    inverse = np.float32(1 / width)
    if _plain(deep):
        alpha = np.empty_like(deep)
        native().osler_share(address(deep), inverse, address(alpha), deep.size)
        return alpha
    alpha = deep * inverse
    alpha += np.float32(0.5)
    return np.clip(alpha, 0, 1, out=alpha)


def edge_widths(deep: np.ndarray, *, axis: int, least: float) -> np.ndarray:
    """Width (mm) of an edge at each voxel: how much the depth changes from voxel to voxel along an axis, or ``least``.

    Half of the way over two voxels, at the ends the way over one.
    """
    out = np.empty(deep.shape, np.float32)
    if _plain(deep):
        native().osler_widths(address(deep), least, address(out), *_about_axis(deep.shape, axis))
        return out
    along, into = np.moveaxis(deep, axis, 0), np.moveaxis(out, axis, 0)
    np.subtract(along[2:], along[:-2], out=into[1:-1])
    np.subtract(along[1], along[0], out=into[0])
    np.subtract(along[-1], along[-2], out=into[-1])
    into[1:-1] *= np.float32(0.5)
    np.abs(out, out=out)
    return np.maximum(out, np.float32(least), out=out)


def mean_shares(deep: np.ndarray, wide: np.ndarray | np.float32, *, parts: int, axis: int) -> np.ndarray:
    """Share (0 to 1) of each voxel that a shape fills: the mean over the parts that it is cut into along an axis.

    Args:
        deep: Depth (mm) of each part. wide: Width (mm) of the edge there.
    """
    if wide.ndim and _plain(deep) and parts < _PAIRWISE:
        shape = list(deep.shape)
        shape[axis] //= parts
        alpha = np.empty(shape, np.float32)
        about = _about_axis(deep.shape, axis)
        native().osler_share_parts(address(deep), address(wide), address(alpha), *about, parts)
        return alpha
    alpha = deep / wide
    alpha += np.float32(0.5)
    np.clip(alpha, 0, 1, out=alpha)
    return alpha if parts == 1 else grouped(alpha, parts=parts, axis=axis).mean(axis=axis + 1)


def grouped(array: np.ndarray, *, parts: int, axis: int) -> np.ndarray:
    """An array whose axis is split into groups of some parts."""
    shape = array.shape
    return array.reshape(*shape[:axis], shape[axis] // parts, parts, *shape[axis + 1 :])


def _about_axis(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """How many numbers lie before, along and after an axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def lay(
    value: np.ndarray,
    label: np.ndarray,
    alpha: np.ndarray,
    *,
    level: np.ndarray | np.float32,
    organ: str | None,
    over: tuple[str, ...],
    strength: float,
) -> None:
    """Blends a tissue into values, and labels what it fills at least by half.

    Args:
        value: float32, changed in place. label: uint8, changed in place.
        alpha: Share of each voxel.
        level: Of the tissue: one, or (Z, Y, X).
        organ: Its label, if it has one. over: Organs that it covers alone; all if empty.
        strength: Opacity, 0 to 1.
    """
    many = isinstance(level, np.ndarray) and level.ndim > 0
    if native() is not None and alpha.dtype == np.float32 and alpha.strides[2] == 4 and level.dtype == np.float32:
        levels = _filled(level, value.shape) if many else None
        native().osler_blend(
            address(value), address(label), *label.strides[:2], address(alpha),
            alpha.strides[0] // 4, alpha.strides[1] // 4, None if levels is None else address(levels),
            0 if many else level, _codes(over), len(over),
            -1 if organ is None else ORGAN_CODES[organ], strength, *value.shape,
        )  # fmt: skip
        return
    if over:
        alpha = alpha * labeled(label, *over)
    if organ is not None:
        np.copyto(label, ORGAN_CODES[organ], where=alpha >= np.float32(0.5))
    if strength != 1.0:
        alpha = alpha * np.float32(strength)
    change = level - value
    change *= alpha
    value += change


def lay_shell(
    value: np.ndarray,
    label: np.ndarray,
    deep: np.ndarray,
    *,
    begins: np.ndarray | np.float32,
    width: np.ndarray | np.float32,
    level: np.float32,
    organ: str,
) -> None:
    """Blends a tissue in from some depth on, and labels it.

    Args:
        value: float32, changed in place. label: uint8, changed in place.
        deep: Depth (mm) in the shape. begins: Where the tissue begins (mm). width: Of its edge (mm).
        level: Of the tissue. organ: Its label.
    """
    given = [part if isinstance(part, np.ndarray) and part.ndim else None for part in (width, begins)]
    if native() is not None and all(part is None or part.dtype == np.float32 for part in (deep, *given)):
        deep, *arrays = (
            None if part is None else np.ascontiguousarray(np.broadcast_to(part, value.shape))
            for part in (deep, *given)
        )
        native().osler_shell(
            address(value), address(label), *label.strides[:2], address(deep),
            *(None if array is None else address(array) for array in arrays),
            *(0 if array is not None else number for array, number in zip(arrays, (width, begins), strict=True)),
            level, ORGAN_CODES[organ], *value.shape,
        )  # fmt: skip
        return
    alpha = np.subtract(deep, begins)
    alpha /= width
    alpha += np.float32(0.5)
    np.clip(alpha, 0, 1, out=alpha)
    np.copyto(label, ORGAN_CODES[organ], where=alpha >= np.float32(0.5))
    alpha *= level - value
    value += alpha


def lay_voxels(
    value: np.ndarray,
    label: np.ndarray,
    index: np.ndarray,
    alpha: np.ndarray,
    *,
    level: np.float32,
    organ: str | None,
    over: tuple[str, ...],
    strength: float,
    under: np.float32 | None,
) -> None:
    """Blends a tissue into single voxels, as `lay` does into a box.

    Args:
        value: float32, of the whole canvas, flat, changed in place. label: uint8, the same.
        index: Of the voxels, int64. alpha: Share of each, float32.
        under: What they hold by that share, if it is not what is painted there.
    """
    table = organ_table(over) if over else None
    code = -1 if organ is None else ORGAN_CODES[organ]
    if native() is not None:
        native().osler_blend_voxels(
            address(value), address(label), address(index), address(alpha), len(index),
            None if table is None else address(table), code, level, strength, under or 0, under is not None,
        )  # fmt: skip
        return
    if table is not None:
        alpha = alpha * table[label[index]]
    if organ is not None:
        label[index[alpha >= 0.5]] = code
    value[index] += (level - (value[index] if under is None else under)) * alpha * np.float32(strength)
