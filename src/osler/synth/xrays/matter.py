"""What tissues take out of the beam of a chest film, as CT numbers at its own energy."""

from __future__ import annotations

import numpy as np

from osler.synth.facts import Acquisition
from osler.synth.phantoms.tissues import ct_palette

_BONE_FROM_HU = 100.0
_FATTY_MARROW_HU = -30.0
"""Spongy bone without its mineral, about."""


def water_per_mm(kvp: float) -> float:
    """Attenuation of water (per mm) for a tube voltage.

    Effective energies of about 45 keV (80 kV) to 62 keV (125 kV) behind a chest; coefficients from the NIST
    tables (Hubbell and Seltzer, 1995).
    """
    return 0.0235 - 0.0033 * _hardness(kvp)


def at_film_energy(hu: np.ndarray | float, *, kvp: float) -> np.ndarray:
    """CT numbers as they would be at a film's energy: calcium shows more there, soft tissue, fat and air do not.

    Cortical bone takes 3.3 (80 kV) to 2.6 (125 kV) times what water takes, by the same tables.
    """
    more = _mineral(kvp)
    return np.where(np.asarray(hu) > _BONE_FROM_HU, _BONE_FROM_HU + more * (hu - _BONE_FROM_HU), hu)


def attenuation(hu: np.ndarray, *, kvp: float) -> np.ndarray:
    """Attenuation (per mm) of CT numbers at the film's energy, never negative, float32."""
    water = np.float32(water_per_mm(kvp))
    return np.maximum(water + water / np.float32(1000) * hu, 0)


def film_palette(kvp: float) -> dict[str, float]:
    """CT numbers of all tissues, without contrast, at the film's energy."""
    plain = ct_palette(Acquisition(device="", rows=1, columns=1, slices=1, pixel_mm=1.0, kvp=120, contrast="none"))
    levels = {name: float(at_film_energy(level, kvp=kvp)) for name, level in plain.items()}
    # All that spongy bone has over fatty marrow is mineral, not only what lies above muscle.
    mineral = plain["marrow"] - _FATTY_MARROW_HU
    levels["marrow"] = _FATTY_MARROW_HU + _mineral(kvp) * mineral
    return levels


def _mineral(kvp: float) -> float:
    """What mineral takes at the film's energy over what it takes at that of a CT."""
    return 2.2 - 0.65 * _hardness(kvp)


def _hardness(kvp: float) -> float:
    return float(np.clip((kvp - 80) / 45, 0, 1))
