"""Volumes of synthetic patients, with masks and boxes, rendered from their facts."""

from osler.synth.phantoms.render import Phantom, render_volume
from osler.synth.phantoms.tissues import LABELS, ORGANS

__all__ = ["LABELS", "ORGANS", "Phantom", "render_volume"]
