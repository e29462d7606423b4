"""Tissues and organ labels of the phantoms, and the HU of tissues in CT.

HU come from measurements on the training CTs (see ``ct_tissues.csv`` beside this file
for counts, quartiles and licences) where the masks name the organ, else from
textbook ranges (Hounsfield units of body tissues at 120 kVp).
"""

from __future__ import annotations

from collections.abc import Mapping

ORGANS = (
    "background", "body", "fat", "muscle", "right-lung", "left-lung", "trachea", "heart", "aorta",
    "pulmonary-artery", "vena-cava", "esophagus", "thyroid", "mediastinum", "ribs", "spine", "sternum",
    "clavicles", "scapulae", "humeri", "liver", "gallbladder", "spleen", "pancreas", "stomach",
    "right-kidney", "left-kidney", "adrenals", "bladder", "colon", "small-bowel", "pelvis", "prostate",
    "uterus", "ovaries", "psoas", "brain", "white-matter", "cerebellum", "brainstem", "ventricles", "csf",
    "basal-ganglia", "thalamus", "right-hippocampus", "left-hippocampus", "skull", "sinuses", "eyes",
    "femur", "tibia", "fibula", "patella", "menisci", "ligaments", "cartilage", "joint-space",
)  # fmt: skip
LABELS: Mapping[str, int] = {name: number for number, name in enumerate(ORGANS)}

CT_HU: Mapping[str, float] = {
    "air": -1000, "skin": 20, "fat": -100, "muscle": 52, "lung": -850, "airway": -980, "blood": 42,
    "heart": 40, "mediastinum": -40, "esophagus": 35, "thyroid": 95, "cortex": 750, "marrow": 190, "disc": 75,
    "canal": 25, "cartilage": 90, "liver": 56, "bile": 8, "spleen": 48, "pancreas": 38, "stomach-wall": 40,
    "stomach-fluid": 12, "gas": -960, "kidney": 32, "medulla": 30, "urine": 5, "adrenal": 25, "bowel-wall": 40,
    "bowel": 18, "stool": -20, "prostate": 42, "uterus": 48, "ovary": 28, "vessel": 42, "gray-matter": 38,
    "white-matter": 28, "csf": 6, "deep-gray": 37, "cerebellum": 36, "brainstem": 31, "dura": 60, "eye": 12,
    "lens": 75, "table": -300, "pleural-fluid": 8, "blood-clot": 68, "calcium": 450, "stone": 700, "metal": 3000,
    "ligament": 75, "meniscus": 85, "joint-fluid": 12, "tendon": 80, "nerve": 30, "hippocampus": 37,
    "tumor": 38, "edema": 20, "necrosis": 15, "cyst": 5, "infarct": 20, "ground-glass": -560,
    "consolidation": 30, "emphysema": -970, "nodule": 35, "scar": 30, "enhancing": 42, "abscess": 20,
    "hemangioma": 45, "adenoma": 5, "edema-fat": -60, "hemosiderin": 60, "marrow-edema": 230,
}  # fmt: skip

PHASES: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "arterial": {
        "blood": 280, "heart": 200, "vessel": 250, "liver": 75, "spleen": 120, "kidney": 150, "medulla": 60,
        "pancreas": 100, "thyroid": 180, "muscle": 58, "stomach-wall": 80, "bowel-wall": 75, "tumor": 75,
        "enhancing": 140, "adrenal": 60, "uterus": 90, "prostate": 60,
    },
    "pulmonary": {
        "blood": 300, "heart": 260, "vessel": 330, "liver": 60, "spleen": 70, "kidney": 80, "thyroid": 150,
        "tumor": 60, "enhancing": 100,
    },
    "portal-venous": {
        "blood": 155, "heart": 150, "vessel": 160, "liver": 110, "spleen": 125, "kidney": 180, "medulla": 150,
        "pancreas": 95, "thyroid": 140, "muscle": 62, "stomach-wall": 85, "bowel-wall": 85, "tumor": 70,
        "enhancing": 110, "adrenal": 60, "uterus": 105, "prostate": 70,
    },
}  # fmt: skip
"""HU that contrast changes, by phase."""


def ct_palette(contrast: str | None) -> dict[str, float]:
    """HU of every tissue in a phase: ``"none"``, ``"arterial"``, ``"pulmonary"`` or ``"portal-venous"``."""
    return {**CT_HU, **PHASES.get(contrast or "none", PHASES["portal-venous"])}
