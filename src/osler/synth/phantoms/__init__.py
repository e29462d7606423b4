"""CT and MR volumes of synthetic patients, with masks and boxes."""

from osler.synth.phantoms.organs import ORGANS
from osler.synth.phantoms.render import Lesion, Phantom, render_grid, render_volume

__all__ = ["ORGANS", "Lesion", "Phantom", "render_grid", "render_volume"]
