"""The page on synthetic patients says what the prevalences rest on; this counts it anew."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from importlib.resources import files
from pathlib import Path

from osler.synth.ontology import Prevalence, load_ontology

PAGE = Path(__file__).parents[3] / "docs" / "concepts" / "synthetic-patients.md"
REGIONS = {
    "chest": ("chest-xr", "chest-ct", "chest-ctpa"),
    "abdomen": ("abdomen-ct", "abdomen-ct-plain", "liver-mr"),
    "head": ("head-ct", "brain-mr"),
    "knee": ("knee-mr",),
    "histology": ("lung-he", "breast-he", "colon-he", "prostate-he"),
}
KINDS = ("figure", "derived", "assumed")


def kind(row: Prevalence) -> str:
    """ "figure" of a study, "derived" from one by a step that is assumed, or "assumed" as a whole."""
    if row.source == "assumed":
        return "assumed"
    return "derived" if re.search(r"assumed|rule|interpolated", row.basis) else "figure"


def table() -> str:
    rows = [(group, kind(row)) for f in load_ontology().findings for group, row in f.prevalence.items()]
    lines = [
        "| Region | Rows | A study's figure | Derived from a study by a step that is assumed | Assumed |",
        "|---|---|---|---|---|",
    ]
    for name, groups in REGIONS.items():
        count = Counter(of for group, of in rows if group in groups)
        lines.append(f"| {name} | {count.total()} | " + " | ".join(str(count[of]) for of in KINDS) + " |")
    count = Counter(of for _, of in rows)
    lines.append(f"| **all** | **{count.total()}** | " + " | ".join(f"**{count[of]}**" for of in KINDS) + " |")
    return "\n".join(lines)


def sources_text() -> str:
    return (files("osler.synth.ontology") / "sources.toml").read_text(encoding="utf-8")


def recalled() -> int:
    """How many sources stand under a heading that says that the paper was not at hand."""
    count, here = 0, False
    for line in sources_text().splitlines():
        if line.startswith("# "):
            here = line.startswith(("# Recalled", "# Noted without")) or (
                here and not line.startswith(("# Read", "# Looked"))
            )
        count += here and " = " in line
    return count


def test_the_page_counts_the_sources_as_the_ontology_has_them():
    assert table() in PAGE.read_text(encoding="utf-8"), f"put this into {PAGE.name}:\n{table()}"


def test_the_page_says_how_many_sources_were_read():
    every = len(tomllib.loads(sources_text()))
    said = f"Of {every} sources, {every - recalled()} were read, mostly in the abstract; {recalled()} are recalled"
    assert said in " ".join(PAGE.read_text(encoding="utf-8").split()), said


def test_every_region_is_counted():
    groups = {group for finding in load_ontology().findings for group in finding.prevalence}
    assert groups == {group for region in REGIONS.values() for group in region}


def test_every_source_is_cited_and_every_source_named_in_a_basis_exists():
    ontology, sources = load_ontology(), tomllib.loads(sources_text())
    rows = [row for finding in ontology.findings for row in finding.prevalence.values()]
    cited = {row.source for row in rows} | {condition.source for condition in ontology.conditions}
    basis = " ".join(row.basis for row in rows)
    assert [name for name, paper in sources.items() if paper not in cited and name not in basis] == []
    named = set(re.findall(r"\b[a-z][a-z0-9-]*-(?:19|20)\d\d\b", basis))
    assert named - set(sources) == set()
