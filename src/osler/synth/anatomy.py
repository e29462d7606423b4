"""Where things are in a body: sites in unit coordinates of the patient's own size.

Unit coordinates divide the body frame (see `facts`) by the patient's half width, half
depth and trunk length (trunk), by the half axes of the brain (head), or by the width of
the condyles (knee). A phantom builds its organs from the same table, so a lesion drawn
at a site lies in that organ in every body.
"""

from __future__ import annotations

from dataclasses import dataclass

from osler.synth.facts import Anatomy, Region, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place where a lesion may be.

    Args:
        key: For example ``"right-upper-lobe"``.
        organ: What a phantom draws there, for example ``"right-lung"``.
        side: The patient's side.
        center: Unit coordinates of the middle.
        half: Half axes (unit) of the ellipsoid in which a lesion's center may lie.
        room_mm: Greatest diameter of a lesion that still fits.
    """

    key: str
    organ: str
    region: Region
    side: Side
    center: tuple[float, float, float]
    half: tuple[float, float, float]
    room_mm: int


def unit_mm(region: Region, *, anatomy: Anatomy) -> tuple[float, float, float]:
    """Millimeters of one unit along x, y, z in the frame of a region."""
    if region == "head":
        return anatomy.head_mm
    if region == "knee":
        return anatomy.knee_mm, anatomy.knee_mm, anatomy.knee_mm
    return anatomy.half_width_mm, anatomy.half_depth_mm, anatomy.trunk_mm
