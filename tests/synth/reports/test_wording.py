"""The phrase tables are complete and fit the ontology."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from osler.synth.ontology import load_ontology
from osler.synth.reports.phrase_files import read_rows, read_table
from osler.synth.reports.voices import LANGUAGES
from osler.synth.reports.wording import KINDS, load_wording


def test_every_finding_and_every_site_has_its_words() -> None:
    ontology = load_ontology()
    findings, organs = read_rows("findings.csv"), read_rows("organs.csv")
    assert set(findings) == {finding.key for finding in ontology.findings}
    assert set(read_rows("sites.csv")) == {site.key for site in ontology.sites}
    for row in findings.values():
        assert row["organ"] in organs
        assert row["care"] in ("urgent", "follow", "treat", "none")
        assert row["attribute"] in ("yes", "no")


def test_a_finding_answers_to_its_name_or_a_synonym_but_to_no_other_of_the_same_exams() -> None:
    table = read_rows("findings.csv")
    for language in LANGUAGES:
        owners: dict[str, list[str]] = {}
        for finding in load_ontology().findings:
            for noun in table[finding.key][language].split("/"):
                owners.setdefault(noun.lstrip("+~").partition(":")[0], []).append(finding.key)
        groups = {finding.key: set(finding.prevalence) for finding in load_ontology().findings}
        for noun, keys in owners.items():
            shared = [a for a in keys for b in keys if a < b and groups[a] & groups[b]]
            assert not shared, (noun, keys)


def test_every_german_noun_has_a_gender() -> None:
    for row in read_rows("findings.csv").values():
        for noun in row["de"].split("/"):
            text, _, gender = noun.partition(":")
            assert gender in ("m", "f", "n", "p"), text
            assert (gender == "p") == text.startswith("+")


@pytest.mark.parametrize("language", LANGUAGES)
def test_indications_protocols_and_words_are_translated(language: str) -> None:
    table, ontology = read_table(f"{language}.toml"), load_ontology()
    if language != "en":
        assert set(table["indications"]) == {entry.key for entry in ontology.indications}
    assert set(table["protocols"]) == {entry.key for entry in ontology.protocols}
    for style in ("narrative", "terse", "template", "impression"):
        assert set(KINDS) <= set(table[style])


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_compiles(language: str) -> None:
    wording = load_wording(language)
    assert (wording.sentence_count > 0).all()
    assert len(wording.phrases.capital) == len(wording.phrases.texts) == len(wording.phrases.slip)


def test_the_page_of_terms_is_what_the_tables_say() -> None:
    script = Path(__file__).parents[3] / "docs" / "reference" / "report_terms.py"
    check = subprocess.run([sys.executable, script, "--check"], check=False)
    assert check.returncode == 0, "docs/reference/report-terms.md is stale: run `make docs`"
