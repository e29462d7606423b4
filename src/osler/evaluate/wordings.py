"""Wordings of questions that training never sees, written apart from `osler.train.questions`.

`questions` crosses cores with frames into several hundred different wordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Asked = Literal["modality", "region", "plane", "all", "text"]

CORES: dict[Asked, tuple[str, ...]] = {
    "modality": (
        "Through what imaging modality was this obtained?",
        "Could you name the scanner type behind this?",
        "Is what I see radiography, tomography, magnetic resonance or histology?",
        "Say whether we deal with CT, MR, plain radiography or a microscope slide.",
        "I'd like to learn the acquisition technique.",
        "Please specify the imaging type used.",
        "Would you identify the kind of scan, please?",
        "What is the technical term for this sort of imaging?",
        "Under which modality would an archive file this?",
        "Which device category recorded these pixels?",
        "So, what modality do we have?",
        "Your guess at the imaging technique?",
        "A student asks: which modality is it?",
    ),
    "region": (
        "Could you point out which part of the human body we see?",
        "Which portion of the anatomy was captured?",
        "What bodily region has been imaged?",
        "I wonder what body part was put in the scanner.",
        "Please specify the anatomical area.",
        "Would you identify the body region, please?",
        "Which area of the patient is displayed?",
        "Under which body part would an archive file this?",
        "So, which region of the body do we have?",
        "Your guess at the anatomy?",
        "A student asks: which body region is it?",
        "Is it a head, a chest, a belly or something else?",
        "To which anatomical compartment does it belong?",
    ),
    "plane": (
        "In which anatomical plane or projection was it acquired?",
        "Could you name the orientation of the cut or the view?",
        "Please specify the view or the slice orientation.",
        "Would you identify the orientation, please?",
        "Which of the standard planes or views do we have?",
        "I wonder about the orientation of this one.",
        "Under which orientation would an archive file this?",
        "So, what is the plane or the projection?",
        "Your guess at the orientation?",
        "A student asks: which plane or view is it?",
        "Seen from where, or cut along which plane?",
        "Is it cut axially, coronally, sagittally, or is it a frontal or lateral projection?",
    ),
    "all": (
        "Walk me through what this is.",
        "What would you write in the first line of a report?",
        "Sum up technique, anatomy and orientation.",
        "Could you characterize this in a single phrase?",
        "Put into words what lies in front of you.",
        "I just opened this file. What is it?",
        "How would you label this for a teaching collection?",
        "Mention technique, body part and orientation.",
        "What's going on in this one?",
        "Say in plain words what I have here.",
        "Provide an impression.",
        "Tell a colleague on the phone what this is.",
    ),
    "text": (
        "Why do we use contrast agents?",
        "What happens in the lungs when we breathe in?",
        "Which vessel brings blood back to the heart?",
        "How does a fever start?",
        "What do the kidneys do all day?",
        "Name one cause of chest pain.",
        "Why is bone bright on radiographs?",
        "What is a stethoscope for?",
        "Should I double my blood pressure pills?",
        "Who made you and what for?",
        "What is the difference between a vein and an artery?",
        "How often should one wash hands?",
        "Is a tumor always cancer?",
    ),
}
FRAMES = (
    "{q}",
    "Good evening! {q}",
    "{q} I am in a hurry.",
    "Sorry to bother you, but {q}",
    "Without much detail: {q}",
    "{q} Take your time.",
    "As a medical student I ask: {q}",
    "{q} (one sentence is enough)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """A question nobody trained on, and what it asks about."""

    asked: Asked
    text: str


def questions(*, asked: Asked | None = None) -> tuple[Wording, ...]:
    """All unseen wordings, or those that ask about one thing."""
    kinds = [asked] if asked is not None else list(CORES)
    return tuple(
        Wording(asked=kind, text=frame.replace("{q}", core))
        for frame in FRAMES
        for kind in kinds
        for core in CORES[kind]
    )
