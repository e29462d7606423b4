"""Chest X-rays of synthetic patients, projected from the same facts as everything else."""

from osler.synth.xrays.beam import Beam
from osler.synth.xrays.radiograph import Radiograph, ShownLesion
from osler.synth.xrays.render import render_xray

__all__ = ["Beam", "Radiograph", "ShownLesion", "render_xray"]
