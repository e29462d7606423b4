"""The list of findings is the ontology, and names are looked up kindly."""

from __future__ import annotations

import pytest

from osler.errors import RequestError
from osler.prepare.finding_names import finding_names, findings_for, named_findings
from osler.synth.ontology import load_ontology


def test_the_list_is_that_of_the_ontology() -> None:
    ontology = load_ontology()
    groups: dict[str, set[tuple[str, str]]] = {}
    for protocol in ontology.protocols:
        groups.setdefault(protocol.group, set()).add((protocol.modality, protocol.region))
    expected = [
        (
            finding.key,
            finding.name,
            finding.snomed or finding.radlex,
            frozenset(place for group in finding.prevalence for place in groups[group]),
        )
        for finding in ontology.findings
    ]
    assert [(entry.key, entry.name, entry.code, entry.where) for entry in finding_names()] == expected


def test_findings_fit_modality_and_region() -> None:
    chest = {finding.name for finding in findings_for(modalities=["CR"], regions=["chest"])}
    assert "pneumothorax" in chest
    assert "medial meniscal tear" not in chest
    assert "pulmonary embolism" not in chest  # on CT angiography alone
    assert len(findings_for(modalities=[], regions=[])) == len(finding_names())
    assert findings_for(modalities=["US"], regions=["chest"]) == ()


def test_names_and_keys_are_found_whatever_the_case() -> None:
    assert [f.key for f in named_findings(["Pleural  Effusion", "pleural-effusion", "cardiomegaly"])] == [
        "pleural-effusion",
        "cardiomegaly",
    ]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        RequestError, match=r"Unknown finding 'pleural efusion'.*Did you mean 'pleural effusion'"
    ) as error:
        named_findings(["pleural efusion"])
    assert len(str(error.value)) < 300
