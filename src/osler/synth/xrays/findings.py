"""From an exam's findings to what changes in the chest and what is drawn on top."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from osler.synth.anatomy import sites, unit_mm
from osler.synth.draws import mix, stream_key
from osler.synth.facts import Anatomy, Exam, FindingFact
from osler.synth.xrays.organs import Disease
from osler.synth.xrays.shadows import Ellipsoid
from osler.synth.xrays.thorax import LEFT, RIGHT, Thorax

_GRADE = {"none": 0.5, "mild": 0.3, "moderate": 0.6, "severe": 1.0}
_SOLID = {
    "pulmonary-nodule": "solid", "lung-mass": "solid", "cavitary-lesion": "cavity", "calcified-granuloma": "calcified",
    "ground-glass-nodule": "ground", "hilar-lymphadenopathy": "solid", "mediastinal-mass": "solid",
    "mediastinal-lymphadenopathy": "solid", "bone-metastasis": "solid", "pulmonary-cyst": "cyst",
    "breast-mass": "solid",
}  # fmt: skip
_HAZY = {
    "consolidation": 1.0, "pneumonia": 0.9, "ground-glass-opacity": 0.35, "pulmonary-infarct": 0.7, "empyema": 0.9
}  # fmt: skip
_WHOLE = (
    "pleural-effusion",
    "pneumothorax",
    "cardiomegaly",
    "pericardial-effusion",
    "hiatal-hernia",
    "free-air",
    "pleural-thickening",
    "elevated-hemidiaphragm",
    "mediastinal-widening",
)
DEVICES = (
    "endotracheal-tube", "central-venous-catheter", "nasogastric-tube", "cardiac-pacemaker", "icd", "chest-tube",
    "sternotomy-wires", "port-catheter",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Solid:
    """A lesion with an outline: an ellipsoid of tissue, calcium, or with a hollow."""

    fact: FindingFact
    shape: Ellipsoid
    kind: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazy:
    """A region of lung that holds fluid or cells instead of air; ``share`` of its air is gone."""

    fact: FindingFact
    shape: Ellipsoid
    share: float
    side: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A broken rib, clavicle or collapsed vertebra."""

    fact: FindingFact
    bone: str
    side: float
    number: int
    place: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything an exam's findings ask of the picture.

    Args:
        disease: What changes the organs. whole: Its findings, by key.
        solids, hazes, breaks: Lesions with a place.
        devices: Tubes, lines, wires. lines: Bands and scars.
        levels: Severity (0 to 1) of diffuse findings by key; right and left where they have sides.
    """

    disease: Disease = field(default_factory=Disease)
    whole: tuple[FindingFact, ...] = ()
    solids: tuple[Solid, ...] = ()
    hazes: tuple[Hazy, ...] = ()
    breaks: tuple[Break, ...] = ()
    devices: tuple[FindingFact, ...] = ()
    lines: tuple[FindingFact, ...] = ()
    levels: dict[str, tuple[float, float]] = field(default_factory=dict)

    def level(self, *keys: str) -> tuple[float, float]:
        """The greatest severity of some findings, right and left."""
        pairs = [self.levels.get(key, (0.0, 0.0)) for key in keys]
        return max(right for right, _ in pairs), max(left for _, left in pairs)

    def most(self, *keys: str) -> float:
        """The greatest severity of some findings on either side."""
        return max(self.level(*keys))


def scene_of(exam: Exam, *, anatomy: Anatomy, thorax: Thorax, supine: bool) -> Scene:
    """Reads the findings of an exam (in the frame of a body with its heart on the left)."""
    shown = [fact for fact in exam.findings if fact.visible]
    levels: dict[str, tuple[float, float]] = {}
    for fact in shown:
        amount = _GRADE[fact.severity]
        right, left = (amount if fact.side not in ("left",) else 0.0), (amount if fact.side not in ("right",) else 0.0)
        old = levels.get(fact.key, (0.0, 0.0))
        levels[fact.key] = (max(old[0], right), max(old[1], left))
    scene = Scene(levels=levels)
    return Scene(
        levels=levels,
        disease=_disease(scene, supine=supine),
        whole=tuple(fact for fact in shown if fact.key in _WHOLE),
        solids=tuple(_solids(shown, anatomy=anatomy)),
        hazes=tuple(_hazes(shown, anatomy=anatomy)),
        breaks=tuple(_breaks(shown, thorax=thorax, anatomy=anatomy)),
        devices=tuple(fact for fact in shown if fact.key in DEVICES),
        lines=tuple(fact for fact in shown if fact.key in ("atelectasis", "fibrotic-scarring")),
    )


def _disease(scene: Scene, *, supine: bool) -> Disease:
    flat = scene.most("hyperinflation", "emphysema")
    heart = 0.0
    if "cardiomegaly" in scene.levels:
        heart = 0.16 + 0.26 * scene.most("cardiomegaly")
    if "pericardial-effusion" in scene.levels:
        heart = max(heart, 0.12 + 0.35 * scene.most("pericardial-effusion"))
    fluid = tuple(_effusion(level) for level in scene.level("pleural-effusion", "empyema"))
    air = tuple(0.0 if level == 0 else 6 + 52 * level**1.3 for level in scene.level("pneumothorax"))
    raised = tuple(
        (38.0 if elevated else 0.0) + 14 * collapsed
        for elevated, collapsed in zip(scene.level("elevated-hemidiaphragm"), scene.level("atelectasis"), strict=True)
    )
    rind = tuple(0.0 if level == 0 else 3.0 + 7.0 * level for level in scene.level("pleural-thickening"))
    return Disease(
        rind=(rind[0], rind[1]),
        wide=6 + 16 * scene.most("mediastinal-widening") if "mediastinal-widening" in scene.levels else 0.0,
        heart=1 + heart,
        fluid=(fluid[0], fluid[1]),
        air=(air[0], air[1]),
        raised=(raised[0], raised[1]),
        flat=flat,
        supine=supine,
        free_gas=16.0 if "free-air" in scene.levels or "pneumoperitoneum" in scene.levels else 0.0,
        hernia=16 + 16 * scene.most("hiatal-hernia") if "hiatal-hernia" in scene.levels else 0.0,
    )


def _effusion(level: float) -> float:
    return 0.0 if level == 0 else 0.07 + 0.58 * (level - 0.3) / 0.7


def _solids(shown: list[FindingFact], *, anatomy: Anatomy) -> list[Solid]:
    found = []
    for fact in shown:
        if fact.key in _SOLID and fact.center_mm is not None and fact.axes_mm is not None:
            half = tuple(axis / 2 for axis in fact.axes_mm)
            seed = _seed(fact, anatomy=anatomy)
            found.append(
                Solid(fact=fact, shape=Ellipsoid(center=fact.center_mm, half=half), kind=_SOLID[fact.key], seed=seed)
            )
    return found


def _seed(fact: FindingFact, *, anatomy: Anatomy) -> int:
    """A number for the details of a lesion, the same at every date."""
    number = (int(stream_key(fact.key)) ^ (abs(int(anatomy.shape)) * 8191 + fact.lesion * 131)) & (2**64 - 1)
    return int(mix(np.array([number], dtype=np.uint64))[0] >> np.uint64(33))


def _hazes(shown: list[FindingFact], *, anatomy: Anatomy) -> list[Hazy]:
    places = {site.key: site for site in sites()}
    found = []
    for fact in shown:
        share = _HAZY.get(fact.key)
        if fact.key == "atelectasis" and fact.severity == "severe":
            share = 0.8
        if share is None or fact.site not in places:
            continue
        site = places[fact.site]
        unit = np.array(unit_mm("chest", anatomy=anatomy))
        center, half = np.array(site.center) * unit, np.array(site.half) * unit
        if fact.center_mm is not None:
            center = np.array(fact.center_mm)
        if fact.axes_mm is not None:
            half = np.array(fact.axes_mm) / 2
        else:
            half = half * (0.75 + 0.6 * _GRADE[fact.severity]) * [1.6, 1.5, 1.8]
        shape = Ellipsoid(center=tuple(center.tolist()), half=tuple(half.tolist()))
        side = LEFT if center[0] > 0 else RIGHT
        share *= 0.75 + 0.3 * _GRADE[fact.severity]
        found.append(Hazy(fact=fact, shape=shape, share=share, side=side, seed=_seed(fact, anatomy=anatomy)))
    return found


def _breaks(shown: list[FindingFact], *, thorax: Thorax, anatomy: Anatomy) -> list[Break]:
    from osler.synth.xrays.skeleton import rib_line

    places = {site.key: site for site in sites()}
    found = []
    for fact in shown:
        side = LEFT if fact.side == "left" else RIGHT
        if fact.key == "rib-fracture" and fact.site in places:
            upper = "upper" in fact.site
            number = (4 if upper else 7) + _seed(fact, anatomy=anatomy) % 3
            goal = np.array(places[fact.site].center) * unit_mm("chest", anatomy=anatomy)
            line = rib_line(thorax, number=number, side=side)
            nearest = int(np.argmin(np.hypot(line[:, 0] - goal[0], line[:, 1] - goal[1])))
            found.append(
                Break(fact=fact, bone="rib", side=side, number=number, place=float(np.clip(nearest / 47, 0.2, 0.85)))
            )
        elif fact.key == "clavicle-fracture":
            found.append(Break(fact=fact, bone="clavicle", side=side, number=0, place=0.55))
        elif fact.key == "vertebral-compression-fracture" and fact.site.startswith("vertebra-"):
            level = fact.site.removeprefix("vertebra-")
            number = int(level[1:]) + (12 if level[0] == "l" else 0)
            found.append(Break(fact=fact, bone="vertebra", side=RIGHT, number=number, place=_GRADE[fact.severity]))
    return found
