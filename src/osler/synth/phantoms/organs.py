"""Numbers of the organs in a phantom's label map; 0 is what lies outside."""

from __future__ import annotations

ORGANS: tuple[str, ...] = (
    "outside", "table", "fat", "muscle", "skin", "breast", "right-lung", "left-lung", "airways", "mediastinum",
    "heart", "aorta", "pulmonary-artery", "veins", "esophagus", "thyroid", "ribs", "spine", "sternum", "clavicles",
    "scapulae", "humeri", "spinal-canal", "liver", "gallbladder", "bile-ducts", "spleen", "pancreas", "adrenals",
    "right-kidney", "left-kidney", "ureters", "bladder", "stomach", "small-bowel", "colon", "uterus", "ovaries",
    "prostate", "pelvis", "femora", "peritoneum", "portal-vein", "pleural-space", "pericardium", "devices",
    "scalp", "skull", "csf", "gray-matter", "white-matter", "ventricles", "deep-gray", "thalamus", "hippocampus",
    "cerebellum", "brainstem", "sinuses", "orbits", "arteries", "sella", "face",
    "femur", "tibia", "fibula", "patella", "cartilage", "menisci", "ligaments", "joint-space", "fat-pad",
)  # fmt: skip
ORGAN_CODES: dict[str, int] = {name: code for code, name in enumerate(ORGANS)}
