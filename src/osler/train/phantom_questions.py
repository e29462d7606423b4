"""Questions on synthetic volumes whose answers lie in the label maps and need more than one slice, or millimeters.

Kinds: what it is (`osler.train.answers`), whether an organ or a finding is in the volume, in which third of the
slices an organ lies, on which side a finding lies, how long an organ is, and how far the slices reach. Answers are
short. Wordings of kept-out patients are never those of training (but for what the volume is).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.synth.phantoms.organs import ORGAN_CODES

Kind = Literal["organ", "finding", "third", "side", "length", "reach"]

KINDS: tuple[Kind, ...] = ("organ", "finding", "third", "side", "length", "reach")
ORGANS_ASKED: Mapping[str, tuple[str, ...]] = {
    "trunk": ("heart", "liver", "spleen", "right-kidney", "left-kidney", "gallbladder", "bladder", "thyroid"),
    "head": ("cerebellum", "orbits", "ventricles", "sinuses", "hippocampus"),
}
THIRDS = ("First third.", "Middle third.", "Last third.")
_LEAST_VOXELS = 60
_SPREAD = 0.55
"""Share of the slices above which an organ lies in no third."""

WORDINGS: Mapping[Kind, tuple[str, ...]] = {
    "organ": (
        "Is the {x} in this volume?",
        "Do these slices show the {x}?",
        "Can you see the {x} here?",
        "Does the volume contain the {x}?",
    ),
    "finding": (
        "Is there {x} in this volume?",
        "Do the slices show {x}?",
        "Does this scan show {x}?",
        "Any sign of {x}?",
    ),
    "third": (
        "In which third of the slices does the {x} lie?",
        "Does the {x} lie in the first, middle or last third of the slices?",
        "Which third of the volume holds the {x}?",
        "Where along the slices is the {x}: first, middle or last third?",
    ),
    "side": (
        "On which side is the {x}?",
        "Is the {x} on the left or on the right?",
        "Which side does the {x} lie on?",
        "Left or right: where is the {x}?",
    ),
    "length": (
        "Is the {x} longer than {n} mm from top to bottom?",
        "Does the {x} measure more than {n} mm from head to foot?",
        "Is the height of the {x} more than {n} mm?",
    ),
    "reach": (
        "Do the slices reach over more than {n} mm?",
        "Does the volume cover more than {n} mm along its slices?",
        "From first to last slice, is it more than {n} mm?",
    ),
}
"""Of training; ``{x}`` is what is asked about, ``{n}`` millimeters."""

OTHER_WORDINGS: Mapping[Kind, tuple[str, ...]] = {
    "organ": ("I am looking for the {x}. Was it imaged?", "Has any part of the {x} been captured?"),
    "finding": ("Would a radiologist report {x} here?", "Tell me whether {x} can be found."),
    "third": (
        "Dividing the stack into three equal parts, which one has the {x}?",
        "Is the {x} near the beginning, in the middle or near the end of the stack?",
    ),
    "side": ("Name the side of the {x}.", "Does the {x} affect the patient's left or right?"),
    "length": ("Craniocaudally, does the {x} exceed {n} mm?", "Would a ruler show over {n} mm for the {x}'s height?"),
    "reach": ("Is the stack thicker than {n} mm altogether?", "Does the scanned range exceed {n} mm?"),
}
"""Of kept-out patients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFinding:
    """A finding that a volume shows; ``side`` is ``"left"``, ``"right"`` or empty, ``voxels`` its size here."""

    name: str
    side: str
    voxels: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenVolume:
    """What a volume shows.

    Args:
        body: ``"trunk"`` or ``"head"``.
        organs: Label map (slice, row, column), `osler.synth.phantoms.organs.ORGANS`.
        findings: That it shows. absent: Names of findings that it could show and does not.
        spacing_mm: Between slices.
        up_axis: Axis of the map that runs between feet and head. up_mm: From a voxel to the next one along it.
    """

    body: str
    organs: np.ndarray
    findings: tuple[SeenFinding, ...]
    absent: tuple[str, ...]
    spacing_mm: float
    up_mm: float
    up_axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that can be asked of a volume.

    Args:
        kind: Of the question. about: What ``{x}`` stands for.
        answer: Short; empty where it follows from ``value``.
        value: Millimeters of ``length`` and ``reach``, which are asked against the median of all volumes.
    """

    kind: Kind
    about: str
    answer: str = ""
    value: float = 0.0

    @property
    def group(self) -> tuple[str, ...]:
        """Facts whose answers are balanced together."""
        return (self.kind,) if self.kind in ("third", "side", "reach") else (self.kind, self.about)


def facts_of(volume: SeenVolume) -> list[Fact]:
    """Lists what can be asked of a volume."""
    facts = [Fact(kind="reach", about="", value=volume.organs.shape[0] * volume.spacing_mm)]
    for organ in ORGANS_ASKED[volume.body]:
        facts += _of_organ(volume, organ)
    for finding in volume.findings:
        if finding.voxels >= _LEAST_VOXELS:
            facts.append(Fact(kind="finding", about=finding.name, answer="Yes."))
    # A finding that is on both sides is on neither.
    by_name: dict[str, set[str]] = defaultdict(set)
    for finding in volume.findings:
        by_name[finding.name].add(finding.side if finding.voxels >= _LEAST_VOXELS else "?")
    for name, sides in by_name.items():
        if sides in ({"left"}, {"right"}):
            facts.append(Fact(kind="side", about=name, answer=f"{sides.pop().capitalize()} side."))
    shown = set(by_name)
    return facts + [Fact(kind="finding", about=name, answer="No.") for name in volume.absent if name not in shown]


def _of_organ(volume: SeenVolume, organ: str) -> list[Fact]:
    marked = volume.organs == ORGAN_CODES[organ]
    voxels, name = int(np.count_nonzero(marked)), organ.replace("-", " ")
    if voxels == 0:
        return [Fact(kind="organ", about=name, answer="No.")]
    if voxels < _LEAST_VOXELS:
        return []
    facts = [Fact(kind="organ", about=name, answer="Yes.")]
    slices = len(marked)
    each = marked.any((1, 2))
    center = (np.flatnonzero(each) + 0.5).mean() / slices
    third = int(center * 3)
    if each.mean() <= _SPREAD and min(abs(center - 1 / 3), abs(center - 2 / 3)) > 0.04:
        facts.append(Fact(kind="third", about=name, answer=THIRDS[third]))
    along = marked.any(tuple(axis for axis in range(3) if axis != volume.up_axis))
    if not (along[0] or along[-1]):  # cut off at an end it has no length
        used = np.flatnonzero(along)
        facts.append(Fact(kind="length", about=name, value=float(used[-1] - used[0] + 1) * volume.up_mm))
    return facts


def limits_of(facts: Iterable[Fact]) -> dict[tuple[str, ...], int]:
    """The millimeters that lengths are asked against: the median of each group, so that it tells nothing by itself."""
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for fact in facts:
        if fact.value:
            values[fact.group].append(fact.value)
    return {group: round(float(np.median(found))) for group, found in values.items()}


def settled(fact: Fact, *, limits: Mapping[tuple[str, ...], int]) -> Fact | None:
    """A fact with its answer; ``None`` for a length too near to what it is asked against to be seen."""
    if not fact.value:
        return fact
    limit = limits[fact.group]
    if abs(fact.value - limit) < 0.08 * limit:
        return None
    return Fact(kind=fact.kind, about=fact.about, value=fact.value, answer="Yes." if fact.value > limit else "No.")


def balanced(facts: Sequence[tuple[int, Fact]], *, most: int, rng: np.random.Generator) -> list[tuple[int, Fact]]:
    """Takes facts so that within a group every answer comes equally often, and no kind more than ``most`` times.

    Args:
        facts: With the number of their volume, settled. most: Of a kind.
        rng: Decides which.
    """
    groups: dict[tuple[str, ...], dict[str, list[tuple[int, Fact]]]] = defaultdict(lambda: defaultdict(list))
    for entry in facts:
        groups[entry[1].group][entry[1].answer].append(entry)
    kinds: dict[str, list[list[tuple[int, Fact]]]] = defaultdict(list)
    for group, answers in sorted(groups.items()):
        wanted = 3 if group[0] == "third" else 2
        if len(answers) < wanted:
            continue
        fewest = min(len(entries) for entries in answers.values())
        picked = [
            [entries[i] for i in rng.permutation(len(entries))[:fewest]] for _, entries in sorted(answers.items())
        ]
        # Rounds of one fact an answer, so that what is cut off is balanced too.
        kinds[group[0]] += [list(turn) for turn in zip(*picked, strict=True)]
    taken: list[tuple[int, Fact]] = []
    for rounds in kinds.values():
        room = most
        for index in rng.permutation(len(rounds)):
            if room >= len(rounds[index]):
                taken += rounds[index]
                room -= len(rounds[index])
    return taken


def wording(fact: Fact, *, limits: Mapping[tuple[str, ...], int], kept_out: bool, rng: np.random.Generator) -> str:
    """Words a question on a fact."""
    template = str(rng.choice((OTHER_WORDINGS if kept_out else WORDINGS)[fact.kind]))
    return template.replace("{x}", fact.about).replace("{n}", str(limits.get(fact.group, "")))
