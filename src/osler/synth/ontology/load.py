"""Reads and checks the files of the ontology."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import Any, get_args

from osler.errors import ModelError
from osler.synth.anatomy import Site, sites
from osler.synth.facts import Sex
from osler.synth.ontology.types import (
    Activity,
    ConditionEntry,
    Course,
    Finding,
    Indication,
    LabEntry,
    Measure,
    MedicationEntry,
    Ontology,
    Panel,
    Pathway,
    Prevalence,
    Protocol,
)

FINDING_FILES = (
    "findings_chest",
    "findings_abdomen",
    "findings_head",
    "findings_knee",
    "findings_histology",
)


@cache
def load_ontology() -> Ontology:
    """Loads and checks the ontology.

    Raises:
        ModelError: If the files of the installation do not fit together.
    """
    every_site = sites()
    ontology = Ontology(
        findings=tuple(
            finding for name in FINDING_FILES for finding in _entries(name, build=_finding, every_site=every_site)
        ),
        sites=every_site,
        conditions=tuple(_entries("conditions", build=_condition)),
        labs=tuple(_entries("labs", build=_lab)),
        panels=tuple(_entries("panels", build=_plain(Panel, groups={}, conditions={}))),
        medications=tuple(_entries("medications", build=_medication)),
        protocols=tuple(_entries("protocols", build=_plain(Protocol, loinc=""))),
        indications=tuple(_entries("indications", build=_indication)),
        pathways=tuple(_entries("pathways", build=_pathway)),
    )
    for problem in problems(ontology):
        raise ModelError(f"The ontology is damaged: {problem}.", next_step="Install Osler again.")
    return ontology


def _entries(name: str, *, build: Callable[..., Any], **extra: Any) -> Iterable[Any]:
    text = (files("osler.synth.ontology") / f"{name}.toml").read_text(encoding="utf-8")
    for key, row in tomllib.loads(text).items():
        try:
            yield build(key, row, **extra)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"The ontology is damaged: {name}.toml, entry {key!r}: {error}.", next_step="Install Osler again."
            ) from error


def _plain(kind: type, **defaults: Any) -> Callable[..., Any]:
    def build(key: str, row: dict[str, Any]) -> Any:
        return kind(key=key, **(defaults | row))

    return build


def _prevalence(row: dict[str, Any]) -> Prevalence:
    return Prevalence(
        percent=tuple(float(value) for value in row["percent"]),
        female=float(row.get("female", 1.0)),
        male=float(row.get("male", 1.0)),
        source=_source(row["source"]),
        basis=row.get("basis", ""),
    )


@cache
def _sources() -> dict[str, str]:
    return tomllib.loads((files("osler.synth.ontology") / "sources.toml").read_text(encoding="utf-8"))


def _source(name: str) -> str:
    """The paper behind a name; ``"assumed"`` stands for itself."""
    if name != "assumed" and name not in _sources():
        raise ValueError(f"no source {name!r}")
    return _sources().get(name, name)


def _finding(key: str, row: dict[str, Any], *, every_site: tuple[Site, ...]) -> Finding:
    _only_known(row, kind=Finding)
    measure = row.get("measure")
    return Finding(
        key=key,
        name=row.get("name", key.replace("-", " ")),
        radlex=row.get("radlex", ""),
        snomed=row.get("snomed", ""),
        prevalence={group: _prevalence(value) for group, value in row["prevalence"].items()},
        sites=_sites(row.get("sites", []), every_site=every_site),
        laterality=row.get("laterality", "site" if row.get("sites") else "none"),
        both=row.get("both", 0.0),
        measure=None
        if measure is None
        else Measure(
            median_mm=measure["median"], spread=measure["spread"], least_mm=measure["least"], most_mm=measure["most"]
        ),
        severities=tuple(row["severities"]) if "severities" in row else None,
        courses=row.get("courses", {"stable": 1.0}),
        doubling_days=row.get("doubling_days", 400.0),
        resolves_days=row.get("resolves_days", 30.0),
        lesions=row.get("lesions", 1),
        uncertain=row.get("uncertain", 0.1),
        raised_by=row.get("raised_by", {}),
        is_a=tuple(row.get("is_a", [])),
        excludes=row.get("excludes", ""),
        negative=row.get("negative", {}),
        diagnosis=row.get("diagnosis", ""),
        activity=row.get("activity", {}),
        sexes=tuple(row.get("sexes", get_args(Sex))),
        needs=tuple(row.get("needs", [])),
        taken_from=tuple(row.get("taken_from", [])),
    )


def _sites(patterns: list[str], *, every_site: tuple[Site, ...]) -> tuple[str, ...]:
    """Site keys in the order of the table; ``"@organ"`` stands for all sites of an organ."""
    known = {site.key for site in every_site} | {f"@{site.organ}" for site in every_site}
    for pattern in patterns:
        if pattern not in known:
            raise ValueError(f"no site {pattern!r}")
    return tuple(site.key for site in every_site if site.key in patterns or f"@{site.organ}" in patterns)


def _condition(key: str, row: dict[str, Any]) -> ConditionEntry:
    defaults = {
        "name": key.replace("-", " "),
        "icd10": "",
        "snomed": "",
        "percent": [0.0] * 4,
        "female": 1.0,
        "male": 1.0,
        "source": "assumed",
        "activity": {},
        "years": 20.0,
    }
    row = defaults | row
    row |= {"percent": tuple(float(value) for value in row["percent"]), "source": _source(row["source"])}
    return ConditionEntry(key=key, **row)


def _lab(key: str, row: dict[str, Any]) -> LabEntry:
    row = {"loinc": "", "shifts": {}, "conditions": {}} | row
    both = row.pop("both", None)
    limits = {sex: _limits(row.get(sex, both)) for sex in ("female", "male")}
    typical = row["typical"] if isinstance(row["typical"], list) else [row["typical"]] * 2
    return LabEntry(key=key, **(row | limits | {"typical": (float(typical[0]), float(typical[1]))}))


def _limits(row: list[Any]) -> tuple[float | None, float | None]:
    low, high = (None if value == "" else float(value) for value in row)
    return low, high


def _medication(key: str, row: dict[str, Any]) -> MedicationEntry:
    row = {"name": key.replace("-", " "), "rxnorm": "", "atc": "", "days": 0, "class": ""} | row
    row["drug_class"] = row.pop("class")
    return MedicationEntry(key=key, **row)


def _indication(key: str, row: dict[str, Any]) -> Indication:
    row = {"weight": 1.0, "condition": "", "when": "any"} | row
    return Indication(key=key, **(row | {"groups": tuple(row["groups"])}))


def _pathway(key: str, row: dict[str, Any]) -> Pathway:
    row = {"conditions": {}, "ages": [1.0, 1.0, 1.0, 1.0], "female": 0.5, "gap_spread": 0.7} | row
    row["later"] = row.get("later", row["first"])
    return Pathway(key=key, **(row | {"exams": tuple(row["exams"]), "ages": tuple(row["ages"])}))


def _only_known(row: dict[str, Any], *, kind: type) -> None:
    unknown = set(row) - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")


def problems(ontology: Ontology) -> list[str]:
    """What does not fit together, in words; empty if all is well."""
    conditions = {entry.key for entry in ontology.conditions}
    protocols = {entry.key for entry in ontology.protocols}
    groups = {entry.group for entry in ontology.protocols}
    findings = {entry.key for entry in ontology.findings}
    activities = set(get_args(Activity))
    found: list[str] = []

    def require(names: Iterable[str], *, known: set[str], where: str) -> None:
        found.extend(f"{where} names {name!r}, which does not exist" for name in names if name and name not in known)

    for finding in ontology.findings:
        require(finding.prevalence, known=groups, where=finding.key)
        require(finding.negative, known=groups, where=f"{finding.key} (negative)")
        require(finding.raised_by, known=conditions, where=finding.key)
        require([*finding.is_a, *finding.needs, *finding.taken_from], known=findings, where=finding.key)
        require([finding.diagnosis], known=conditions, where=finding.key)
        require(finding.activity, known=activities, where=finding.key)
        require(finding.courses, known=set(get_args(Course)), where=finding.key)
        if finding.measure and not finding.sites:
            found.append(f"{finding.key} is measured but has no site")
    for condition in ontology.conditions:
        require(condition.activity, known=activities, where=condition.key)
    for lab in ontology.labs:
        require(lab.shifts, known=activities, where=lab.key)
        require(lab.conditions, known=conditions, where=lab.key)
        require([lab.panel], known={panel.key for panel in ontology.panels}, where=lab.key)
    for panel in ontology.panels:
        require(panel.groups, known=groups, where=panel.key)
        require(panel.conditions, known=conditions, where=panel.key)
    for medication in ontology.medications:
        require(medication.treats, known=conditions, where=medication.key)
    for indication in ontology.indications:
        require(indication.groups, known=groups, where=indication.key)
        require([indication.condition], known=conditions, where=indication.key)
    for pathway in ontology.pathways:
        require([*pathway.first, *pathway.later], known=protocols, where=pathway.key)
        require(pathway.conditions, known=conditions, where=pathway.key)
    for name in ("findings", "conditions", "labs", "panels", "medications", "protocols", "indications", "pathways"):
        keys = [entry.key for entry in getattr(ontology, name)]
        found.extend(f"{name} holds {key!r} twice" for key in set(keys) if keys.count(key) > 1)
    return found
