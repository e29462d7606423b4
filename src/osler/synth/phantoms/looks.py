"""How each finding looks: which tissue, with which core, on which kind of mask.

A focal finding is an ellipsoid of the facts' center and axes. What has a site but no
measured size takes the size given here. Findings that are no place but a state of a
whole organ (a large heart, a fatty liver) are drawn in `states`, `lung_states` or
`head_states`; a finding in none of these tables has no picture in a phantom, and the
phantom says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Texture = Literal["even", "spiculated", "patchy", "lobed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The picture of a focal finding.

    Args:
        tissue: Of the lesion, in the palettes of CT and MR.
        core: Tissue of its middle, none if empty. core_part: Part of the axes that the core takes.
        texture: Of the lesion.
        halo: Tissue around it, none if empty. halo_mm: How far that reaches.
        default_mm: Full axes (x, y, z) where the facts give none.
    """

    tissue: str
    core: str = ""
    core_part: float = 0.6
    texture: Texture = "even"
    halo: str = ""
    halo_mm: float = 0.0
    default_mm: tuple[float, float, float] = (14.0, 14.0, 14.0)


_PATCH = (48.0, 44.0, 42.0)
LOOKS: Mapping[str, Look] = {
    # chest
    "pulmonary-nodule": Look(tissue="nodule"),
    "lung-mass": Look(tissue="nodule", core="necrosis", core_part=0.45, texture="spiculated"),
    "ground-glass-nodule": Look(tissue="ground-glass"),
    "cavitary-lesion": Look(tissue="nodule", core="gas", core_part=0.62),
    "calcified-granuloma": Look(tissue="calcium"),
    "pulmonary-cyst": Look(tissue="nodule", core="emphysema", core_part=0.9),
    "consolidation": Look(tissue="consolidation", texture="patchy", default_mm=_PATCH),
    "pneumonia": Look(tissue="consolidation", texture="patchy", halo="ground-glass", halo_mm=9.0, default_mm=_PATCH),
    "atelectasis": Look(tissue="consolidation", texture="patchy", default_mm=(42.0, 26.0, 14.0)),
    "fibrotic-scarring": Look(tissue="scar", texture="patchy", default_mm=(26.0, 10.0, 10.0)),
    "tree-in-bud-opacities": Look(tissue="nodule", texture="spiculated", default_mm=(20.0, 20.0, 18.0)),
    "pulmonary-infarct": Look(tissue="consolidation", default_mm=(24.0, 20.0, 18.0)),
    "bronchiectasis": Look(tissue="scar", core="gas", core_part=0.7, default_mm=(13.0, 13.0, 30.0)),
    "pulmonary-embolism": Look(tissue="blood-clot", default_mm=(14.0, 9.0, 9.0)),
    "thoracic-aortic-aneurysm": Look(tissue="blood"),
    "aortic-dissection": Look(tissue="blood", core="blood-clot", core_part=0.5),
    "pulmonary-artery-enlargement": Look(tissue="vessel"),
    "mediastinal-lymphadenopathy": Look(tissue="tumor"),
    "hilar-lymphadenopathy": Look(tissue="tumor"),
    "axillary-lymphadenopathy": Look(tissue="tumor"),
    "mediastinal-mass": Look(tissue="tumor", texture="lobed"),
    "thyroid-nodule": Look(tissue="tumor"),
    "breast-mass": Look(tissue="enhancing", texture="spiculated"),
    "bone-metastasis": Look(tissue="tumor", default_mm=(16.0, 14.0, 12.0)),
    "rib-fracture": Look(tissue="muscle", default_mm=(9.0, 9.0, 4.0)),
    "clavicle-fracture": Look(tissue="muscle", default_mm=(4.0, 14.0, 14.0)),
    # abdomen
    "hepatic-cyst": Look(tissue="cyst"),
    "hepatic-hemangioma": Look(tissue="hemangioma", core="cyst", core_part=0.45),
    "focal-nodular-hyperplasia": Look(tissue="enhancing", core="scar", core_part=0.25),
    "hepatocellular-carcinoma": Look(tissue="enhancing", core="necrosis", core_part=0.4, texture="lobed"),
    "hepatic-metastasis": Look(tissue="tumor", core="necrosis", core_part=0.5),
    "hepatic-abscess": Look(tissue="enhancing", core="abscess", core_part=0.8),
    "splenic-cyst": Look(tissue="cyst"),
    "splenic-infarct": Look(tissue="infarct", default_mm=(20.0, 18.0, 22.0)),
    "cholelithiasis": Look(tissue="calcium", default_mm=(9.0, 9.0, 8.0)),
    "gallbladder-polyp": Look(tissue="tumor"),
    "biliary-dilatation": Look(tissue="cyst"),
    "choledocholithiasis": Look(tissue="calcium"),
    "pancreatic-cyst": Look(tissue="cyst"),
    "pancreatic-mass": Look(tissue="tumor"),
    "adrenal-nodule": Look(tissue="adenoma"),
    "renal-cyst": Look(tissue="cyst"),
    "renal-mass": Look(tissue="enhancing", core="necrosis", core_part=0.4),
    "nephrolithiasis": Look(tissue="stone", default_mm=(6.0, 6.0, 6.0)),
    "ureteral-calculus": Look(tissue="stone", default_mm=(5.0, 5.0, 7.0)),
    "abdominal-aortic-aneurysm": Look(tissue="blood-clot", core="blood", core_part=0.68),
    "retroperitoneal-lymphadenopathy": Look(tissue="tumor"),
    "mesenteric-lymphadenopathy": Look(tissue="tumor"),
    "diverticulitis": Look(tissue="bowel-wall", halo="edema-fat", halo_mm=14.0, default_mm=(24.0, 22.0, 24.0)),
    "appendicitis": Look(tissue="enhancing", core="cyst", core_part=0.5, halo="edema-fat", halo_mm=8.0),
    "colonic-wall-thickening": Look(tissue="bowel-wall", default_mm=(34.0, 34.0, 40.0)),
    "colonic-mass": Look(tissue="tumor", texture="lobed"),
    "small-bowel-obstruction": Look(tissue="bowel-wall", core="cyst", core_part=0.9, default_mm=(60.0, 34.0, 34.0)),
    "abdominal-abscess": Look(tissue="enhancing", core="abscess", core_part=0.82),
    "inguinal-hernia": Look(tissue="fat", core="bowel", core_part=0.5),
    "umbilical-hernia": Look(tissue="fat", core="bowel", core_part=0.4),
    "ovarian-cyst": Look(tissue="ovary", core="cyst", core_part=0.9),
    "uterine-fibroid": Look(tissue="uterus", texture="lobed"),
    # head
    "intraparenchymal-hemorrhage": Look(tissue="blood-clot", texture="lobed", halo="edema", halo_mm=6.0),
    "subdural-hematoma": Look(tissue="blood-clot"),
    "epidural-hematoma": Look(tissue="blood-clot"),
    "acute-infarct": Look(tissue="infarct", texture="patchy", default_mm=(34.0, 40.0, 30.0)),
    "chronic-infarct": Look(tissue="cyst", halo="edema", halo_mm=4.0, default_mm=(28.0, 30.0, 24.0)),
    "lacunar-infarct": Look(tissue="cyst", default_mm=(8.0, 8.0, 8.0)),
    "encephalomalacia": Look(tissue="cyst", halo="edema", halo_mm=5.0, default_mm=(30.0, 30.0, 26.0)),
    "restricted-diffusion": Look(tissue="infarct", default_mm=(18.0, 18.0, 16.0)),
    "meningioma": Look(tissue="enhancing", halo="edema", halo_mm=5.0),
    "glioma": Look(tissue="enhancing", core="necrosis", core_part=0.65, texture="lobed", halo="edema", halo_mm=14.0),
    "brain-metastasis": Look(tissue="enhancing", core="necrosis", core_part=0.45, halo="edema", halo_mm=10.0),
    "intracranial-mass": Look(tissue="enhancing", core="necrosis", core_part=0.4, halo="edema", halo_mm=8.0),
    "pituitary-adenoma": Look(tissue="tumor"),
    "vestibular-schwannoma": Look(tissue="enhancing"),
    "arachnoid-cyst": Look(tissue="csf"),
    "demyelinating-lesion": Look(tissue="edema", default_mm=(8.0, 10.0, 8.0)),
    "cerebral-microbleed": Look(tissue="hemosiderin", default_mm=(5.0, 5.0, 5.0)),
    "cerebral-aneurysm": Look(tissue="vessel"),
    "cavernous-malformation": Look(
        tissue="blood-clot", core="enhancing", core_part=0.5, halo="hemosiderin", halo_mm=2.5
    ),
    "developmental-venous-anomaly": Look(tissue="vessel", default_mm=(4.0, 4.0, 18.0)),
    "hyperdense-vessel": Look(tissue="blood-clot", default_mm=(14.0, 4.0, 4.0)),
    "skull-fracture": Look(tissue="muscle", default_mm=(8.0, 2.0, 24.0)),
    "mesial-temporal-sclerosis": Look(tissue="edema", default_mm=(8.0, 18.0, 8.0)),
    # knee
    "parameniscal-cyst": Look(tissue="joint-fluid"),
    "baker-cyst": Look(tissue="joint-fluid"),
    "bone-marrow-lesion": Look(tissue="marrow-edema", texture="patchy", default_mm=(18.0, 18.0, 16.0)),
    "osteochondral-lesion": Look(tissue="marrow-edema", core="joint-fluid", core_part=0.4),
    "subchondral-cyst": Look(tissue="joint-fluid"),
    "focal-cartilage-defect": Look(tissue="joint-fluid", default_mm=(9.0, 9.0, 4.0)),
    "cartilage-loss": Look(tissue="joint-fluid", default_mm=(16.0, 18.0, 4.0)),
    "loose-body": Look(tissue="cortex"),
    "knee-fracture": Look(tissue="marrow-edema", core="joint-fluid", core_part=0.2, default_mm=(26.0, 26.0, 20.0)),
    "medial-meniscal-tear": Look(tissue="joint-fluid", default_mm=(9.0, 3.0, 3.0)),
    "lateral-meniscal-tear": Look(tissue="joint-fluid", default_mm=(9.0, 3.0, 3.0)),
    "meniscal-degeneration": Look(tissue="scar", default_mm=(8.0, 6.0, 2.5)),
    "anterior-cruciate-ligament-tear": Look(tissue="edema", texture="patchy", default_mm=(9.0, 14.0, 16.0)),
    "anterior-cruciate-ligament-sprain": Look(tissue="edema", texture="patchy", default_mm=(6.0, 8.0, 10.0)),
    "posterior-cruciate-ligament-tear": Look(tissue="edema", texture="patchy", default_mm=(9.0, 12.0, 14.0)),
    "medial-collateral-ligament-sprain": Look(tissue="edema", default_mm=(5.0, 14.0, 30.0)),
    "lateral-collateral-ligament-sprain": Look(tissue="edema", default_mm=(5.0, 10.0, 24.0)),
    "patellar-tendinosis": Look(tissue="edema", default_mm=(9.0, 4.0, 12.0)),
    "quadriceps-tendon-tear": Look(tissue="joint-fluid", default_mm=(12.0, 5.0, 10.0)),
    "chondromalacia-patellae": Look(tissue="edema", default_mm=(14.0, 3.0, 12.0)),
}
"""Focal findings by key of the ontology."""
