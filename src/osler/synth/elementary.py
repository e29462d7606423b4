"""Elementary functions of arrays whose bits do not depend on the processor.

NumPy computes ``exp``, ``sin``, ``power`` and their like by code chosen for the processor it runs on, and the last bit
differs from one to another. Here they are built from additions, products, divisions, square roots and roundings alone,
each of which IEEE 754 defines to the last bit, in an order that is written down. So a pixel is the same everywhere.

All take float32 or float64 and return the same; other numbers become float64. They are right to a few units of the
last place in the ranges that images need: `exp` from -87 to 88, `sine` and `cosine` up to about a thousand turns.
"""

from __future__ import annotations

import ctypes
from math import factorial

import numpy as np

from osler.synth.painting.library import address, native

_LN2 = 0.6931471805599453
_LN2_PARTS = (0.693145751953125, 1.428606820309417e-06)
"""The first has 15 bits, so that its products with whole numbers are exact in float32."""
_PI_PARTS = (3.140625, 9.67502593994140625e-4, 1.509957990978376432e-07)
_PI_PARTS_DOUBLE = (3.1415926218032837, 3.1786509424591713e-08, 1.2246467991473532e-16)
_EXP_TERMS = {np.dtype(np.float32): 8, np.dtype(np.float64): 14}
_SINE_TERMS = {np.dtype(np.float32): 7, np.dtype(np.float64): 12}
_LOG_TERMS = 12
_ARC_TERMS = 12


def _floating(x: np.ndarray | float) -> np.ndarray:
    x = np.asarray(x)
    return x if x.dtype in _EXP_TERMS else x.astype(np.float64)


def _compiled(library: ctypes.CDLL, name: str, x: np.ndarray, *further: float) -> np.ndarray:
    x = np.asarray(x, order="C")
    out = np.empty_like(x)
    call = getattr(library, f"osler_{name}_f{8 * x.itemsize}")
    call(address(x), address(out), x.size, *further)
    return out[()]


def exp(x: np.ndarray | float) -> np.ndarray:
    """e to the power of x; beyond the range of float32 (below -87, above 88) its end."""
    x = _floating(x)
    if (library := native()) is not None:
        return _compiled(library, "exp", x)
    x = np.clip(x, -87, 88)
    kind = x.dtype.type
    count = np.rint(x * kind(1 / _LN2))
    for part in _LN2_PARTS:
        x -= count * kind(part)
    terms = [kind(1 / factorial(n)) for n in range(_EXP_TERMS[x.dtype])]
    out = _polynomial(x, terms)
    bits, shift, whole = (23, 127, np.int32) if kind is np.float32 else (52, 1023, np.int64)
    two = (count.astype(whole) + whole(shift)) << whole(bits)
    out *= two.view(kind)
    return out


def log(x: np.ndarray | float) -> np.ndarray:
    """The natural logarithm of x above 0."""
    x = _floating(x)
    if (library := native()) is not None:
        return _compiled(library, "log", x)
    kind = x.dtype.type
    share, power = np.frexp(x)
    small = share < kind(0.7071067811865476)
    share = np.where(small, share + share, share)
    power = power.astype(kind) - small
    s = (share - 1) / (share + 1)
    out = _polynomial(s * s, [kind(2 / (2 * n + 1)) for n in range(_LOG_TERMS)])
    out *= s
    return power * kind(_LN2_PARTS[0]) + (power * kind(_LN2_PARTS[1]) + out)


def power(x: np.ndarray | float, exponent: float) -> np.ndarray:
    """x (0 or more) to a power above 0, computed in float64."""
    x = _floating(x)
    if (library := native()) is not None:
        return _compiled(library, "power", x, exponent)
    wide = np.maximum(x.astype(np.float64), 1e-300)
    with np.errstate(under="ignore"):
        return np.where(x > 0, exp(exponent * log(wide)), 0).astype(x.dtype)


def sine(x: np.ndarray | float) -> np.ndarray:
    """The sine of radians."""
    x = _floating(x)
    if (library := native()) is not None:
        return _compiled(library, "sine", x)
    return _half_turns(x, np.rint(x * x.dtype.type(1 / np.pi)))


def cosine(x: np.ndarray | float) -> np.ndarray:
    """The cosine of radians: the sine a quarter turn on."""
    x = _floating(x)
    if (library := native()) is not None:
        return _compiled(library, "cosine", x)
    half = x.dtype.type(0.5)
    return -_half_turns(x, np.rint(x * x.dtype.type(1 / np.pi) - half) + half, behind=half)


def _half_turns(x: np.ndarray, count: np.ndarray, *, behind: float = 0.0) -> np.ndarray:
    """Sine of what is left of x without ``count`` half turns, its sign changed by each whole one."""
    kind = x.dtype.type
    rest = x
    for part in _PI_PARTS if kind is np.float32 else _PI_PARTS_DOUBLE:
        rest = rest - count * kind(part)
    terms = [kind((-1) ** n / factorial(2 * n + 1)) for n in range(_SINE_TERMS[x.dtype])]
    out = _polynomial(rest * rest, terms)
    out *= rest
    whole = count - kind(behind)
    odd = whole - 2 * np.floor(whole * kind(0.5))
    out *= 1 - 2 * odd
    return out


def angle(y: np.ndarray | float, x: np.ndarray | float) -> np.ndarray:
    """The angle (radians, -pi to pi) of directions, as arctan2; 0 for none."""
    y, x = np.broadcast_arrays(_floating(y), _floating(x))
    long, short = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    tangent = short / np.where(long > 0, long, 1)
    for _ in range(2):  # tan of half of the angle
        tangent = tangent / (1 + np.sqrt(1 + tangent * tangent))
    kind = tangent.dtype.type
    out = _polynomial(tangent * tangent, [kind((-1) ** n / (2 * n + 1)) for n in range(_ARC_TERMS)])
    out *= 4 * tangent
    out = np.where(np.abs(y) > np.abs(x), kind(np.pi / 2) - out, out)
    out = np.where(x < 0, kind(np.pi) - out, out)
    return np.where(y < 0, -out, out)


def _polynomial(x: np.ndarray, terms: list[np.floating]) -> np.ndarray:
    """Terms in rising order, by Horner's rule."""
    out = np.full_like(x, terms[-1])
    for term in reversed(terms[:-1]):
        out *= x
        out += term
    return out
