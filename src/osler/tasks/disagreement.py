"""Where an answer and the headers of the files differ: one of the two is wrong, and the user should know."""

from __future__ import annotations

import re
from collections.abc import Iterator

from osler.prepare.scope import kinds_of, named_kinds, named_parts, part_is_shown, shown_regions
from osler.study import Study

_PLANES = ("axial", "coronal", "sagittal")
_NOT = re.compile(r"\b(?:no|not|nor|neither|never|without|cannot)\b|n't\b", re.IGNORECASE)


def disagreements(text: str, *, study: Study) -> Iterator[str]:
    """Compares the modality, body part and plane of an answer with what the files say.

    What the files leave open is not compared, nor is an answer with a negation: "no CT" names
    a CT rightly.

    Args:
        text: Of an answer.
        study: What was asked about.

    Yields:
        One sentence for each difference.
    """
    if _NOT.search(text):
        return
    series = tuple(study.series())
    seen, told = named_kinds(text), kinds_of([entry.modality for entry in series])
    if seen and told and not seen & told:
        yield f"The model sees {' and '.join(sorted(seen))}, the files say {' and '.join(sorted(told))}."
    told_regions = shown_regions(study)
    regions = frozenset().union(*told_regions)
    parts = named_parts(text) if all(told_regions) else ()
    if parts and regions and not any(part_is_shown(part, regions=regions) for part in parts):
        yield f"The model sees {' and '.join(parts)}, the files say the {' and '.join(sorted(regions))}."
    planes = {volume.plane for volume in study.volumes()}
    cuts = {plane for plane in _PLANES if plane in text.lower()}
    if planes and cuts and not cuts & planes:
        yield f"The model sees {' and '.join(sorted(cuts))} slices, the files say {' and '.join(sorted(planes))}."
