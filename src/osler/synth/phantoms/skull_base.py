"""The inner floor of the skull: three fossae, one lower than the other, with rounded ridges between them.

Places and heights are in units of the brain's half axes, as in the table of sites.
"""

from __future__ import annotations

import numpy as np

from osler.synth.elementary import exp


def rise(t: np.ndarray) -> np.ndarray:
    """A smooth step from 0 (below -1) over a half (at 0) to 1."""
    return 1 / (1 + exp(np.float32(-2) * np.asarray(t, dtype=np.float32)))


def base_of_skull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the floor under places of the head.

    The roofs of the orbits bulge beside the cribriform plate, the middle fossae are bowls whose tips reach forward
    beside the sella, the rock bones run outwards and back, and the hind fossa falls along the clivus.

    Args:
        x: To the left, y: to the back; they broadcast.
    """
    side = np.abs(x)
    roofs = 0.085 * _bump((side - 0.42) / 0.26) - 0.05 * _bump(side / 0.13) + 0.03 * _bump((y + 0.62) / 0.25)
    front = -0.36 + roofs
    bowl = 0.17 * np.clip((side - 0.52) / 0.40, -1, 1) ** 2
    middle = -0.62 + bowl + 0.05 * _bump((y + 0.06) / 0.10) * _bump((side - 0.50) / 0.30)
    sella = 0.10 * _bump(side / 0.22) * (_bump((y + 0.33) / 0.06) + _bump((y + 0.08) / 0.07))
    hind = -0.93 + 0.20 * (side / 0.8) ** 2 + 0.25 * np.clip((y - 0.55) / 0.45, 0, 1) ** 2
    wing = -0.33 - 0.13 * side**2 / (side**2 + 0.12)
    rock = 0.10 + 0.24 * side
    ridge = 0.12 * _bump((y - rock + 0.03) / 0.08) * rise((side - 0.16) / 0.06)
    to_middle, to_hind = rise((y - wing) / 0.045), rise((y - rock) / (0.05 + 0.07 * _bump(side / 0.25)))
    floor = front + to_middle * (middle + sella - front)
    return (floor + to_hind * (hind - floor) + ridge).astype(np.float32)


def tent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the tentorium: highest at its notch, lower to the back and to the sides.

    Args:
        x: To the left, y: to the back; they broadcast.
    """
    back = np.clip((y - 0.22) / 0.75, 0, 1)
    return (-0.10 - 0.24 * back - 0.16 * x**2).astype(np.float32)


def _bump(t: np.ndarray) -> np.ndarray:
    return exp(-np.square(t))
