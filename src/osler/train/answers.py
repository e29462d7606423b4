"""What the answer to a question about a picture is, in a short sentence, from its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.train.pictures import Labels
from osler.train.questions import (
    ASK,
    CHOICE,
    CLOSINGS,
    OPENINGS,
    SINGLE_NOUNS,
    VOLUME_NOUNS,
    YES_NO_MODALITY,
    YES_NO_PLANE,
    YES_NO_REGION,
    Kind,
)

MODALITY_NAMES = {
    "ct": ("a CT scan", "a CT scan", "a computed tomography (CT) scan"),
    "mr": ("an MRI scan", "an MRI scan", "a magnetic resonance (MRI) scan"),
    "xray": ("an X-ray", "an X-ray", "an X-ray (radiograph)"),
    "pathology": ("a pathology slide", "a pathology slide", "a pathology (histology) slide"),
}
SHORT_MODALITY = {"ct": "CT", "mr": "MRI", "xray": "X-ray", "pathology": "pathology"}
REGION_NAMES = {
    "head": "head (brain)",
    "neck": "neck",
    "chest": "chest",
    "abdomen": "abdomen",
    "pelvis": "pelvis, in the lower abdomen",
    "chest-abdomen": "chest and abdomen",
    "abdomen-pelvis": "abdomen and pelvis",
}
SEQUENCE_NAMES = {
    "t1": "T1-weighted",
    "t1c": "contrast-enhanced T1-weighted",
    "t2": "T2-weighted",
    "flair": "FLAIR",
    "dwi": "diffusion-weighted",
}
KIND_WEIGHTS: dict[Kind, float] = {
    "modality": 0.17,
    "region": 0.17,
    "plane": 0.21,
    "all": 0.13,
    "describe": 0.17,
    "modality-region": 0.08,
    "region-plane": 0.07,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: str


def ask_about(labels: Labels, *, form: str, rng: np.random.Generator) -> Exchange:
    """Draws a question on a picture or a volume, and answers it.

    Args:
        labels: What is shown.
        form: ``"picture"`` or ``"volume"``.
        rng: Decides wording and kind.
    """
    noun = str(rng.choice(SINGLE_NOUNS if form == "picture" else VOLUME_NOUNS))
    if labels.modality == "blank":
        return Exchange(question=dress(_any_question(rng), noun=noun, rng=rng), answer=str(rng.choice(BLANK_ANSWERS)))
    draw = rng.random()
    if draw < 0.72:
        kinds = list(KIND_WEIGHTS)
        weights = np.array(list(KIND_WEIGHTS.values()))
        kind: Kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        question = str(rng.choice(ASK[kind]))
        answer = open_answer(labels, kind=kind, form=form, rng=rng)
    elif draw < 0.88:
        question, answer = _yes_no(labels, form=form, rng=rng)
    else:
        question, answer = _choice(labels, form=form, rng=rng)
    return Exchange(question=dress(question, noun=noun, rng=rng), answer=answer)


def _any_question(rng: np.random.Generator) -> str:
    """An open, a yes-or-no or a choice question, whatever the picture shows."""
    draw = rng.random()
    if draw < 0.8:
        return str(rng.choice(ASK[str(rng.choice(list(ASK)))]))  # type: ignore[index]
    if draw < 0.92:
        templates, words = (
            (YES_NO_MODALITY, tuple(names[0] for names in MODALITY_NAMES.values())),
            (YES_NO_REGION, ("head", "chest", "abdomen", "pelvis", "knee")),
            (YES_NO_PLANE, ("axial", "coronal", "sagittal", "frontal", "lateral")),
        )[int(rng.integers(3))]
        return str(rng.choice(templates)).replace("{x}", str(rng.choice(words)))
    first, second = rng.choice(list(SHORT_MODALITY.values()), size=2, replace=False)
    template = str(rng.choice(CHOICE))
    return template.replace("{q}", "What modality is it?").replace("{a}", str(first)).replace("{b}", str(second))


def dress(question: str, *, noun: str, rng: np.random.Generator) -> str:
    """Fills in the noun, puts polite words around, and varies case and marks."""
    text = question.replace("{n}", noun)
    text = str(rng.choice(OPENINGS)) + text + str(rng.choice(CLOSINGS))
    draw = rng.random()
    if draw < 0.08:
        return text.lower()
    if draw < 0.12:
        return text.rstrip("?.")
    if draw < 0.14:
        return text.upper()
    return text


def modality_name(labels: Labels, *, rng: np.random.Generator) -> str:
    """``"a CT scan"``."""
    return str(rng.choice(MODALITY_NAMES[labels.modality]))


def plane_phrase(labels: Labels, *, form: str) -> str:
    """How it is oriented, as a noun phrase, or empty where there is no such thing."""
    if labels.plane == "none":
        return ""
    if labels.plane == "frontal":
        return f"a frontal ({labels.view.upper()}) view" if labels.view != "none" else "a frontal view"
    if labels.plane == "lateral":
        return "a lateral view"
    article = "an" if labels.plane == "axial" else "a"
    return f"{labels.plane} slices" if form == "volume" else f"{article} {labels.plane} slice"


def region_phrase(labels: Labels) -> str:
    """``"the chest"``, with the structure where one fills the picture."""
    name = REGION_NAMES[labels.region]
    return f"the {name}, around the {labels.detail}" if labels.detail else f"the {name}"


BLANK_ANSWERS = (
    "The image is blank, so I cannot tell.",
    "I see nothing in this image; it is blank.",
    "There is no image content here that I can recognize.",
)
TISSUE_REGION = (
    "This is tissue under a microscope; the body region cannot be told from it.",
    "It shows stained tissue; I cannot tell the body region.",
)
TISSUE_PLANE = (
    "This is a microscope field of stained tissue; it has no anatomical plane.",
    "It is a tissue section under a microscope, without an anatomical plane.",
)


def open_answer(labels: Labels, *, kind: Kind, form: str, rng: np.random.Generator) -> str:
    """Answers an open question on a picture that shows something."""
    name = modality_name(labels, rng=rng)
    if labels.modality == "pathology":
        return _tissue_answer(name, kind=kind, rng=rng)
    region, plane = region_phrase(labels), plane_phrase(labels, form=form)
    sequence = SEQUENCE_NAMES.get(labels.sequence, "")
    joined = f", {plane}" if plane else ""
    if kind == "modality":
        return str(rng.choice([f"This is {name}.", f"This is {name}.", f"It is {name}."]))
    if kind == "region":
        return str(rng.choice([f"This shows {region}.", f"This is {region}.", f"The body region is {region}."]))
    if kind == "plane":
        if not plane:
            return "I cannot tell the orientation."
        lead = "These are" if plane.endswith("slices") else "This is"
        return f"{lead} {plane}."
    if kind == "modality-region":
        return f"This is {name} of {region}."
    if kind == "region-plane":
        return f"This shows {region}{joined}."
    if kind == "describe" and sequence and rng.random() < 0.35:
        return f"This is {name} of {region}{joined}, {sequence}."
    return f"This is {name} of {region}{joined}."


def _tissue_answer(name: str, *, kind: Kind, rng: np.random.Generator) -> str:
    if kind in ("region", "region-plane"):
        return str(rng.choice(TISSUE_REGION))
    if kind == "plane":
        return str(rng.choice(TISSUE_PLANE))
    if kind == "modality":
        return f"This is {name}."
    return f"This is {name}: stained tissue under a microscope."


def _yes_no(labels: Labels, *, form: str, rng: np.random.Generator) -> tuple[str, str]:
    truth = bool(rng.random() < 0.5)
    facet = str(rng.choice(["modality", "region", "plane"]))
    name = modality_name(labels, rng=rng)
    if facet == "modality" or labels.modality == "pathology":
        asked = labels.modality if truth else str(rng.choice([m for m in MODALITY_NAMES if m != labels.modality]))
        question = str(rng.choice(YES_NO_MODALITY)).replace("{x}", str(rng.choice(MODALITY_NAMES[asked])))
        return question, f"{'Yes' if truth else 'No'}, this is {name}."
    if facet == "region":
        return _yes_no_region(labels, truth=truth, rng=rng)
    choices = ["axial", "coronal", "sagittal", "frontal", "lateral"]
    asked = labels.plane if truth else str(rng.choice([p for p in choices if p != labels.plane]))
    question = str(rng.choice(YES_NO_PLANE)).replace("{x}", asked)
    plane = plane_phrase(labels, form=form)
    lead = "these are" if plane.endswith("slices") else "this is"
    return question, f"{'Yes' if truth else 'No'}, {lead} {plane}."


_PARTS = {
    "head": ("head", "brain"),
    "neck": ("neck",),
    "chest": ("chest", "thorax"),
    "abdomen": ("abdomen", "belly"),
    "pelvis": ("pelvis",),
    "chest-abdomen": ("chest", "abdomen"),
    "abdomen-pelvis": ("abdomen", "pelvis"),
}


def _yes_no_region(labels: Labels, *, truth: bool, rng: np.random.Generator) -> tuple[str, str]:
    here = set(_PARTS[labels.region])
    near = here | ({"abdomen", "belly"} if labels.region in ("pelvis", "chest-abdomen") else set())
    others = [p for parts in _PARTS.values() for p in parts if p not in near] + ["knee", "hand", "foot", "shoulder"]
    asked = str(rng.choice(sorted(here) if truth else others))
    question = str(rng.choice(YES_NO_REGION)).replace("{x}", asked)
    return question, f"{'Yes' if truth else 'No'}, this shows {region_phrase(labels)}."


def _choice(labels: Labels, *, form: str, rng: np.random.Generator) -> tuple[str, str]:
    facets = ["modality"] if labels.modality == "pathology" else ["modality", "region", "plane"]
    facet = str(rng.choice(facets))
    if facet == "modality":
        right, others = SHORT_MODALITY[labels.modality], list(SHORT_MODALITY.values())
        answer, stem = f"This is {modality_name(labels, rng=rng)}.", "What modality is it?"
    elif facet == "region":
        right, others = str(rng.choice(_PARTS[labels.region])), ["head", "chest", "abdomen", "neck", "knee", "hand"]
        if labels.region in ("pelvis", "chest-abdomen", "abdomen-pelvis"):
            others = ["head", "neck", "knee", "hand"]
        answer, stem = f"This shows {region_phrase(labels)}.", "Which body part is it?"
        others = [o for o in others if o not in _PARTS[labels.region]]
    else:
        right, others = labels.plane, ["axial", "coronal", "sagittal", "frontal", "lateral"]
        if labels.plane == "frontal" and labels.view != "none" and rng.random() < 0.7:
            right, others = labels.view.upper(), ["AP", "PA"]
        plane = plane_phrase(labels, form=form)
        lead = "These are" if plane.endswith("slices") else "This is"
        answer, stem = f"{lead} {plane}.", "Which view or plane is it?"
    wrong = str(rng.choice([o for o in others if o != right]))
    first, second = (right, wrong) if rng.random() < 0.5 else (wrong, right)
    template = str(rng.choice(CHOICE))
    return template.replace("{q}", stem).replace("{a}", first).replace("{b}", second), answer
