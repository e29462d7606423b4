"""The shape of one chest, as numbers: what the projection needs of lungs, heart and bones.

All lengths are mm in the body frame. The shape depends on the patient's anatomy alone,
so it is the same at every date; how deep the breath was and how the patient stood come
with the exam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.draws import Draws
from osler.synth.elementary import power
from osler.synth.facts import Anatomy, Sex

RIGHT, LEFT = -1.0, 1.0
_SHAPE_NUMBERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Thorax:
    """Lengths and places of a chest.

    Args:
        width: Half width, skin to skin. depth: Half depth. trunk: Lung apex to pelvic floor.
        lung_x: Middle of a lung from the midline, at its base. lung_a: Half width. lung_b: Half depth.
        apex: Height of the apex. dome: Height of the diaphragm, right and left. sulcus: From dome to sulcus.
        heart: Scale of the heart. heart_x: How far it lies to the left.
        aorta: Radius. rib_gap: Distance of ribs along z. slope: How far ribs run down.
        breast: Radius; 0 for none. density: Of the lung, relative to water.
        sex: Drives cartilage, breasts. age: In years.
        chance: Numbers in [0, 1) for details.
    """

    width: float
    depth: float
    trunk: float
    lung_x: float
    lung_a: float
    lung_b: float
    apex: float
    dome: tuple[float, float]
    sulcus: float
    heart: float
    heart_x: float
    aorta: float
    rib_gap: float
    slope: float
    breast: float
    density: float
    sex: Sex
    age: float
    shape: int
    chance: tuple[float, ...]

    @property
    def middle(self) -> float:
        """Height at which the lungs are widest."""
        return 0.02 * self.trunk

    @property
    def lung_y(self) -> float:
        """Middle of the lungs front to back."""
        return 0.04 * self.depth

    def taper(self, z: np.ndarray) -> np.ndarray:
        """Width of the lungs at a height, relative to the widest."""
        up = np.clip((z - self.middle) / (self.apex - self.middle), 0, 1)
        down = np.clip((self.middle - z) / (0.2 * self.trunk), 0, 1)
        return np.sqrt(np.maximum(1 - power(up, 3.1), 1e-4)) * (1 - 0.07 * down**2)

    def lung_middle(self, z: np.ndarray) -> np.ndarray:
        """Distance of a lung's middle from the midline at a height."""
        up = np.clip((z - self.middle) / (self.apex - self.middle), 0, 1)
        return self.lung_x - 0.17 * self.width * up * np.sqrt(up)

    def dome_height(self, x: np.ndarray, y: np.ndarray, *, side: float) -> np.ndarray:
        """Height of the diaphragm over a place, for the right (-1) or left (1) side."""
        top = self.dome[0] if side < 0 else self.dome[1]
        across = (side * x - 0.36 * self.width) / (0.50 * self.width)
        # Toward the midline the diaphragm is flat: there it carries the heart.
        across = np.where(across < 0, 0.72 * across, across)
        along = (y + 0.12 * self.depth) / (0.92 * self.depth)
        away = across**2 + along**2
        return top - self.sulcus * power(away, 1.6)

    def in_lung(self, points: np.ndarray, *, side: float) -> np.ndarray:
        """Signed depth (about, mm) of points (..., 3) in the lung of a side."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        taper = self.taper(z)
        u = (side * x - self.lung_middle(z)) / (self.lung_a * taper)
        v = (y - self.lung_y) / (self.lung_b * taper)
        wall = (1 - np.hypot(u, v)) * self.lung_a * taper
        return np.minimum(wall, z - self.dome_height(x, y, side=side))


def thorax_of(anatomy: Anatomy, *, sex: Sex, age: float) -> Thorax:
    """Derives the shape of a chest from the patient's anatomy."""
    draws = Draws(seed=abs(int(anatomy.shape)), patients=np.arange(_SHAPE_NUMBERS))
    chance = draws.uniform("thorax")
    bell = (draws.uniform("thorax-a") + draws.uniform("thorax-b") + draws.uniform("thorax-c") - 1.5) * 2
    w, d, t = anatomy.half_width_mm, anatomy.half_depth_mm, anatomy.trunk_mm
    fat = np.clip((anatomy.weight_kg / (anatomy.height_cm / 100) ** 2 - 22) / 20, -0.2, 0.8)
    wall = 1 - 0.08 * fat
    right = t * (0.004 + 0.008 * bell[0])
    return Thorax(
        width=w,
        depth=d,
        trunk=t,
        lung_x=0.435 * w,
        lung_a=0.405 * w * wall * (1 + 0.02 * bell[1]),
        lung_b=0.80 * d * wall * (1 + 0.02 * bell[2]),
        apex=t * (0.312 + 0.006 * bell[3]),
        dome=(right, right - 14 + 6 * bell[4]),
        sulcus=68 + 8 * bell[5],
        heart=(w / 165) ** 0.8 * (1 + 0.05 * bell[6]),
        heart_x=4 * bell[7] + 4 * fat,
        aorta=11.5 + 0.05 * max(0.0, age - 30) + bell[8],
        rib_gap=t * 0.0365,
        slope=1 + 0.18 * bell[9] + 0.15 * fat,
        breast=(52 + 24 * chance[10] + 30 * fat) if sex == "female" and age > 13 else 0.0,
        density=0.24 + 0.02 * bell[11],
        sex=sex,
        age=age,
        shape=abs(int(anatomy.shape)),
        chance=tuple(float(number) for number in chance),
    )
