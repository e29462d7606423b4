"""RadGraph F1 of two reports, from the annotations that the RadGraph model made of them elsewhere.

An annotation lists the entities of a report, each with its words, a label (what it is, and whether it is
present, absent or uncertain) and relations to other entities (modify, located_at, suggestive_of). It has the
layout of the RadGraph data set (Jain et al., arXiv 2106.14463), which the package ``radgraph`` writes, too.

Four F1 are in use, all between sets, so that what a report says twice counts once, and each the mean over
reports. RG_E, RG_ER and RG_ER-bar are the rewards of Delbrouck et al. (EMNLP Findings 2022), computed as
in the package ``radgraph``, where they are called simple, partial and complete; the fourth is the "RadGraph F1"
of Yu et al. (Patterns 2023). A report without an entity scores 0, even against another one without any.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osler.errors import FileFormatError, RequestError

_LAYOUT = (
    'An object from each key to {"text": "...", "entities": {"1": {"tokens": "...", "label": "...", '
    '"relations": [["located_at", "2"]]}}}.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """What a report names.

    Args:
        tokens: Its words. label: Such as ``"OBS-DA"``, an observation that is definitely absent.
        relations: Names of relations, each with the key of the entity that it leads to.
    """

    tokens: str
    label: str
    relations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportGraph:
    """The entities of one report by their keys; none in an empty report.

    Args:
        text: The report as it was annotated.
        entities: By key.
    """

    text: str = ""
    entities: Mapping[str, Entity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the F1 that go by the name.

    Args:
        name: In tables. field: In rows.
        parts: What is compared of a graph; of several sets the mean of their F1 is taken.
    """

    name: str
    field: str
    parts: tuple[Callable[[ReportGraph], Set[tuple[object, ...]]], ...]


def _entities(graph: ReportGraph) -> Set[tuple[object, ...]]:
    return {(one.tokens, one.label) for one in graph.entities.values()}


def _entities_with_relation(graph: ReportGraph) -> Set[tuple[object, ...]]:
    return {(one.tokens, one.label, bool(one.relations)) for one in graph.entities.values()}


def _entities_by_relation(graph: ReportGraph) -> Set[tuple[object, ...]]:
    """As the package has it: words of related entities in lower case, those of others as they are."""
    found: set[tuple[object, ...]] = set()
    for one in graph.entities.values():
        if not one.relations:
            found.add((one.tokens, one.label))
        for relation, target in one.relations:
            found.add((one.tokens.lower(), one.label, relation, graph.entities[target].tokens.lower()))
    return found


def _relations(graph: ReportGraph) -> Set[tuple[object, ...]]:
    return {
        ((one.tokens, one.label), (graph.entities[target].tokens, graph.entities[target].label), relation)
        for one in graph.entities.values()
        for relation, target in one.relations
    }


VARIANTS = (
    Variant(name="RadGraph F1 (RG_ER)", field="rg_er", parts=(_entities_with_relation,)),
    Variant(name="RadGraph F1 (entities and relations)", field="rg_mean", parts=(_entities, _relations)),
    Variant(name="RadGraph F1 (RG_E)", field="rg_e", parts=(_entities,)),
    Variant(name="RadGraph F1 (RG_ER-bar)", field="rg_er_bar", parts=(_entities_by_relation,)),
)
"""In the order of likelihood of being the figure of MedGemma's reports (docs/how-to/evaluate-a-model.md says why)."""


def radgraph_f1(said: ReportGraph, truth: ReportGraph, *, variant: Variant) -> float:
    """Compares the report of a model with that of a radiologist, 0 to 1.

    Example:
        >>> effusion = Entity(tokens="effusion", label="OBS-DA")
        >>> one = ReportGraph(entities={"1": effusion, "2": Entity(tokens="lungs", label="ANAT-DP")})
        >>> other = ReportGraph(entities={"1": effusion})
        >>> round(radgraph_f1(one, other, variant=VARIANTS[0]), 3)
        0.667

    Args:
        said: Annotations of the model's report. truth: Of the radiologist's.
        variant: Which F1.
    """
    return sum(_set_f1(part(said), part(truth)) for part in variant.parts) / len(variant.parts)


def _set_f1(said: Set[tuple[object, ...]], truth: Set[tuple[object, ...]]) -> float:
    return 2 * len(said & truth) / (len(said) + len(truth)) if said or truth else 0.0


def report_key(text: str) -> str:
    """Names a report by its words, so that annotations cannot be taken for those of another one."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keyed_reports(texts: Iterable[str]) -> dict[str, str]:
    """Reports to annotate by key, each once; an empty one needs no annotation."""
    return {report_key(text): text for text in texts if text.strip()}


def read_annotations(path: str | Path) -> dict[str, ReportGraph]:
    """Reads a JSON file of annotations.

    Args:
        path: An object from keys (see `report_key`) to annotations.

    Raises:
        RequestError: If there is no such file.
        FileFormatError: If it is not what RadGraph writes.
    """
    path = Path(path).expanduser()
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(
            f"Cannot read RadGraph annotations from {str(path)!r}: {error.strerror or type(error).__name__}.",
            allowed="A JSON file.",
            next_step="Name another one with --radgraph; docs/how-to/evaluate-a-model.md says how to make it.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path.name} is no JSON: {error}.", allowed=_LAYOUT) from error
    if not isinstance(record, dict):
        raise FileFormatError(f"{path.name} holds a {type(record).__name__}.", allowed=_LAYOUT)
    return {key: _graph(entry, key=key, file=path.name) for key, entry in record.items()}


def _graph(entry: Any, *, key: str, file: str) -> ReportGraph:
    try:
        entities = {
            name: Entity(
                tokens=_text(one["tokens"]),
                label=_text(one["label"]),
                relations=tuple((_text(relation), _text(target)) for relation, target in one["relations"]),
            )
            for name, one in entry["entities"].items()
        }
        text = _text(entry["text"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"{file}: the annotation of {key!r} is not RadGraph's.", allowed=_LAYOUT) from error
    for name, one in entities.items():
        for _, target in one.relations:
            if target not in entities:
                raise FileFormatError(
                    f"{file}: entity {name!r} of {key!r} is related to {target!r}, which is none.", allowed=_LAYOUT
                )
    return ReportGraph(text=text, entities=entities)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def graphs_of(texts: Iterable[str], annotations: Mapping[str, ReportGraph]) -> dict[str, ReportGraph]:
    """The annotation of each report, by its words.

    Args:
        texts: Reports.
        annotations: From `read_annotations`.

    Raises:
        FileFormatError: If some have none, or that of another report.
    """
    wanted = keyed_reports(texts)
    absent = [key for key in wanted if key not in annotations]
    if absent:
        raise FileFormatError(
            f"{len(absent)} of {len(wanted)} reports have no RadGraph annotation, such as {absent[0]!r}.",
            allowed="One for each report; where RadGraph fails on one, an annotation without entities.",
        )
    for key, text in wanted.items():
        if _letters(annotations[key].text) != _letters(text):
            raise FileFormatError(
                f"The RadGraph annotation of {key!r} is that of another report.",
                allowed='An annotation whose "text" is the report of the same key, its tokens apart.',
            )
    found = {text: annotations[key] for key, text in wanted.items()}
    return {text: found.get(text, ReportGraph()) for text in {*texts}}


def _letters(text: str) -> str:
    """What tokenizers leave of a text: they part words from marks."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
