"""The findings that can be asked for: names, codes, and on which modalities of which regions they are seen.

The list is the ontology of the synthetic patients (`osler.synth.ontology`; a test keeps the two equal). A code
stands there only where it was checked.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from osler.errors import unknown_name

_SAME = {"CR": "DX", "DR": "DX", "RG": "DX"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingName:
    """One finding.

    Args:
        key: Such as ``"pleural-effusion"``.
        name: As a radiologist says it.
        code: SNOMED CT, else RadLex (``RID...``); may be empty.
        where: Pairs of a DICOM modality and a body region.
    """

    key: str
    name: str
    code: str
    where: frozenset[tuple[str, str]]


@functools.cache
def finding_names() -> tuple[FindingName, ...]:
    """Returns all findings, in the order of the ontology."""
    entries = json.loads((files("osler.prepare") / "finding_names.json").read_text(encoding="utf-8"))
    return tuple(
        FindingName(
            key=entry["key"],
            name=entry["name"],
            code=entry["snomed"] or entry["radlex"],
            where=frozenset((place.split()[0], place.split()[1]) for place in entry["where"]),
        )
        for entry in entries
    )


def findings_for(*, modalities: Iterable[str], regions: Iterable[str]) -> tuple[FindingName, ...]:
    """Returns the findings that are seen on given modalities of given regions; an empty choice means any."""
    kinds = {_SAME.get(modality, modality) for modality in modalities if modality}
    places = set(regions)
    return tuple(
        finding
        for finding in finding_names()
        if any((not kinds or kind in kinds) and (not places or place in places) for kind, place in finding.where)
    )


def named_findings(names: Sequence[str]) -> tuple[FindingName, ...]:
    """Looks findings up by name or key, whatever the case.

    Raises:
        RequestError: If one is unknown; the nearest name is given.
    """
    known = {finding.name.casefold(): finding for finding in finding_names()}
    known |= {finding.key: finding for finding in finding_names()}
    found = []
    for name in names:
        tidy = " ".join(name.split()).casefold()
        if tidy not in known:
            near = unknown_name("finding", name=tidy, known=[finding.name for finding in finding_names()])
            raise type(near)(near.problem, allowed="`osler findings --list` names them all.", next_step=near.next_step)
        found.append(known[tidy])
    return tuple(dict.fromkeys(found))
