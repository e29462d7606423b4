"""Tissue as a microscope shows it: tiles and slides with their cells and tumors."""

from osler.synth.histology.from_facts import slide_spec
from osler.synth.histology.patterns import PATTERNS, NucleusLook, Pattern
from osler.synth.histology.slide import SlideTruth, write_slide
from osler.synth.histology.spec import ORGANS, SlideSpec, TumorPlace
from osler.synth.histology.stain import Stain
from osler.synth.histology.tile import Tile, mask_boxes, render_tile

__all__ = [
    "ORGANS", "PATTERNS", "NucleusLook", "Pattern", "SlideSpec", "SlideTruth", "Stain", "Tile", "TumorPlace",
    "mask_boxes", "render_tile", "slide_spec", "write_slide",
]  # fmt: skip
