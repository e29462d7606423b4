"""Lesions with a place: ellipsoids of the facts' size, painted as their finding looks.

The lesion map holds the ellipsoid's voxels exactly; its looks (spicules, edema, rims) may
go beyond. A lesion that is smaller than a voxel marks the nearest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from osler.synth.anatomy import sites
from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Box, Canvas, Depth, Patch
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.shapes import around, ellipsoid
from osler.synth.phantoms.state import GRADES


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a lesion looks.

    Args:
        tissue: Of its body. rim: Of a shell around it, if any. core: Of its middle, if any.
        rim_mm: Thickness of the shell. core_share: Of the radius. rough: Share of the radius by which its edge wanders.
        edema: Tissue around it, and how far it goes in radii. strength: Opacity (ground glass).
        spicules: Whether strands go out from it. default_mm: Diameters by severity where no size is given.
        flat: Factor on axes where no axes are given.
    """

    tissue: str
    rim: str = ""
    core: str = ""
    rim_mm: float = 2.0
    core_share: float = 0.55
    rough: float = 0.05
    edema: str = ""
    edema_radii: float = 1.7
    strength: float = 1.0
    spicules: bool = False
    default_mm: tuple[float, float, float] = (12.0, 18.0, 26.0)
    flat: tuple[float, float, float] = (1.0, 1.0, 1.0)


_OPACITY = (28.0, 42.0, 60.0)
LOOKS: dict[str, Look] = {
    "pulmonary-nodule": Look(tissue="soft"),
    "lung-mass": Look(tissue="tumor", core="necrosis", core_share=0.4, rough=0.12, spicules=True),
    "ground-glass-nodule": Look(tissue="soft", strength=0.28),
    "cavitary-lesion": Look(tissue="gas", rim="soft", rim_mm=4.0, rough=0.08),
    "calcified-granuloma": Look(tissue="calcium"),
    "pulmonary-cyst": Look(tissue="gas", rim="soft", rim_mm=1.2),
    "consolidation": Look(tissue="soft", rough=0.35, strength=0.9, default_mm=_OPACITY),
    "pneumonia": Look(tissue="soft", rough=0.4, strength=0.75, default_mm=_OPACITY),
    "atelectasis": Look(tissue="soft", rough=0.2, default_mm=(36.0, 50.0, 70.0), flat=(1.0, 0.55, 0.22)),
    "bronchiectasis": Look(tissue="gas", rim="soft", rim_mm=1.6, default_mm=(8.0, 11.0, 15.0), flat=(0.6, 0.6, 1.0)),
    "fibrotic-scarring": Look(
        tissue="soft", default_mm=(16.0, 22.0, 30.0), rough=0.1, flat=(1.0, 0.7, 0.16), spicules=True
    ),
    "tree-in-bud-opacities": Look(tissue="soft", strength=0.6, rough=0.9, default_mm=(18.0, 26.0, 36.0)),
    "pulmonary-infarct": Look(tissue="soft", rough=0.1, core="edema", core_share=0.3),
    "pulmonary-embolism": Look(tissue="soft", default_mm=(7.0, 9.0, 12.0), flat=(1.0, 0.7, 0.7)),
    "mediastinal-lymphadenopathy": Look(tissue="lymph"),
    "hilar-lymphadenopathy": Look(tissue="lymph"),
    "axillary-lymphadenopathy": Look(tissue="lymph"),
    "retroperitoneal-lymphadenopathy": Look(tissue="lymph"),
    "mesenteric-lymphadenopathy": Look(tissue="lymph"),
    "mediastinal-mass": Look(tissue="tumor", core="necrosis", core_share=0.35, rough=0.12),
    "thyroid-nodule": Look(tissue="soft"),
    "breast-mass": Look(tissue="tumor", spicules=True, rough=0.12),
    "bone-metastasis": Look(tissue="tumor", rough=0.1),
    "hepatic-cyst": Look(tissue="water"),
    "hepatic-hemangioma": Look(tissue="tumor", rim="venous-blood", rim_mm=3.0, rough=0.1),
    "focal-nodular-hyperplasia": Look(tissue="spleen", core="tumor", core_share=0.22),
    "hepatocellular-carcinoma": Look(tissue="tumor", rim="lymph", rim_mm=1.6, rough=0.08),
    "hepatic-metastasis": Look(tissue="tumor", core="necrosis", core_share=0.5, rough=0.08),
    "hepatic-abscess": Look(tissue="pus", rim="rim", rim_mm=4.0, rough=0.12),
    "splenic-cyst": Look(tissue="water"),
    "splenic-infarct": Look(tissue="edema", rough=0.12),
    "cholelithiasis": Look(tissue="calcium", strength=0.45),
    "gallbladder-polyp": Look(tissue="bowel-wall"),
    "biliary-dilatation": Look(tissue="bile"),
    "choledocholithiasis": Look(tissue="calcium", strength=0.4),
    "pancreatic-cyst": Look(tissue="water"),
    "pancreatic-mass": Look(tissue="edema", rough=0.12),
    "adrenal-nodule": Look(tissue="edema"),
    "renal-cyst": Look(tissue="water"),
    "renal-mass": Look(tissue="spleen", core="necrosis", core_share=0.4, rough=0.08),
    "nephrolithiasis": Look(tissue="calcium"),
    "ureteral-calculus": Look(tissue="calcium"),
    "diverticulitis": Look(tissue="edema", rough=0.3, strength=0.5, default_mm=(24.0, 34.0, 44.0)),
    "appendicitis": Look(tissue="pus", rim="bowel-wall", rim_mm=2.5),
    "colonic-wall-thickening": Look(
        tissue="bowel-wall", rough=0.1, strength=0.85, default_mm=(30.0, 38.0, 46.0), flat=(0.8, 0.8, 1.0)
    ),
    "colonic-mass": Look(tissue="tumor", rough=0.15),
    "abdominal-abscess": Look(tissue="pus", rim="rim", rim_mm=3.5, core="gas", core_share=0.25),
    "inguinal-hernia": Look(tissue="fat", rim="soft", rim_mm=1.6, default_mm=(22.0, 32.0, 44.0)),
    "umbilical-hernia": Look(tissue="fat", rim="soft", rim_mm=1.6),
    "ovarian-cyst": Look(tissue="water", rim="soft", rim_mm=1.5),
    "uterine-fibroid": Look(tissue="uterus", rim="muscle", rim_mm=1.5),
    "rib-fracture": Look(tissue="soft", default_mm=(14.0, 14.0, 14.0), flat=(1.0, 1.0, 0.4)),
    "clavicle-fracture": Look(tissue="soft", default_mm=(10.0, 10.0, 10.0), flat=(0.3, 1.0, 1.0)),
    "subdural-hematoma": Look(tissue="fresh-blood"),
    "epidural-hematoma": Look(tissue="fresh-blood"),
    "intraparenchymal-hemorrhage": Look(tissue="fresh-blood", edema="edema", edema_radii=1.35, rough=0.12),
    "acute-infarct": Look(tissue="infarct", rough=0.25),
    "chronic-infarct": Look(tissue="csf", rim="gliosis", rim_mm=2.5, rough=0.2),
    "lacunar-infarct": Look(tissue="gliosis"),
    "mesial-temporal-sclerosis": Look(
        tissue="gliosis", default_mm=(14.0, 14.0, 14.0), flat=(0.45, 1.0, 0.5), strength=0.6
    ),
    "meningioma": Look(tissue="rim", edema="edema", edema_radii=1.25),
    "glioma": Look(tissue="rim", core="necrosis", core_share=0.68, edema="edema", edema_radii=1.75, rough=0.16),
    "brain-metastasis": Look(tissue="rim", core="necrosis", core_share=0.5, edema="edema", edema_radii=1.8),
    "intracranial-mass": Look(tissue="tumor", edema="edema", edema_radii=1.5, rough=0.12),
    "pituitary-adenoma": Look(tissue="tumor"),
    "vestibular-schwannoma": Look(tissue="rim"),
    "arachnoid-cyst": Look(tissue="csf"),
    "demyelinating-lesion": Look(tissue="gliosis", strength=0.9),
    "cerebral-microbleed": Look(tissue="calcium"),
    "cerebral-aneurysm": Look(tissue="blood"),
    "cavernous-malformation": Look(tissue="gliosis", rim="calcium", rim_mm=1.5),
    "developmental-venous-anomaly": Look(tissue="venous-blood", default_mm=(14.0, 14.0, 14.0), flat=(0.25, 0.25, 1.0)),
    "encephalomalacia": Look(tissue="csf", rim="gliosis", rim_mm=3.0, rough=0.25),
    "skull-fracture": Look(tissue="soft", default_mm=(22.0, 22.0, 22.0), flat=(1.0, 0.1, 1.0)),
    "hyperdense-vessel": Look(tissue="fresh-blood", default_mm=(14.0, 14.0, 14.0), flat=(1.0, 0.25, 0.25)),
    "restricted-diffusion": Look(tissue="infarct", default_mm=(14.0, 18.0, 26.0), rough=0.2),
    "medial-meniscal-tear": Look(tissue="effusion", flat=(0.9, 0.9, 0.2), rough=0.1),
    "lateral-meniscal-tear": Look(tissue="effusion", rough=0.1),
    "meniscal-extrusion": Look(tissue="meniscus"),
    "meniscal-degeneration": Look(tissue="cartilage", strength=0.6, default_mm=(6.0, 8.0, 10.0), flat=(1.0, 1.0, 0.4)),
    "parameniscal-cyst": Look(tissue="effusion"),
    "anterior-cruciate-ligament-tear": Look(
        tissue="effusion", strength=0.85, default_mm=(14.0, 14.0, 14.0), rough=0.25, flat=(0.6, 1.0, 1.0)
    ),
    "posterior-cruciate-ligament-tear": Look(
        tissue="effusion", strength=0.85, default_mm=(14.0, 14.0, 14.0), rough=0.25, flat=(0.6, 1.0, 1.0)
    ),
    "anterior-cruciate-ligament-sprain": Look(
        tissue="edema", strength=0.6, default_mm=(9.0, 12.0, 15.0), flat=(0.6, 1.0, 1.0)
    ),
    "anterior-cruciate-ligament-reconstruction": Look(
        tissue="ligament", default_mm=(16.0, 16.0, 16.0), flat=(0.5, 0.5, 1.0)
    ),
    "medial-collateral-ligament-sprain": Look(
        tissue="edema", strength=0.8, default_mm=(16.0, 22.0, 30.0), flat=(0.2, 0.5, 1.0)
    ),
    "lateral-collateral-ligament-sprain": Look(
        tissue="edema", strength=0.8, default_mm=(16.0, 22.0, 30.0), flat=(0.2, 0.5, 1.0)
    ),
    "cartilage-loss": Look(tissue="effusion", default_mm=(12.0, 18.0, 26.0), flat=(1.0, 1.0, 0.25)),
    "focal-cartilage-defect": Look(tissue="effusion"),
    "bone-marrow-lesion": Look(tissue="edema", strength=0.75, rough=0.2),
    "osteochondral-lesion": Look(tissue="edema", rim="effusion", rim_mm=1.5),
    "knee-fracture": Look(tissue="edema", default_mm=(26.0, 26.0, 26.0), flat=(1.0, 1.0, 0.2), rough=0.15),
    "subchondral-cyst": Look(tissue="effusion"),
    "baker-cyst": Look(tissue="effusion"),
    "loose-body": Look(tissue="cortex"),
    "patellar-tendinosis": Look(tissue="edema", strength=0.6, default_mm=(10.0, 14.0, 18.0), flat=(0.8, 0.5, 1.0)),
    "quadriceps-tendon-tear": Look(tissue="effusion", default_mm=(14.0, 14.0, 14.0), flat=(1.0, 0.6, 1.0)),
    "chondromalacia-patellae": Look(
        tissue="effusion", strength=0.7, default_mm=(8.0, 12.0, 16.0), flat=(1.0, 0.3, 1.0)
    ),
}
LUNG_ONLY = frozenset(
    (
        "consolidation",
        "pneumonia",
        "atelectasis",
        "bronchiectasis",
        "fibrotic-scarring",
        "tree-in-bud-opacities",
        "pulmonary-infarct",
    )
)
_LUNGS = ("right-lung", "left-lung")
_RIGID = frozenset(
    (
        "outside", "table", "skin", "airways", "heart", "aorta", "pulmonary-artery", "veins", "portal-vein", "ribs",
        "spine", "sternum", "clavicles", "scapulae", "humeri", "spinal-canal", "pelvis", "femora", "devices", "skull",
        "femur", "tibia", "fibula", "patella", "brainstem",
    )
)  # fmt: skip
"""What a growing lesion does not push aside."""
_HOSTS: dict[str, tuple[str, str]] = {
    "mediastinum": ("mediastinum", "fat"),
    "thyroid": ("thyroid", "gland"),
    "liver": ("liver", "liver"),
    "gallbladder": ("gallbladder", "bile"),
    "bile-ducts": ("bile-ducts", "bile"),
    "spleen": ("spleen", "spleen"),
    "pancreas": ("pancreas", "pancreas"),
    "adrenals": ("adrenals", "adrenal"),
    "right-kidney": ("right-kidney", "kidney-cortex"),
    "left-kidney": ("left-kidney", "kidney-cortex"),
    "ureters": ("ureters", "urine"),
    "colon": ("colon", "bowel-wall"),
    "uterus": ("uterus", "uterus"),
    "ovaries": ("ovaries", "soft"),
    "pelvis": ("pelvis", "marrow"),
    "spine": ("spine", "marrow"),
}
"""Organ of the site table: what is painted of it around a lesion that is too large for it."""
_ENOUGH_VOXELS = 20
_BESIDE_ORGANS = frozenset(("abdominal-abscess", "diverticulitis"))
"""Findings beside an organ, not in it: the organ does not grow around them."""


def axes_of(fact: FindingFact, *, look: Look) -> tuple[float, float, float]:
    """Full axes (mm) of a lesion: the facts', or by its severity where it is not measured."""
    if fact.axes_mm is not None:
        return fact.axes_mm
    size = fact.size_mm or look.default_mm[round(GRADES[fact.severity]) - 1]
    return tuple(size * factor for factor in look.flat)


def paint_lesion(canvas: Canvas, fact: FindingFact, *, center: tuple[float, float, float]) -> None:
    """Paints one lesion at a center (mm, body frame) and marks it in the lesion map."""
    look = LOOKS[fact.key]
    half = tuple(a / 2 for a in axes_of(fact, look=look))
    radius = min(half)
    bare = ellipsoid(center, half)
    rough = look.rough * radius
    mm = max(5.0, 0.8 * radius)
    over = _LUNGS if fact.key in LUNG_ONLY else ()

    def body(p: Patch) -> np.ndarray:
        out = bare(p)
        if rough > 0.15:
            out = out + np.float32(rough) * (p.wave(_step(mm), key="lesion") - np.float32(0.15))
        return out

    margin = 4.0 + rough
    bounds = around(center, half, margin=margin)
    _bulge(canvas, fact, center=center, half=half)
    if look.edema:
        wide = tuple(h * look.edema_radii + 2 for h in half)
        halo = ellipsoid(center, wide, rough=0.25 * radius, mm=_step(0.9 * radius + 6))
        canvas.paint(
            halo,
            tissue=look.edema,
            bounds=around(center, wide, margin=0.3 * radius),
            over=("white-matter", "deep-gray", "gray-matter", "cerebellum", "brainstem", "thalamus"),
            edge=3.0,
        )
    if look.spicules:
        _spicules(canvas, center=center, half=half, over=over or (_LUNGS if canvas.palette["lung"] < -100 else ()))
    outer = look.rim or look.tissue
    canvas.paint(body, tissue=outer, bounds=bounds, over=over, strength=look.strength)
    if look.rim:
        canvas.paint(
            lambda p: body(p) - np.float32(min(look.rim_mm, 0.45 * radius)),
            tissue=look.tissue,
            bounds=bounds,
            over=over,
        )
    if look.core and radius > 3:
        share = np.float32((1 - look.core_share) * radius)
        canvas.paint(
            lambda p: body(p) - share + np.float32(0.15 * radius) * p.wave(_step(mm), key="core"),
            tissue=look.core,
            bounds=bounds,
            over=over,
            edge=2.5,
        )
    mark(canvas, bare, center=center, half=half, fact=fact, over=over)


@cache
def _organ_of(site: str) -> str:
    return next((known.organ for known in sites() if known.key == site), "")


def _bulge(
    canvas: Canvas, fact: FindingFact, *, center: tuple[float, float, float], half: tuple[float, float, float]
) -> None:
    """Lets an organ grow around a lesion that is too large for it: soft neighbors give way."""
    organ, tissue = _HOSTS.get(_organ_of(fact.site), ("", ""))
    if organ.endswith("-kidney"):
        organ = "right-kidney" if center[0] < 0 else "left-kidney"
    if not organ or fact.key in _BESIDE_ORGANS:
        return
    rim = min(3.0, 0.5 + 0.25 * max(half))
    wide = tuple(h + rim for h in half)
    bounds = around(center, wide)
    box = canvas.box(bounds)
    if box is None:
        return
    own = canvas.value[box][canvas.label[box] == ORGAN_CODES[organ]]
    level = float(np.median(own)) if own.size > _ENOUGH_VOXELS else canvas.palette[tissue]
    yielding = tuple(name for name in ORGAN_CODES if name not in _RIGID and name != organ)
    canvas.paint(ellipsoid(center, wide), tissue=level, organ=organ, bounds=bounds, over=yielding)


def _step(mm: float) -> float:
    """A lattice size from a short list, so that smooth fields are shared."""
    return min((6.0, 9.0, 14.0, 22.0), key=lambda known: abs(known - mm))


def _spicules(
    canvas: Canvas, *, center: tuple[float, float, float], half: tuple[float, float, float], over: tuple[str, ...]
) -> None:
    wide = tuple(h * 1.45 + 2 for h in half)
    halo = ellipsoid(center, wide)
    canvas.paint(
        lambda p: np.minimum(halo(p), np.float32(0.55) - np.abs(p.wave(9.0, key="spicule")) * 5),
        tissue="soft", bounds=around(center, wide), over=over, strength=0.7,
    )  # fmt: skip


def mark(
    canvas: Canvas,
    depth: Depth,
    *,
    center: tuple[float, float, float],
    half: tuple[float, float, float],
    fact: FindingFact,
    over: tuple[str, ...] = (),
) -> None:
    """Marks the voxels of an ellipsoid; at least the nearest one if it lies in the volume.

    The mark is the lesion's own. In the lesion map a voxel has one number: of lesions that overlap, the smaller's.
    """
    found = False
    for p in canvas.patches(around(center, half)):
        cover = np.broadcast_to(depth(p) >= 0, p.label.shape) if canvas.rays == "none" else canvas.touched(depth, p)
        if over:
            cover = cover * np.isin(p.label, [ORGAN_CODES[name] for name in over])
        inside = cover >= 0.5
        canvas.mark(fact, cover, box=p.box)
        np.copyto(canvas.lesion[p.box], np.uint16(fact.lesion), where=inside)
        found = found or bool(inside.any())
    if not found:
        box = _nearest(canvas, center)
        if box is not None:
            canvas.mark(fact, np.ones((1, 1, 1), dtype=bool), box=box)
            canvas.lesion[box] = fact.lesion


def _nearest(canvas: Canvas, center: tuple[float, float, float]) -> Box | None:
    """The voxel at a place (mm), if it is in the volume."""
    found = []
    for axis, value in zip((canvas.axes.z, canvas.axes.y, canvas.axes.x), reversed(center), strict=True):
        step = float(axis[1] - axis[0]) if len(axis) > 1 else 1.0
        nearest = int(np.abs(axis - value).argmin())
        if abs(float(axis[nearest]) - value) > step:
            return None
        found.append(slice(nearest, nearest + 1))
    return found[0], found[1], found[2]
