"""What a slide shows, in one record: organ, tumor places, grade, stain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.errors import RequestError, unknown_name
from osler.synth.histology.fields import cell_bits, quarters, smooth_noise
from osler.synth.histology.patterns import PATTERNS, Pattern
from osler.synth.histology.stain import Stain, stain_of

ORGANS = ("breast", "colon", "lung", "prostate")
_WANDER_PERIOD_UM = 420.0
_WANDER_UM = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TumorPlace:
    """Where a tumor grows: an ellipse whose outline wanders.

    Args:
        center_mm: Across and down from the slide's upper left corner.
        half_mm: Half axes, across and down.
        pattern: Entry of `PATTERNS`.
        necrosis: Share of the tumor that is necrotic, 0 to 0.5.
    """

    center_mm: tuple[float, float]
    half_mm: tuple[float, float]
    pattern: str
    necrosis: float = 0.0

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise unknown_name("tissue pattern", name=self.pattern, known=PATTERNS)
        if not all(np.isfinite((*self.center_mm, *self.half_mm))) or min(self.half_mm) <= 0:
            raise RequestError(
                f"A tumor at {self.center_mm!r} mm with half axes {self.half_mm!r} mm.",
                allowed="Finite places and half axes above 0.",
            )
        if not 0 <= self.necrosis <= 0.5:
            raise RequestError(f"A necrotic share of {self.necrosis!r}.", allowed="0 to 0.5.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideSpec:
    """Everything a slide is rendered from.

    Args:
        organ: One of `ORGANS`.
        key: Seeds every field of the slide, 0 to 2**64 - 1.
        width_mm: Of the scanned area. height_mm: The same.
        pixel_mm: Pixel size of the full resolution; 0.0005 is a 20x scan.
        tumors: Places of tumor.
        inflammation: Factor on the tissue's lymphocytes.
        tissue: Entry of `PATTERNS` in place of the organ's own; empty for the own.
        pigment: Black dust (anthracosis), grains per mm² of stroma.
        stain: Staining and scanner; ``None`` draws them from the key.

    Raises:
        RequestError: If a value is out of range.
    """

    organ: str
    key: int
    width_mm: float = 2.048
    height_mm: float = 2.048
    pixel_mm: float = 0.0005
    tumors: tuple[TumorPlace, ...] = ()
    inflammation: float = 1.0
    tissue: str = ""
    pigment: float = 0.0
    stain: Stain | None = None

    def __post_init__(self) -> None:
        if self.organ not in ORGANS:
            raise unknown_name("organ", name=self.organ, known=ORGANS)
        if self.tissue and self.tissue not in PATTERNS:
            raise unknown_name("tissue pattern", name=self.tissue, known=PATTERNS)
        if not 0 <= self.pigment <= 20_000:
            raise RequestError(f"A pigment of {self.pigment!r} grains per mm².", allowed="0 to 20000.")
        if not 0 <= self.key < 2**64:
            raise RequestError(f"A slide key of {self.key!r}.", allowed="0 to 2**64 - 1.")
        if not 0.0001 <= self.pixel_mm <= 0.002:
            raise RequestError(
                f"A pixel size of {self.pixel_mm!r} mm.", allowed="0.0001 to 0.002 mm: 0.00025 is 40x, 0.0005 is 20x."
            )
        if not (0.05 <= self.width_mm <= 60 and 0.05 <= self.height_mm <= 60):
            raise RequestError(f"A slide of {self.width_mm!r} x {self.height_mm!r} mm.", allowed="0.05 to 60 mm.")
        if not 0 <= self.inflammation <= 10:
            raise RequestError(f"An inflammation factor of {self.inflammation!r}.", allowed="0 to 10.")

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of the full resolution (px)."""
        return max(1, round(self.width_mm / self.pixel_mm)), max(1, round(self.height_mm / self.pixel_mm))

    @property
    def staining(self) -> Stain:
        """The stain, given or drawn."""
        if self.stain is not None:
            return self.stain
        index = np.arange(2)
        return stain_of(np.concatenate(quarters(cell_bits(self.key, "stain", index, index))))


def tumor_depth(spec: SlideSpec, place: TumorPlace, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance (about, µm) into a tumor: above 0 inside."""
    wander = smooth_noise(spec.key, "outline", x=x, y=y, period=_WANDER_PERIOD_UM)
    wander += 0.35 * smooth_noise(spec.key, "outline-fine", x=x, y=y, period=_WANDER_PERIOD_UM / 4)
    half = np.array(place.half_mm) * 1000
    u = (x - place.center_mm[0] * 1000) / half[0]
    v = (y - place.center_mm[1] * 1000) / half[1]
    reach = float(half.min())
    return (1 - np.hypot(u, v)) * reach + wander * min(_WANDER_UM, reach / 4)


def tissue_depth(spec: SlideSpec, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance (about, µm) from empty glass into the section."""
    width, height = spec.width_mm * 1000, spec.height_mm * 1000
    small = min(width, height)
    edge = np.minimum(np.minimum(x, width - x) / width, np.minimum(y, height - y) / height) * small
    wander = smooth_noise(spec.key, "section", x=x, y=y, period=0.22 * small)
    wander += 0.2 * smooth_noise(spec.key, "section-fine", x=x, y=y, period=60.0)
    corner = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    rounded = (0.64 - corner) * small
    return np.minimum(edge, rounded) - 0.035 * small + 0.05 * small * wander


def pattern_of(place: TumorPlace) -> Pattern:
    """The tissue pattern of a tumor."""
    return PATTERNS[place.pattern]
