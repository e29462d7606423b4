"""How much more or less often pictures of a kind are taken than others."""

from __future__ import annotations

from dataclasses import dataclass

from osler.train.pictures import Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Emphasis:
    """Relative chances of rendered pictures; all ones takes them as they come.

    Args:
        xray: X-rays. vqa_sections: CT and MR pictures of VQA-RAD. reformats: Coronal and sagittal
            sections. other: The rest.
    """

    xray: float = 1.0
    vqa_sections: float = 1.0
    reformats: float = 1.0
    other: float = 1.0

    def of(self, labels: Labels, *, source: str) -> float:
        """The relative chance of a picture."""
        if labels.modality == "xray":
            return self.xray
        if source == "vqa-rad":
            return self.vqa_sections
        return self.reformats if labels.plane in ("coronal", "sagittal") else self.other
